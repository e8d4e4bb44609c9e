"""Idempotency keys (I1, I2): the first outcome counts, whoever repeats the request, however often."""

from collections.abc import Callable

import pytest

from aggregates import wallet
from aggregates.errors import (
    DomainError,
    InsufficientBalance,
    QueueFull,
    RateLimited,
    TokenEnded,
    TokenNotActive,
    UserNotFound,
)
from aggregates.wallet import WalletCharged
from commands.charge_wallet import ChargeWallet, WalletChargedResult
from commands.command import Command
from commands.errors import IdempotencyKeyReused
from commands.ports import KeyOfCaller
from commands.run_sale import CloseSales
from tests.aggregates.given import ANN, BEN, CODE, payment_of
from tests.commands.sale import Given, given, keyed, on, reply_to
from tests.commands.steps import (
    PRICE,
    inside,
    join,
    leave,
    let_in,
    on_sale,
    pay,
    registered,
    reserve,
    waiting,
)

CHARGE = ChargeWallet(ANN, 5)
CHARGED = reply_to(WalletChargedResult(ANN, 5, 5))


def test_i1_a_repeat_gets_the_first_answer_and_changes_nothing() -> None:
    charged = given(registered(ANN))
    first = charged.when(keyed(CHARGE)).then(on(wallet.stream(ANN), WalletCharged(5)))
    assert first.answers[0].reply == CHARGED
    again = charged.when(keyed(CHARGE)).then()
    assert (again.answers[0].outcome, again.answers[0].reply) == (None, CHARGED)


def test_i1_it_gets_the_position_of_the_first_answer_too() -> None:
    charged = given(registered(ANN))
    position = charged.when(keyed(CHARGE)).events[-1].position
    charged.and_then(ChargeWallet(ANN, 7))
    assert charged.sale.log.outcomes[KeyOfCaller(str(ANN), "key 1")].position == position


def test_i1_a_repeat_in_the_same_batch_changes_nothing() -> None:
    both = given(registered(ANN)).when(keyed(CHARGE), ChargeWallet(ANN, 7), keyed(CHARGE))
    both.then(on(wallet.stream(ANN), WalletCharged(5), WalletCharged(7)))
    assert [answer.reply for answer in both.answers] == [CHARGED, None, CHARGED]


def test_i1_without_a_key_every_charge_counts() -> None:
    both = given(registered(ANN)).when(CHARGE, CHARGE)
    both.then(on(wallet.stream(ANN), WalletCharged(5), WalletCharged(5)))


def test_i1_a_refusal_by_a_rule_is_recorded_too() -> None:
    unknown = given()
    refused = unknown.when(keyed(CHARGE)).then_refused(UserNotFound)
    unknown.and_then(registered(ANN))
    again = unknown.when(keyed(CHARGE)).then()
    assert again.answers[0].reply == refused.answers[0].reply == reply_to(UserNotFound())


def test_i1_paying_again_after_the_token_has_ended_gives_the_payment() -> None:
    holding = given(on_sale(), inside(ANN, balance=PRICE), reserve(ANN, 7))
    first = holding.when(keyed(pay(ANN)))
    again = holding.when(keyed(pay(ANN, nth=2))).then()
    assert again.answers[0].reply == first.answers[0].reply
    assert payment_of(ANN).hex in str(first.answers[0].reply).replace("-", "")
    holding.when(pay(ANN, nth=2)).then_refused(TokenEnded)


def test_i1_a_failed_payment_is_not_attempted_twice() -> None:
    poor = given(on_sale(), inside(ANN), reserve(ANN, 7))
    first = poor.when(keyed(pay(ANN)))
    assert isinstance(first.outcome, InsufficientBalance)
    poor.and_then(ChargeWallet(ANN, PRICE))
    again = poor.when(keyed(pay(ANN, nth=2))).then()
    assert again.answers[0].reply == first.answers[0].reply


def test_i1_joining_again_gives_the_first_answer_although_its_token_has_ended() -> None:
    line = given(on_sale(), registered(ANN))
    first = line.when(keyed(join(ANN)))
    line.and_then(leave(ANN))
    assert line.when(keyed(join(ANN, visit=2))).then().answers[0].reply == first.answers[0].reply


def waits() -> Given:
    return given(on_sale(max_active=1), inside(BEN), waiting(ANN))


def full() -> Given:
    return given(on_sale(max_waiting=1), waiting(BEN), registered(ANN))


def failed_often() -> Given:
    poor = given(on_sale(), inside(ANN), reserve(ANN, 7))
    for nth in range(11, 16):
        poor.when(pay(ANN, nth=nth))
    return poor


@pytest.mark.parametrize(
    ("given_sale", "command", "error", "and_then"),
    [
        (waits, reserve(ANN, 7), TokenNotActive, [leave(BEN), let_in((2, ANN))]),
        (full, join(ANN), QueueFull, [let_in((1, BEN))]),
        (failed_often, pay(ANN), RateLimited, [ChargeWallet(ANN, PRICE)]),
    ],
)
def test_i1_a_refusal_that_says_when_to_try_again_is_not_recorded(
    given_sale: Callable[[], Given], command: Command, error: type[DomainError], and_then: list[Command]
) -> None:
    sale = given_sale()
    refused = sale.when(keyed(command))
    assert type(refused.outcome) is error
    assert refused.answers[0].reply is None
    tried_again = sale.and_then(*and_then).when(keyed(command))
    assert not isinstance(tried_again.outcome, Exception)
    assert tried_again.answers[0].reply is not None


def test_i1_in_one_batch_the_refusal_is_answered_as_such_and_the_repeat_as_what_it_came_to() -> None:
    both = waits().when(keyed(reserve(ANN, 7)), leave(BEN), keyed(reserve(ANN, 7)))
    assert [answer.reply for answer in both.answers] == [None, None, None]
    joined = full().when(keyed(join(ANN)), let_in((1, BEN)), keyed(join(ANN)))
    assert isinstance(joined.answers[0].outcome, QueueFull)
    assert joined.answers[0].reply is None
    assert joined.answers[2].reply is not None


def test_i2_the_same_key_with_another_request_is_refused() -> None:
    charged = given(registered(ANN)).and_then(keyed(CHARGE))
    charged.when(keyed(ChargeWallet(ANN, 6), request=b"another")).then_refused(IdempotencyKeyReused)
    assert charged.when(keyed(CHARGE)).then().answers[0].reply == CHARGED


def test_i2_also_within_one_batch() -> None:
    both = given(registered(ANN)).when(keyed(CHARGE), keyed(ChargeWallet(ANN, 6), request=b"another"))
    both.then_refused_with_events(IdempotencyKeyReused)
    both.then_recorded(on(wallet.stream(ANN), WalletCharged(5)))
    assert both.answers[1].reply is None


def test_i1_a_key_belongs_to_its_caller() -> None:
    both = given(registered(ANN), registered(BEN)).when(keyed(CHARGE), keyed(ChargeWallet(BEN, 7)))
    both.then(on(wallet.stream(ANN), WalletCharged(5)), on(wallet.stream(BEN), WalletCharged(7)))


def test_i1_an_admin_s_command_may_carry_a_key_too() -> None:
    sale = given(on_sale())
    sale.and_then(keyed(CloseSales(CODE)))
    assert list(sale.sale.log.outcomes) == [KeyOfCaller("admin", "key 1")]


def test_i1_the_recorded_answer_comes_before_all_other_checks() -> None:
    holding = given(on_sale(), inside(ANN), keyed(reserve(ANN, 7)), CloseSales(CODE), "13:00")
    holding.when(keyed(reserve(ANN, 51, nth=2))).then()


def test_i1_an_answer_that_cannot_be_written_down_is_a_defect_of_its_command_alone() -> None:
    broken = keyed(CHARGE, reply=_break)
    asked = given(registered(ANN)).when(ChargeWallet(ANN, 1), broken, ChargeWallet(ANN, 3))
    assert isinstance(asked.answers[1].outcome, ZeroDivisionError)
    asked.then_recorded(on(wallet.stream(ANN), WalletCharged(1), WalletCharged(3)))


def _break(_outcome: object) -> bytes:
    raise ZeroDivisionError
