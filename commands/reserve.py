"""A user takes seats: all of them or none, until a deadline."""

from collections.abc import Iterator
from datetime import date, datetime, timedelta
from typing import Any

import msgspec

from aggregates import concert, reservation, seat, token, wallet
from aggregates.errors import ValidationFailed
from aggregates.ids import ConcertCode, ReservationId, StartTime, UserId
from aggregates.reservation import ReservationOpened
from aggregates.stream import Stream
from commands.command import Command, Handler, Peek
from commands.settling import require_active, seat_streams, settle_lapsed, visit_streams
from commands.unit_of_work import UnitOfWork, Visit


class Reserve(Command, frozen=True):
    """Hold these seats; where the date has one performance, `start_time` may be left out."""

    visit: Visit
    user_id: UserId
    reservation_id: ReservationId
    date: date
    start_time: StartTime | None
    seat_numbers: tuple[int, ...]


class Reserved(msgspec.Struct, frozen=True):
    """The reservation that was opened."""

    reservation_id: ReservationId
    user_id: UserId
    code: ConcertCode
    date: date
    start_time: StartTime
    seat_numbers: tuple[int, ...]
    amount: int
    until: datetime
    created_at: datetime


def handle(command: Reserve, unit_of_work: UnitOfWork) -> Reserved:
    """S1, S3–S5: hold all the seats for one reservation.

    Checks in the order of domain.md: shape, concert, token, sales, performance, seats exist, open
    reservation, limit, sold, held.
    """
    if not command.seat_numbers or len(set(command.seat_numbers)) < len(command.seat_numbers):
        raise ValidationFailed("name one seat at least, and each once", "seat_numbers")
    now, visit = unit_of_work.now, command.visit
    selling = concert.announced(unit_of_work.load(concert.stream(visit.code)))
    live = require_active(unit_of_work, visit, command.user_id)
    token.require_before_deadline(live, now)
    concert.require_sales_open(selling)
    performance = concert.performance_to_sell(selling, command.date, command.start_time, now)
    amount = concert.amount_of(performance, command.seat_numbers)
    token.require_none_open(live, now)
    tokens_stream = token.stream(visit.code, command.user_id)
    tokens, seats_max = unit_of_work.load(tokens_stream), selling.policy.max_seats_per_user
    token.require_within_limit(tokens, len(command.seat_numbers), seats_max)
    until = now + timedelta(seconds=selling.policy.hold_ttl_s)
    opened = ReservationOpened(
        visit.token_id, command.user_id, visit.code, performance.date, performance.start_time,
        command.seat_numbers, amount, until,
    )  # fmt: skip
    wanted = dict(zip(command.seat_numbers, seat_streams(opened), strict=True))
    seat.require_free({number: unit_of_work.load(stream) for number, stream in wanted.items()}, now)

    settle_lapsed(unit_of_work, visit, command.user_id, live)
    unit_of_work.create(reservation.stream(command.reservation_id), opened, visit)
    for stream in wanted.values():
        _take(unit_of_work, stream, command, until)
    held = token.TokenSeatsHeld(command.reservation_id, command.seat_numbers, until)
    unit_of_work.record(tokens_stream, [held], visit)
    if not selling.policy.charge_while_holding:
        suspended = wallet.suspend_charging(command.reservation_id, until)
        unit_of_work.record(wallet.stream(command.user_id), suspended, visit)
    return Reserved(
        command.reservation_id, command.user_id, visit.code, opened.date, opened.start_time,
        opened.seat_numbers, amount, until, created_at=now,
    )  # fmt: skip


def _take(unit_of_work: UnitOfWork, stream: Stream[seat.Seat], command: Reserve, until: datetime) -> None:
    """S2: hold a seat; another's lapsed hold is recorded as expired first, within that other's visit."""
    taken = unit_of_work.load(stream)
    if isinstance(taken, seat.Held):
        lapsed_visit = Visit(command.visit.code, taken.token_id)
        unit_of_work.record(stream, seat.expire(taken, taken.reservation_id), lapsed_visit)
    held = seat.SeatHeld(command.reservation_id, command.visit.token_id, command.user_id, until)
    unit_of_work.record(stream, seat.hold(unit_of_work.load(stream), held, unit_of_work.now), command.visit)


def streams(command: Reserve, peek: Peek) -> Iterator[Stream[Any]]:
    """The user's visit, the seats and, where holding them forbids to charge it, the wallet."""
    code = command.visit.code
    yield from visit_streams(code, command.user_id, peek)
    selling = peek(concert.stream(code))
    if selling is None or not selling.policy.charge_while_holding:
        yield wallet.stream(command.user_id)
    start_time = command.start_time or _only_start_time(command, peek)
    if start_time is not None:
        for number in command.seat_numbers:
            yield seat.stream(code, command.date, start_time, number)


def _only_start_time(command: Reserve, peek: Peek) -> StartTime | None:
    selling = peek(concert.stream(command.visit.code))
    showings = selling.performances.values() if selling is not None else ()
    return next((showing.start_time for showing in showings if showing.date == command.date), None)


HANDLER = Handler(handle, streams)
