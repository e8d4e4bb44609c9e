"""Wallets: charges − debits + refunds, never negative; limits; and charging suspended (W1–W3)."""

from datetime import datetime

import pytest
from hypothesis import example
from hypothesis import given as for_all
from hypothesis import strategies as st

from aggregates import wallet
from aggregates.errors import (
    AmountOutOfRange,
    BalanceLimitExceeded,
    ChargeNotAllowedWhileHolding,
    UserNotFound,
)
from aggregates.wallet import (
    WALLET,
    ChargeLimits,
    Wallet,
    WalletCharged,
    WalletChargingResumed,
    WalletChargingSuspended,
    WalletDebited,
    WalletEvent,
    WalletOpened,
    WalletRefunded,
)
from tests.aggregates.given import ANN, Given, at, given, payment_of, reservation_of
from tests.aggregates.strategies import moments

LIMITS = ChargeLimits(smallest=10, largest=1_000, balance_max=5_000)
PAYMENT = payment_of(ANN)
RESERVATION = reservation_of(ANN)
LATER_RESERVATION = reservation_of(ANN, visit=2)


def charge(charging: Wallet, amount: int, *, now: datetime | None = None) -> list[WalletEvent]:
    return wallet.charge(charging, amount, LIMITS, now or at("12:00"))


def test_a_wallet_is_opened_once() -> None:
    given(WALLET).when(wallet.open_wallet).then(WalletOpened())
    given(WALLET, WalletOpened()).when(wallet.open_wallet).then()


def test_a_user_whose_wallet_was_never_opened_is_not_found() -> None:
    given(WALLET).when(wallet.opened).then_refused(UserNotFound)
    given(WALLET, WalletOpened()).when(wallet.opened).then_it_is(Wallet(opened=True))


def test_w1_a_balance_is_charges_less_debits_plus_refunds() -> None:
    charged_twice = (WalletOpened(), WalletCharged(700), WalletCharged(300))
    paid = WalletDebited(900, PAYMENT)
    assert given(WALLET, *charged_twice).state.balance == 1_000
    assert given(WALLET, *charged_twice, paid).state.balance == 100
    assert given(WALLET, *charged_twice, paid, WalletRefunded(900, PAYMENT)).state.balance == 1_000


def test_w1_a_wallet_may_be_emptied() -> None:
    full = given(WALLET, WalletOpened(), WalletCharged(700))
    full.when(wallet.covers, 700).then_it_is(answer=True)
    full.when(wallet.debit, 700, PAYMENT).then(WalletDebited(700, PAYMENT))


def test_w1_a_wallet_does_not_cover_a_won_more_than_it_holds() -> None:
    full = given(WALLET, WalletOpened(), WalletCharged(700))
    full.when(wallet.covers, 701).then_it_is(answer=False)
    with pytest.raises(AssertionError):
        wallet.debit(full.state, 701, PAYMENT)


movements = st.lists(
    st.tuples(st.sampled_from(["charge", "debit", "refund"]), st.integers(0, 1_200)), max_size=60
)


@for_all(movements)
def test_w1_a_balance_is_never_negative_whatever_is_asked(asked: list[tuple[str, int]]) -> None:
    state = Wallet(opened=True)
    expected, refundable = 0, 0
    for kind, amount in asked:
        if kind == "debit" and wallet.covers(state, amount):
            recorded = wallet.debit(state, amount, PAYMENT)
            expected, refundable = expected - amount, refundable + amount
        elif kind == "refund" and amount <= refundable:
            recorded = [WalletRefunded(amount, PAYMENT)]
            expected, refundable = expected + amount, refundable - amount
        elif kind == "charge" and (charged := Given(state).when(charge, amount)).answer:
            recorded, expected = charged.answer, expected + amount
        else:
            recorded = []
        for event in recorded:
            state = wallet.evolve(state, event, at("12:00"))
        assert state.balance == expected >= 0


@for_all(st.integers(-2_000, 12_000))
def test_w2_charges_outside_the_limits_are_refused(amount: int) -> None:
    outcome = given(WALLET, WalletOpened()).when(charge, amount)
    if 10 <= amount <= 1_000:
        outcome.then(WalletCharged(amount))
    else:
        outcome.then_refused(AmountOutOfRange)


@pytest.mark.parametrize("amount", [10, 1_000])
def test_w2_the_smallest_and_the_largest_charge_are_allowed(amount: int) -> None:
    given(WALLET, WalletOpened()).when(charge, amount).then(WalletCharged(amount))


@pytest.mark.parametrize("amount", [-1, 0, 9, 1_001])
def test_w2_a_won_less_or_more_is_refused(amount: int) -> None:
    given(WALLET, WalletOpened()).when(charge, amount).then_refused(AmountOutOfRange)


@for_all(balance=st.integers(0, 6_000), amount=st.integers(10, 1_000))
@example(balance=4_500, amount=500)
@example(balance=4_501, amount=500)
def test_w2_a_charge_past_the_largest_balance_is_refused(balance: int, amount: int) -> None:
    outcome = given(WALLET, WalletOpened(), WalletCharged(balance)).when(charge, amount)
    if balance + amount <= 5_000:
        outcome.then(WalletCharged(amount))
    else:
        outcome.then_refused(BalanceLimitExceeded)


def test_w2_a_refused_charge_tells_the_limits() -> None:
    full = given(WALLET, WalletOpened(), WalletCharged(5_000))
    assert full.when(charge, 9).told == [10, 1_000]
    assert full.when(charge, 10).told == [5_000]


def test_w2_a_refund_may_take_a_wallet_past_the_largest_balance() -> None:
    full = given(WALLET, WalletOpened(), WalletCharged(5_000), WalletRefunded(900, PAYMENT))
    assert full.state.balance == 5_900


def test_w2_the_service_allows_charges_of_1_to_10_million_won_and_balances_of_100_million() -> None:
    assert ChargeLimits() == ChargeLimits(smallest=1, largest=10_000_000, balance_max=100_000_000)


def test_w3_reserving_suspends_charging_until_the_holds_deadline() -> None:
    assert wallet.suspend_charging(RESERVATION, at("12:05")) == [
        WalletChargingSuspended(RESERVATION, at("12:05"))
    ]


@for_all(until=moments, now=moments)
def test_w3_a_suspended_wallet_is_not_charged_until_the_deadline_and_is_from_it_on(
    until: datetime, now: datetime
) -> None:
    suspended = given(WALLET, WalletOpened(), WalletChargingSuspended(RESERVATION, until))
    outcome = suspended.when(charge, 500, now=now)
    if now < until:
        outcome.then_refused(ChargeNotAllowedWhileHolding)
    else:
        outcome.then(WalletCharged(500))


def test_w3_a_wallet_that_was_resumed_is_charged() -> None:
    given(
        WALLET,
        WalletOpened(),
        WalletChargingSuspended(RESERVATION, at("12:05")),
        WalletChargingResumed(RESERVATION),
    ).when(charge, 500).then(WalletCharged(500))


def test_w3_another_concerts_reservation_still_forbids_charging() -> None:
    given(
        WALLET,
        WalletOpened(),
        WalletChargingSuspended(RESERVATION, at("12:05")),
        WalletChargingSuspended(LATER_RESERVATION, at("12:09")),
        WalletChargingResumed(RESERVATION),
    ).when(charge, 500).then_refused(ChargeNotAllowedWhileHolding)


def test_w3_only_what_a_reservation_had_forbidden_is_lifted_and_once() -> None:
    suspended = (WalletOpened(), WalletChargingSuspended(RESERVATION, at("12:05")))
    given(WALLET, *suspended).when(wallet.resume_charging, RESERVATION).then(
        WalletChargingResumed(RESERVATION)
    )
    given(WALLET, *suspended).when(wallet.resume_charging, LATER_RESERVATION).then()
    given(WALLET, *suspended, WalletChargingResumed(RESERVATION)).when(
        wallet.resume_charging, RESERVATION
    ).then()


def test_w3_a_suspended_wallet_still_pays_and_takes_refunds() -> None:
    suspended = given(
        WALLET, WalletOpened(), WalletCharged(700), WalletChargingSuspended(RESERVATION, at("12:05"))
    )
    suspended.when(wallet.debit, 700, PAYMENT).then(WalletDebited(700, PAYMENT))
