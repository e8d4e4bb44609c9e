"""Reservation: one user's holds on seats of one performance, with one deadline and one amount."""

from datetime import date, datetime
from enum import StrEnum
from typing import ClassVar

import msgspec

from aggregates.errors import HoldExpired, RateLimited, ReservationNotFound, ReservationNotOpen
from aggregates.event import Event
from aggregates.ids import ConcertCode, PaymentId, ReservationId, StartTime, TokenId, UserId
from aggregates.stream import Aggregate, Stream, remembered
from aggregates.stream import stream as named_stream

FAILURES_MAX = 5
"""P3: after so many failed payments of one reservation, one that would fail again leaves no more events."""


RETRY_AFTER_S = 5
"""Time to charge the wallet; sooner an attempt would only fail again."""


class ReservationOpened(Event, frozen=True):
    topic: ClassVar[str] = "reservation.opened"
    token_id: TokenId
    user_id: UserId
    code: ConcertCode
    date: date
    start_time: StartTime
    seat_numbers: tuple[int, ...]
    amount: int
    until: datetime


class ReservationPaymentFailed(Event, frozen=True):
    topic: ClassVar[str] = "reservation.payment_failed"
    payment_id: PaymentId


class ReservationConfirmed(Event, frozen=True):
    topic: ClassVar[str] = "reservation.confirmed"
    payment_id: PaymentId


class ReservationExpired(Event, frozen=True):
    topic: ClassVar[str] = "reservation.expired"


class ReservationCancelled(Event, frozen=True):
    topic: ClassVar[str] = "reservation.cancelled"
    reason: str


ReservationEvent = (
    ReservationOpened
    | ReservationPaymentFailed
    | ReservationConfirmed
    | ReservationExpired
    | ReservationCancelled
)


class ReservationStatus(StrEnum):
    """Where a reservation stands, as its stream says."""

    OPEN = "OPEN"
    CONFIRMED = "CONFIRMED"
    EXPIRED = "EXPIRED"
    CANCELLED = "CANCELLED"


class Reservation(msgspec.Struct, frozen=True):
    """A reservation as its stream tells it; `opened` is None before its first event."""

    opened: ReservationOpened | None = None
    status: ReservationStatus = ReservationStatus.OPEN
    failures: int = 0


def evolve(reservation: Reservation, event: ReservationEvent, at: datetime) -> Reservation:
    """Return the reservation after `event`."""
    match event:
        case ReservationOpened():
            return Reservation(opened=event)
        case ReservationPaymentFailed():
            return msgspec.structs.replace(reservation, failures=reservation.failures + 1)
        case ReservationConfirmed():
            return msgspec.structs.replace(reservation, status=ReservationStatus.CONFIRMED)
        case ReservationExpired():
            return msgspec.structs.replace(reservation, status=ReservationStatus.EXPIRED)
        case ReservationCancelled():
            return msgspec.structs.replace(reservation, status=ReservationStatus.CANCELLED)


RESERVATION = Aggregate("reservation", Reservation(), evolve)


@remembered
def stream(reservation_id: ReservationId) -> Stream[Reservation]:
    """The stream `reservation/{id}`."""
    return named_stream(RESERVATION, str(reservation_id))


def owned(reservation: Reservation, user_id: UserId) -> ReservationOpened:
    """Return what was opened, if by this user. Raises ReservationNotFound, also where it is another's."""
    if reservation.opened is None or reservation.opened.user_id != user_id:
        raise ReservationNotFound
    return reservation.opened


def require_open(reservation: Reservation) -> None:
    """Raise ReservationNotOpen where the reservation was paid, or given up.

    Whether its time has run out is for `require_in_time` to say, the same before and after that is recorded.
    """
    if reservation.status in (ReservationStatus.CONFIRMED, ReservationStatus.CANCELLED):
        raise ReservationNotOpen


def require_in_time(opened: ReservationOpened, now: datetime) -> None:
    """P2: raise HoldExpired from the deadline on."""
    if opened.until <= now:
        raise HoldExpired


def fail_payment(reservation: Reservation, payment_id: PaymentId) -> list[ReservationEvent]:
    """P3: record one failed payment. Raises RateLimited after five, without an event."""
    if reservation.failures >= FAILURES_MAX:
        raise RateLimited(RETRY_AFTER_S)
    return [ReservationPaymentFailed(payment_id)]


def expire(reservation: Reservation) -> list[ReservationEvent]:
    """Record that the deadline passed, unless the reservation has ended already."""
    return [ReservationExpired()] if reservation.status is ReservationStatus.OPEN else []


def cancel(reservation: Reservation, reason: str) -> list[ReservationEvent]:
    """End an open reservation, or one whose payment was refunded."""
    if reservation.status in (ReservationStatus.OPEN, ReservationStatus.CONFIRMED):
        return [ReservationCancelled(reason)]
    return []
