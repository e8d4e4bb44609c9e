"""Registering, charging, and erasing a name (W2, W3)."""

from aggregates import wallet
from aggregates.errors import (
    AmountOutOfRange,
    BalanceLimitExceeded,
    ChargeNotAllowedWhileHolding,
    TokenEnded,
    TokenExpired,
    TokenInvalid,
    TokenMissing,
    UserNotFound,
)
from aggregates.wallet import ChargeLimits, WalletCharged, WalletOpened
from commands.charge_wallet import ChargeWallet, WalletChargedResult
from commands.erase_profile import EraseProfile
from commands.open_wallet import OpenWallet, WalletOpen
from commands.unit_of_work import ServiceRules
from tests.aggregates.given import ANN, BEN, token_of
from tests.commands.sale import Given, given, on
from tests.commands.steps import inside, leave, on_sale, registered, reserve, visit_of, waiting

TOKEN_NEEDED = ServiceRules(wallet_needs_token=True)


def test_a_user_is_registered_with_a_name_beside_the_log() -> None:
    opened = given().when(OpenWallet(ANN, "Ann")).then(on(wallet.stream(ANN), WalletOpened()))
    assert opened.outcome == WalletOpen(ANN, 0, created=True)
    assert opened.sale.log.names == {ANN: "Ann"}
    assert {event.partition_key for event in opened.events} == {str(ANN)}


def test_the_same_user_again_changes_nothing() -> None:
    again = given(OpenWallet(ANN, "Ann"), ChargeWallet(ANN, 5)).when(OpenWallet(ANN, "Anna")).then()
    assert again.outcome == WalletOpen(ANN, 5, created=False)
    assert again.sale.log.names == {ANN: "Ann"}


def test_a_name_is_erased_and_the_wallet_stays() -> None:
    erased = (
        given(OpenWallet(ANN, "Ann"), ChargeWallet(ANN, 5), EraseProfile(ANN)).when(EraseProfile(ANN)).then()
    )
    assert erased.sale.log.names == {ANN: None}
    assert erased.sale.state(wallet.stream(ANN)).balance == 5


def test_registering_and_erasing_in_one_batch_leaves_no_name() -> None:
    both = given().when(OpenWallet(ANN, "Ann"), EraseProfile(ANN))
    assert both.sale.log.names == {ANN: None}


def test_a_refused_command_leaves_no_name_behind() -> None:
    refused = given(OpenWallet(ANN, "Ann")).when(EraseProfile(BEN), OpenWallet(ANN, "Anna"))
    assert isinstance(refused.answers[0].outcome, UserNotFound)
    assert refused.sale.log.names == {ANN: "Ann"}


def test_w1_charges_add_up() -> None:
    charged = given(registered(ANN)).when(ChargeWallet(ANN, 5), ChargeWallet(ANN, 7))
    charged.then(on(wallet.stream(ANN), WalletCharged(5), WalletCharged(7)))
    assert [answer.outcome for answer in charged.answers] == [
        WalletChargedResult(ANN, 5, 5),
        WalletChargedResult(ANN, 7, 12),
    ]


def test_w2_a_charge_outside_the_limits_is_refused() -> None:
    rules = ServiceRules(ChargeLimits(smallest=10, largest=100, balance_max=150))
    for amount in (9, 101, 0, -10):
        given(registered(ANN), rules=rules).when(ChargeWallet(ANN, amount)).then_refused(AmountOutOfRange)
    given(registered(ANN), ChargeWallet(ANN, 10), ChargeWallet(ANN, 100), rules=rules)


def test_w2_a_charge_past_the_largest_balance_is_refused_also_within_one_batch() -> None:
    rules = ServiceRules(ChargeLimits(balance_max=150))
    charged = given(registered(ANN), rules=rules)
    charged.when(
        ChargeWallet(ANN, 100), ChargeWallet(ANN, 50), ChargeWallet(ANN, 1)
    ).then_refused_with_events(BalanceLimitExceeded)
    assert charged.sale.state(wallet.stream(ANN)).balance == 150


def test_charging_asks_for_the_user_then_for_the_token() -> None:
    given(rules=TOKEN_NEEDED).when(ChargeWallet(ANN, 5)).then_refused(UserNotFound)
    given(registered(ANN), rules=TOKEN_NEEDED).when(ChargeWallet(ANN, 0)).then_refused(TokenMissing)


def token_needed(*steps: object) -> Given:
    sale = given(on_sale(active_ttl_s=60), rules=TOKEN_NEEDED)
    return sale.and_then(waiting(ANN), *steps)


def test_where_charging_needs_a_token_it_must_be_live() -> None:
    with_token = ChargeWallet(ANN, 5, visit_of(ANN))
    charged = token_needed().when(with_token).then(on(wallet.stream(ANN), WalletCharged(5)))
    charged.then_correlated(token_of(ANN))
    token_needed(leave(ANN)).when(with_token).then_refused(TokenEnded)
    token_needed().when(ChargeWallet(ANN, 5, visit_of(ANN, 2))).then_refused(TokenInvalid)


def test_q5_an_expired_token_does_not_charge_where_one_is_needed() -> None:
    expired = given(on_sale(active_ttl_s=60), inside(ANN), "12:05").sale
    expired._rules = TOKEN_NEEDED
    Given(expired).when(ChargeWallet(ANN, 5, visit_of(ANN))).then_refused(TokenExpired)


def test_w3_a_charge_outside_the_limits_is_told_so_first_and_the_largest_balance_last() -> None:
    rules = ServiceRules(ChargeLimits(largest=100, balance_max=100))
    holding = given(
        on_sale(charge_while_holding=False), inside(ANN, balance=100), reserve(ANN, 7), rules=rules
    )
    holding.when(ChargeWallet(ANN, 101)).then_refused(AmountOutOfRange)
    holding.when(ChargeWallet(ANN, 1)).then_refused(ChargeNotAllowedWhileHolding)
    holding.and_then("12:30").when(ChargeWallet(ANN, 1)).then_refused(BalanceLimitExceeded)
