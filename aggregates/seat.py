"""Seat: one numbered place of one performance, available, held until a deadline, or sold (rules S1, S2)."""

from collections.abc import Mapping
from datetime import date, datetime
from typing import ClassVar, assert_never

import msgspec

from aggregates.errors import HoldExpired, SeatAlreadyHeld, SeatAlreadySold
from aggregates.event import Event
from aggregates.ids import ConcertCode, PaymentId, ReservationId, StartTime, TokenId, UserId
from aggregates.stream import Aggregate, Stream, remembered
from aggregates.stream import stream as named_stream


class SeatHeld(Event, frozen=True):
    topic: ClassVar[str] = "seat.held"
    reservation_id: ReservationId
    token_id: TokenId
    user_id: UserId
    until: datetime


class SeatHoldExpired(Event, frozen=True):
    topic: ClassVar[str] = "seat.hold_expired"
    reservation_id: ReservationId


class SeatHoldReleased(Event, frozen=True):
    topic: ClassVar[str] = "seat.hold_released"
    reservation_id: ReservationId
    reason: str


class SeatSold(Event, frozen=True):
    topic: ClassVar[str] = "seat.sold"
    reservation_id: ReservationId
    payment_id: PaymentId
    user_id: UserId


class SeatReturned(Event, frozen=True):
    topic: ClassVar[str] = "seat.returned"
    payment_id: PaymentId


SeatEvent = SeatHeld | SeatHoldExpired | SeatHoldReleased | SeatSold | SeatReturned


class Available(msgspec.Struct, frozen=True, tag=True):
    """Nobody's. A seat that no event names is available, if its performance's plan has it."""


class Held(msgspec.Struct, frozen=True, tag=True):
    """Set aside for one reservation; at `until` it is over, whether or not that has been recorded."""

    reservation_id: ReservationId
    token_id: TokenId
    until: datetime


class Sold(msgspec.Struct, frozen=True, tag=True):
    """Paid for."""

    payment_id: PaymentId


Seat = Available | Held | Sold


def evolve(seat: Seat, event: SeatEvent, at: datetime) -> Seat:
    """Return the seat after `event`."""
    match event:
        case SeatHeld(reservation_id=reservation_id, token_id=token_id, until=until):
            return Held(reservation_id, token_id, until)
        case SeatSold(payment_id=payment_id):
            return Sold(payment_id)
        case SeatHoldExpired() | SeatHoldReleased() | SeatReturned():
            return Available()


SEAT: Aggregate[Seat] = Aggregate("seat", Available(), evolve, Seat)


@remembered
def stream(code: ConcertCode, day: date, start_time: StartTime, seat_number: int) -> Stream[Seat]:
    """The stream `seat/{code}/{date}T{start_time}/{seat_number}`."""
    return named_stream(SEAT, f"{code}/{day.isoformat()}T{start_time}/{seat_number}", code)


def require_free(seats: Mapping[int, Seat], now: datetime) -> None:
    """S1: raise SeatAlreadySold, else SeatAlreadyHeld, naming all the seats that stand in the way."""
    sold = [number for number, seat in seats.items() if isinstance(seat, Sold)]
    if sold:
        raise SeatAlreadySold(sold)
    held = [number for number, seat in seats.items() if isinstance(seat, Held) and now < seat.until]
    if held:
        raise SeatAlreadyHeld(held)


def hold(seat: Seat, held: SeatHeld, now: datetime) -> list[SeatEvent]:
    """Set a free seat aside for one reservation.

    A hold that has lapsed gives way, whether or not the timer has come by: it is recorded as expired first,
    in the same append (rule S2). The caller has asked `require_free`.
    """
    match seat:
        case Held(reservation_id=lapsed, until=until) if until <= now:
            return [SeatHoldExpired(lapsed), held]
        case Available():
            return [held]
        case Held() | Sold():
            raise AssertionError("a seat that is not free is refused before it is held")
        case _:
            assert_never(seat)


def expire(seat: Seat, reservation_id: ReservationId) -> list[SeatEvent]:
    """Record that this reservation's hold is over, unless it is already or others took the seat (S3)."""
    return [SeatHoldExpired(reservation_id)] if _holds(reservation_id, seat) else []


def release(seat: Seat, reservation_id: ReservationId, reason: str) -> list[SeatEvent]:
    """Give up this reservation's hold, unless it has ended or others took the seat since (S3)."""
    return [SeatHoldReleased(reservation_id, reason)] if _holds(reservation_id, seat) else []


def sell(seat: Seat, sold: SeatSold, now: datetime) -> list[SeatEvent]:
    """Make the holder the owner. Raises HoldExpired unless this reservation's hold is live (P2)."""
    match seat:
        case Held(reservation_id=reservation_id, until=until) if (
            reservation_id == sold.reservation_id and now < until
        ):
            return [sold]
        case _:
            raise HoldExpired


def give_back(seat: Seat, payment_id: PaymentId) -> list[SeatEvent]:
    """Put the seat back on sale after a refund of the payment that bought it (P4)."""
    match seat:
        case Sold(payment_id=owner) if owner == payment_id:
            return [SeatReturned(payment_id)]
        case _:
            return []


def _holds(reservation_id: ReservationId, seat: Seat) -> bool:
    return isinstance(seat, Held) and seat.reservation_id == reservation_id
