"""Paying (P1, P2, P3, Q5, Q6, L1, L2, W1, W3)."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from itertools import combinations
from typing import Any, NamedTuple

import msgspec
import pytest

from aggregates import payment, queue, reservation, token, wallet
from aggregates.errors import (
    AmountMismatch,
    ConcertNotFound,
    DomainError,
    HoldExpired,
    InsufficientBalance,
    RateLimited,
    ReservationNotFound,
    ReservationNotOpen,
    TokenEnded,
    TokenExpired,
    TokenInvalid,
    TokenMismatch,
    TokenNotActive,
)
from aggregates.ids import ConcertCode
from aggregates.payment import PaymentCompleted, PaymentFailed
from aggregates.queue import SeatsSold, SeatsWithdrawn, SlotsFreed
from aggregates.reservation import ReservationCancelled, ReservationConfirmed, ReservationPaymentFailed
from aggregates.seat import SeatHoldReleased, SeatSold
from aggregates.token import (
    TokenCancelled,
    TokenCompleted,
    TokenExpiredRecorded,
    TokenSeatsReleased,
)
from aggregates.wallet import WalletChargingResumed, WalletDebited
from commands.charge_wallet import ChargeWallet
from commands.pay import Paid, Pay
from commands.run_sale import CloseSales
from commands.unit_of_work import Visit
from tests.aggregates.given import ANN, BEN, CODE, at, payment_of, reservation_of, token_of
from tests.commands.sale import Given, Pair, given, on
from tests.commands.steps import (
    PRICE,
    SHOW,
    SHOW_DAY,
    SHOW_STARTS_AT,
    SHOW_TIME,
    expire,
    inside,
    join,
    leave,
    let_in,
    on_sale,
    pay,
    release,
    reserve,
    seat_stream,
    waiting,
    withdraw,
)

POOR = PRICE - 1


def holding_seat_7(*, balance: int = PRICE, **policy: Any) -> Given:
    """Ann holds seat 7 from 12:05 to 12:10, and may buy from 12:04 to 12:14."""
    return given(
        on_sale(**policy),
        waiting(ANN, balance=balance),
        "12:04",
        let_in((1, ANN)),
        "12:05",
        reserve(ANN, 7),
        "12:06",
    )


def completed(*seat_numbers: int, balance: int) -> PaymentCompleted:
    amount = PRICE * len(seat_numbers)
    return PaymentCompleted(
        reservation_of(ANN), ANN, CODE, SHOW_DAY, SHOW_TIME, seat_numbers, amount, balance
    )


def failed(nth: int = 1) -> list[Pair]:
    attempt = PaymentFailed(reservation_of(ANN), ANN, CODE, PRICE, "insufficient_balance", POOR)
    return [
        *on(payment.stream(payment_of(ANN, nth)), attempt),
        *on(reservation.stream(reservation_of(ANN)), ReservationPaymentFailed(payment_of(ANN, nth))),
    ]


def test_p1_everything_happens_in_one_append() -> None:
    holding = given(
        on_sale(charge_while_holding=False),
        inside(ANN, balance=250_000),
        "12:05",
        reserve(ANN, 7, 8),
        "12:06",
    )
    sold = SeatSold(reservation_of(ANN), payment_of(ANN), ANN)
    paid = holding.when(pay(ANN)).then_appended(
        [
            *on(
                wallet.stream(ANN),
                WalletDebited(2 * PRICE, payment_of(ANN)),
                WalletChargingResumed(reservation_of(ANN)),
            ),
            *on(payment.stream(payment_of(ANN)), completed(7, 8, balance=50_000)),
            *on(reservation.stream(reservation_of(ANN)), ReservationConfirmed(payment_of(ANN))),
            *on(seat_stream(7), sold),
            *on(seat_stream(8), sold),
            *on(token.stream(CODE, ANN), TokenCompleted(payment_of(ANN))),
            *on(queue.stream(CODE), SeatsSold(2, {SHOW: 2}), SlotsFreed(1)),
        ]
    )
    assert paid.outcome == Paid(
        payment_of(ANN), reservation_of(ANN), ANN, CODE, "An Evening", SHOW_DAY, SHOW_TIME, (7, 8),
        2 * PRICE, 50_000, paid_at=at("12:06"),
    )  # fmt: skip
    paid.then_correlated(*[token_of(ANN)] * 7)


def test_p1_the_events_are_spread_by_concert_and_those_of_the_wallet_by_user() -> None:
    paid = holding_seat_7().when(pay(ANN))
    for event in paid.events:
        assert event.partition_key == (str(ANN) if event.stream.startswith("wallet/") else CODE)


def test_p1_all_events_but_the_merged_ones_carry_the_command_and_the_merged_ones_their_batch() -> None:
    paid = holding_seat_7().when(pay(ANN))
    by_command = {event.command_id for event in paid.events if not event.stream.startswith("queue/")}
    merged = [event for event in paid.events if event.stream.startswith("queue/")]
    assert len(by_command) == 1
    (batch_id,) = {event.command_id for event in merged}
    assert batch_id not in by_command
    assert {event.correlation_id for event in merged} == {batch_id}


def test_p1_the_exact_balance_suffices() -> None:
    assert holding_seat_7(balance=PRICE).when(pay(ANN)).outcome.balance == 0


def test_p1_a_reservation_and_its_amount_may_be_named() -> None:
    named = pay(ANN, reservation_id=reservation_of(ANN), amount=PRICE)
    assert holding_seat_7().when(named).outcome.payment_id == payment_of(ANN)


def test_q6_a_completed_payment_ends_the_token() -> None:
    holding_seat_7().and_then(pay(ANN)).when(pay(ANN, nth=2)).then_refused(TokenEnded)


def test_p2_a_moment_before_the_deadline_the_payment_is_taken() -> None:
    holding_seat_7().and_then("12:09:59.999999", pay(ANN))


def test_p2_from_the_deadline_on_no_money_is_taken() -> None:
    holding_seat_7().and_then("12:10").when(pay(ANN)).then_refused(HoldExpired)


def test_p2_nor_after_the_timer_has_recorded_it() -> None:
    holding_seat_7().and_then("12:10", expire(ANN)).when(pay(ANN)).then_refused(HoldExpired)


@pytest.mark.parametrize("recorded", [[], [expire(ANN)]])
def test_p2_what_is_refused_after_the_deadline_does_not_depend_on_the_timer(recorded: list[Any]) -> None:
    lapsed = holding_seat_7().and_then("12:10", *recorded)
    lapsed.when(pay(ANN, amount=1)).then_refused(AmountMismatch, amount=PRICE)


@pytest.mark.parametrize("recorded", [[], [expire(ANN)]])
def test_p2_where_the_token_has_ended_with_the_hold_it_is_the_token_that_has_expired(
    recorded: list[Any],
) -> None:
    ended = holding_seat_7(active_ttl_s=120).and_then("12:10", *recorded)
    ended.when(pay(ANN)).then_refused(TokenExpired)


def test_p2_a_reservation_that_others_took_the_seats_of_is_not_paid() -> None:
    taken = holding_seat_7().and_then(inside(BEN, 2), "12:11", reserve(BEN, 7))
    taken.when(pay(ANN)).then_refused(HoldExpired)


def test_p3_too_little_money_is_recorded_and_the_hold_kept() -> None:
    poor = holding_seat_7(balance=POOR)
    poor.when(pay(ANN)).then_recorded(failed()).then_refused_with_events(
        InsufficientBalance, balance=POOR, amount=PRICE, payment_id=payment_of(ANN)
    ).then_correlated(token_of(ANN), token_of(ANN))
    poor.and_then(ChargeWallet(ANN, 1), pay(ANN, nth=2))


def test_p3_the_hold_is_released_where_the_policy_says_so() -> None:
    poor = holding_seat_7(balance=POOR, on_insufficient_balance="release_hold")
    reason = "insufficient_balance"
    poor.when(pay(ANN)).then_recorded(
        failed(),
        on(seat_stream(7), SeatHoldReleased(reservation_of(ANN), reason)),
        on(reservation.stream(reservation_of(ANN)), ReservationCancelled(reason)),
        on(token.stream(CODE, ANN), TokenSeatsReleased(reservation_of(ANN), (7,), reason)),
    )
    poor.and_then(reserve(ANN, 8, nth=2))


def test_p3_and_a_token_past_its_deadline_ends_with_it() -> None:
    policy = {"on_insufficient_balance": "release_hold", "active_ttl_s": 90}
    asked = holding_seat_7(balance=POOR, **policy).when(pay(ANN))
    assert [event.event for event in asked.events[-2:]] == [TokenExpiredRecorded(), SlotsFreed(1)]


def test_p3_the_token_is_ended_too_where_the_policy_says_so() -> None:
    poor = holding_seat_7(balance=POOR, on_insufficient_balance="release_hold_and_end_token")
    reason = "insufficient_balance"
    poor.when(pay(ANN)).then_recorded(
        failed(),
        on(seat_stream(7), SeatHoldReleased(reservation_of(ANN), reason)),
        on(reservation.stream(reservation_of(ANN)), ReservationCancelled(reason)),
        on(
            token.stream(CODE, ANN),
            TokenSeatsReleased(reservation_of(ANN), (7,), reason),
            TokenCancelled(reason),
        ),
        on(queue.stream(CODE), SlotsFreed(1)),
    ).then_refused_with_events(InsufficientBalance, balance=POOR, amount=PRICE, payment_id=payment_of(ANN))


def test_p3_after_five_failures_one_that_would_fail_again_leaves_no_event() -> None:
    poor = holding_seat_7(balance=POOR)
    for nth in range(1, 6):
        poor.when(pay(ANN, nth=nth)).then_recorded(failed(nth))
    poor.and_then("12:07").when(pay(ANN, nth=6)).then_refused(RateLimited, retry_after_s=5)


def test_p3_five_failures_may_stand_in_one_batch() -> None:
    asked = holding_seat_7(balance=POOR).when(*[pay(ANN, nth=nth) for nth in range(1, 7)])
    asked.then_recorded(*[failed(nth) for nth in range(1, 6)])
    asked.then_refused_with_events(RateLimited, retry_after_s=5)


def test_p3_after_five_failures_one_that_succeeds_is_taken() -> None:
    poor = holding_seat_7(balance=POOR)
    for nth in range(1, 6):
        poor.when(pay(ANN, nth=nth))
    poor.and_then(ChargeWallet(ANN, 1), pay(ANN, nth=6))


def test_l1_an_open_reservation_is_paid_while_sales_are_closed() -> None:
    holding_seat_7().and_then(CloseSales(CODE), pay(ANN))


def test_l2_a_held_seat_of_a_performance_that_has_begun_is_still_paid_for_and_counts_no_seat_twice() -> None:
    just_before = SHOW_STARTS_AT - timedelta(seconds=30)
    held = given(
        on_sale(seats=3), waiting(ANN, balance=PRICE), just_before, let_in((1, ANN)), reserve(ANN, 2)
    )
    begun = held.and_then(SHOW_STARTS_AT)
    begun.when(withdraw()).then(on(queue.stream(CODE), SeatsWithdrawn(SHOW_DAY, SHOW_TIME, 3)))
    begun.when(pay(ANN)).then_recorded(
        on(wallet.stream(ANN), WalletDebited(PRICE, payment_of(ANN))),
        on(payment.stream(payment_of(ANN)), completed(2, balance=0)),
        on(reservation.stream(reservation_of(ANN)), ReservationConfirmed(payment_of(ANN))),
        on(seat_stream(2), SeatSold(reservation_of(ANN), payment_of(ANN), ANN)),
        on(token.stream(CODE, ANN), TokenCompleted(payment_of(ANN))),
        on(queue.stream(CODE), SeatsSold(1, {SHOW: 1}), SlotsFreed(1)),
    )
    assert begun.sale.state(queue.stream(CODE)).seats_left == 0


def test_l2_paying_and_withdrawing_in_one_batch_leaves_no_seat_for_the_gate() -> None:
    just_before = SHOW_STARTS_AT - timedelta(seconds=30)
    held = given(
        on_sale(seats=3), waiting(ANN, balance=PRICE), just_before, let_in((1, ANN)), reserve(ANN, 2)
    )
    asked = held.and_then(SHOW_STARTS_AT).when(pay(ANN), withdraw())
    assert [event.event for event in asked.events[-3:]] == [
        SeatsSold(1, {SHOW: 1}),
        SlotsFreed(1),
        SeatsWithdrawn(SHOW_DAY, SHOW_TIME, 2),
    ]
    assert held.sale.state(queue.stream(CODE)).seats_left == 0


def test_w1_two_concerts_do_not_spend_the_same_won_twice() -> None:
    poor = holding_seat_7(balance=PRICE)
    asked = poor.when(pay(ANN), pay(ANN, nth=2))
    asked.then_refused_with_events(TokenEnded)
    assert poor.sale.state(wallet.stream(ANN)).balance == 0


def test_paying_without_a_reservation_is_refused() -> None:
    given(on_sale(), inside(ANN, balance=PRICE)).when(pay(ANN)).then_refused(ReservationNotOpen)


def test_p1_a_reservation_that_was_named_is_paid_or_none() -> None:
    """Ann's first reservation is released; naming it does not pay for the second, which is open."""
    two = given(on_sale(), inside(ANN, balance=PRICE), reserve(ANN, 7), release(ANN), reserve(ANN, 8, nth=2))
    two.when(pay(ANN, reservation_id=reservation_of(ANN))).then_refused(ReservationNotOpen)
    two.and_then(pay(ANN, reservation_id=reservation_of(ANN, 2)))


def test_paying_what_was_released_is_refused() -> None:
    holding_seat_7().and_then(release(ANN)).when(pay(ANN)).then_refused(ReservationNotOpen)


def test_paying_while_waiting_is_refused() -> None:
    line = given(on_sale(), waiting(BEN), waiting(ANN, balance=PRICE))
    line.when(pay(ANN)).then_refused(TokenNotActive, place=2, retry_after_s=1)


def test_paying_an_earlier_visit_s_reservation_is_refused() -> None:
    again = holding_seat_7().and_then(leave(ANN), join(ANN, visit=2), let_in((2, ANN)))
    again.when(pay(ANN, visit=2, reservation_id=reservation_of(ANN))).then_refused(ReservationNotOpen)
    again.when(pay(ANN, visit=2)).then_refused(ReservationNotOpen)


class Fault(NamedTuple):
    """One reason for a refusal: what was done, or how the request differs."""

    error: type[DomainError]
    done: tuple[Any, ...] = ()
    asked: Mapping[str, Any] = {}
    until: datetime | str | None = None


FAILURES = tuple(pay(ANN, nth=nth) for nth in range(11, 16))

FAULTS = [
    Fault(ReservationNotFound, asked={"reservation_id": reservation_of(BEN)}),
    Fault(TokenInvalid, asked={"visit": Visit(CODE, token_of(ANN, 2))}),
    Fault(ReservationNotOpen, done=(release(ANN),)),
    Fault(AmountMismatch, asked={"amount": 1}),
    Fault(HoldExpired, until="12:10"),
    Fault(RateLimited, done=FAILURES),
    Fault(InsufficientBalance),
]
"""In domain.md's order of checks. There is never enough money: the last of them applies to all."""


@pytest.mark.parametrize(("earlier", "later"), list(combinations(FAULTS, 2)))
def test_of_two_reasons_for_a_refusal_the_earlier_check_names_its_own(earlier: Fault, later: Fault) -> None:
    poor = holding_seat_7(balance=POOR)
    for step in (*later.done, *earlier.done):
        poor.when(step)
    poor.and_then(later.until or earlier.until or "12:06")
    wish = msgspec.structs.replace(pay(ANN), **{**later.asked, **earlier.asked})
    assert type(poor.when(wish).outcome) is earlier.error


def test_paying_asks_whose_reservation_it_is_then_for_which_concert() -> None:
    elsewhere = Visit(ConcertCode("NOWHERE"), token_of(ANN))
    holding = holding_seat_7()
    theirs = Pay(elsewhere, BEN, payment_of(BEN), reservation_of(ANN), None)
    holding.when(theirs).then_refused(ReservationNotFound)
    mine = Pay(elsewhere, ANN, payment_of(ANN), reservation_of(ANN), None)
    holding.when(mine).then_refused(TokenMismatch)
    holding.when(Pay(elsewhere, ANN, payment_of(ANN), None, None)).then_refused(ConcertNotFound)
