"""Reservations: open until paid, released or lapsed; five failed payments (S3, P2–P4)."""

from datetime import datetime

import pytest
from hypothesis import given as for_all
from hypothesis import strategies as st

from aggregates import reservation
from aggregates.errors import HoldExpired, RateLimited, ReservationNotFound, ReservationNotOpen
from aggregates.reservation import (
    RESERVATION,
    Reservation,
    ReservationCancelled,
    ReservationConfirmed,
    ReservationEvent,
    ReservationExpired,
    ReservationOpened,
    ReservationPaymentFailed,
    ReservationStatus,
)
from tests.aggregates.given import (
    ANN,
    BEN,
    CODE,
    EVENING,
    TODAY,
    at,
    given,
    payment_of,
    token_of,
)
from tests.aggregates.strategies import moments

OPENED = ReservationOpened(token_of(ANN), ANN, CODE, TODAY, EVENING, (3, 4), 200_000, at("12:05"))
FAILED = ReservationPaymentFailed(payment_of(ANN))
CONFIRMED = ReservationConfirmed(payment_of(ANN))


def fail(failing: Reservation) -> list[ReservationEvent]:
    return reservation.fail_payment(failing, payment_of(ANN))


def test_a_reservation_belongs_to_who_opened_it() -> None:
    given(RESERVATION, OPENED).when(reservation.owned, ANN).then_it_is(OPENED)


def test_anothers_reservation_is_not_found_and_neither_is_one_that_never_was() -> None:
    given(RESERVATION, OPENED).when(reservation.owned, BEN).then_refused(ReservationNotFound)
    given(RESERVATION).when(reservation.owned, ANN).then_refused(ReservationNotFound)


def test_p1_an_open_reservation_may_be_paid() -> None:
    given(RESERVATION, OPENED, FAILED).when(reservation.require_open).then_it_may()


@pytest.mark.parametrize(
    "end",
    [
        [CONFIRMED],
        [CONFIRMED, ReservationCancelled("refunded")],
        [ReservationCancelled("released")],
    ],
)
def test_p2_a_reservation_that_was_paid_or_given_up_is_not_open(end: list[ReservationEvent]) -> None:
    given(RESERVATION, OPENED, *end).when(reservation.require_open).then_refused(ReservationNotOpen)


def test_p2_that_it_expired_is_told_by_its_deadline_whether_or_not_it_was_recorded() -> None:
    expired = given(RESERVATION, OPENED, ReservationExpired())
    expired.when(reservation.require_open).then_it_may()
    late = OPENED.until
    expired.its(lambda its: its.opened).when(reservation.require_in_time, late).then_refused(HoldExpired)


@for_all(until=moments, now=moments)
def test_p2_a_payment_is_in_time_until_the_deadline_and_not_at_it(until: datetime, now: datetime) -> None:
    held = ReservationOpened(token_of(ANN), ANN, CODE, TODAY, EVENING, (3,), 100_000, until)
    outcome = given(RESERVATION, held).its(lambda its: its.opened).when(reservation.require_in_time, now)
    if now < until:
        outcome.then_it_may()
    else:
        outcome.then_refused(HoldExpired)


@for_all(st.integers(0, 12))
def test_p3_five_failed_payments_are_recorded_and_no_more(failures: int) -> None:
    outcome = given(RESERVATION, OPENED, *[FAILED] * failures).when(fail)
    if failures < 5:
        outcome.then(FAILED)
    else:
        outcome.then_refused(RateLimited, retry_after_s=5)


@pytest.mark.parametrize(
    ("end", "status"),
    [
        ([], ReservationStatus.OPEN),
        ([FAILED], ReservationStatus.OPEN),
        ([CONFIRMED], ReservationStatus.CONFIRMED),
        ([ReservationExpired()], ReservationStatus.EXPIRED),
        ([ReservationCancelled("left")], ReservationStatus.CANCELLED),
        ([CONFIRMED, ReservationCancelled("refunded")], ReservationStatus.CANCELLED),
    ],
)
def test_s3_a_reservation_stands_where_its_last_event_put_it(
    end: list[ReservationEvent], status: ReservationStatus
) -> None:
    assert given(RESERVATION, OPENED, *end).state.status is status


def test_s3_an_open_reservation_expires_once() -> None:
    given(RESERVATION, OPENED).when(reservation.expire).then(ReservationExpired())
    for end in (ReservationExpired(), ReservationCancelled("left"), CONFIRMED):
        given(RESERVATION, OPENED, end).when(reservation.expire).then()


def test_s3_an_open_reservation_is_cancelled_once() -> None:
    given(RESERVATION, OPENED).when(reservation.cancel, "left").then(ReservationCancelled("left"))
    for end in (ReservationExpired(), ReservationCancelled("left")):
        given(RESERVATION, OPENED, end).when(reservation.cancel, "left").then()


def test_p4_a_refund_cancels_a_confirmed_reservation() -> None:
    given(RESERVATION, OPENED, CONFIRMED).when(reservation.cancel, "refunded").then(
        ReservationCancelled("refunded")
    )
