"""Refunds (P4, S4, W2, L2)."""

from datetime import timedelta
from typing import Any

from aggregates import payment, queue, reservation, token, wallet
from aggregates.errors import PaymentNotFound, RefundNotAllowed
from aggregates.payment import PaymentRefunded
from aggregates.queue import SeatsReturned, SeatsWithdrawn
from aggregates.reservation import ReservationCancelled
from aggregates.seat import SeatReturned
from aggregates.token import TokenSeatsReturned
from aggregates.wallet import ChargeLimits, WalletRefunded
from commands.charge_wallet import ChargeWallet
from commands.pay import Paid
from commands.refund import Refund
from commands.unit_of_work import ServiceRules
from tests.aggregates.given import ANN, BEN, CODE, at, payment_of, reservation_of, token_of
from tests.commands.sale import Given, given, on
from tests.commands.steps import (
    PRICE,
    SHOW,
    SHOW_DAY,
    SHOW_STARTS_AT,
    SHOW_TIME,
    change_policy,
    inside,
    join,
    leave,
    let_in,
    on_sale,
    pay,
    refund,
    reserve,
    schedule,
    seat_stream,
    waiting,
    withdraw,
)

DAY = timedelta(days=1)
MOMENT = timedelta(microseconds=1)


def bought(*seat_numbers: int, balance: int = 250_000, **policy: Any) -> Given:
    """Ann has paid for these seats at 12:06."""
    return given(
        on_sale(**policy),
        inside(ANN, balance=balance),
        "12:05",
        reserve(ANN, *seat_numbers),
        "12:06",
        pay(ANN),
        "12:07",
    )


def test_p4_a_refund_gives_back_everything_in_one_append() -> None:
    refunded = bought(7, 8).when(refund(ANN))
    refunded.then_appended(
        [
            *on(wallet.stream(ANN), WalletRefunded(2 * PRICE, payment_of(ANN))),
            *on(payment.stream(payment_of(ANN)), PaymentRefunded(2 * PRICE, 250_000)),
            *on(reservation.stream(reservation_of(ANN)), ReservationCancelled("refunded")),
            *on(seat_stream(7), SeatReturned(payment_of(ANN))),
            *on(seat_stream(8), SeatReturned(payment_of(ANN))),
            *on(token.stream(CODE, ANN), TokenSeatsReturned(payment_of(ANN), (7, 8))),
            *on(queue.stream(CODE), SeatsReturned(2, {SHOW: 2})),
        ]
    ).then_correlated(*[token_of(ANN)] * 6)
    assert refunded.outcome == Paid(
        payment_of(ANN), reservation_of(ANN), ANN, CODE, "An Evening", SHOW_DAY, SHOW_TIME, (7, 8),
        2 * PRICE, 250_000, paid_at=at("12:06"), refunded_at=at("12:07"),
    )  # fmt: skip


def test_p4_the_events_are_spread_by_concert_and_those_of_the_wallet_by_user() -> None:
    refunded = bought(7).when(refund(ANN))
    keys = {event.stream.partition("/")[0]: event.partition_key for event in refunded.events}
    assert keys.pop("wallet") == str(ANN)
    assert set(keys.values()) == {CODE}


def test_p4_a_refund_is_given_once() -> None:
    bought(7).and_then(refund(ANN)).when(refund(ANN)).then_refused(RefundNotAllowed)


def test_p4_also_within_one_batch() -> None:
    both = bought(7).when(refund(ANN), refund(ANN))
    both.then_refused_with_events(RefundNotAllowed)
    assert both.sale.state(wallet.stream(ANN)).balance == 250_000


def test_p4_the_seats_are_on_sale_again() -> None:
    bought(7).and_then(inside(BEN, 2), refund(ANN), reserve(BEN, 7))


def test_p4_the_seats_count_for_the_gate_from_the_next_batch_on() -> None:
    sold_out = bought(1, seats=1).and_then(waiting(BEN))
    assert sold_out.when(refund(ANN), let_in((2, BEN))).outcome == 0
    assert sold_out.when(let_in((2, BEN))).outcome == 1


def test_p4_a_refund_belongs_to_the_visit_that_bought() -> None:
    again = bought(7).and_then(join(ANN, visit=2), leave(ANN, visit=2)).when(refund(ANN))
    assert {event.correlation_id for event in again.events[:-1]} == {token_of(ANN)}


def test_p4_a_failed_payment_is_not_refunded() -> None:
    poor = given(on_sale(), inside(ANN), reserve(ANN, 7))
    poor.when(pay(ANN))
    poor.when(refund(ANN)).then_refused(RefundNotAllowed)


def test_another_s_payment_is_not_found_and_neither_is_one_that_never_was() -> None:
    bought(7).when(Refund(payment_of(ANN), BEN)).then_refused(PaymentNotFound)
    bought(7).when(refund(ANN, nth=2)).then_refused(PaymentNotFound)


def test_p4_a_refund_is_given_until_a_day_before_the_performance() -> None:
    bought(7).and_then(SHOW_STARTS_AT - DAY - MOMENT, refund(ANN))
    bought(7).and_then(SHOW_STARTS_AT - DAY).when(refund(ANN)).then_refused(RefundNotAllowed)


def test_p4_the_policy_as_it_then_stands_decides() -> None:
    late = bought(7).and_then(SHOW_STARTS_AT - MOMENT - timedelta(seconds=1))
    late.when(refund(ANN)).then_refused(RefundNotAllowed)
    late.and_then(change_policy(refund_until_s=None), refund(ANN))


def test_p4_nothing_is_refunded_once_the_performance_has_started() -> None:
    begun = bought(7, refund_until_s=None).and_then(SHOW_STARTS_AT)
    begun.when(refund(ANN)).then_refused(RefundNotAllowed)


def test_p4_each_of_two_performances_of_a_day_has_its_own_deadline() -> None:
    matinee = timedelta(hours=5, minutes=30)
    two = bought(7).and_then(schedule(start_time="14:00"))
    late = two.and_then(SHOW_STARTS_AT - DAY - matinee, refund(ANN))
    assert late.sale.state(payment.stream(payment_of(ANN))).refunded


def test_w2_a_refund_may_take_the_wallet_past_the_largest_balance() -> None:
    small = ServiceRules(ChargeLimits(balance_max=2 * PRICE))
    full = given(
        on_sale(),
        inside(ANN, balance=2 * PRICE),
        reserve(ANN, 7),
        pay(ANN),
        ChargeWallet(ANN, PRICE),
        rules=small,
    )
    full.and_then(refund(ANN))
    assert full.sale.state(wallet.stream(ANN)).balance == 3 * PRICE


def test_l2_a_seat_given_back_before_the_performance_begins_is_withdrawn_with_the_others() -> None:
    begun = bought(1, seats=3, refund_until_s=None).and_then(
        SHOW_STARTS_AT - timedelta(seconds=2), refund(ANN), SHOW_STARTS_AT
    )
    begun.when(withdraw()).then(on(queue.stream(CODE), SeatsWithdrawn(SHOW_DAY, SHOW_TIME, 3)))
    assert begun.sale.state(queue.stream(CODE)).seats_left == 0
