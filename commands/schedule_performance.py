"""An operator adds a performance to a concert; its seats count for the gate."""

from collections.abc import Iterator
from datetime import date
from typing import Any

import msgspec

from aggregates import concert, queue
from aggregates.concert import DEFAULT_SEATS, Performance, SeatBlock
from aggregates.ids import ConcertCode, StartTime, performance_name
from aggregates.stream import Stream
from commands.command import Command, Handler, Peek
from commands.unit_of_work import UnitOfWork


class SeatsFrom(msgspec.Struct, frozen=True):
    """Names the performance whose plan of seats is taken over."""

    date: date
    start_time: StartTime


class SchedulePerformance(Command, frozen=True):
    """Schedule a showing at the venue's wall-clock time, with `seats`, or those of `seats_from`, or 1–50."""

    code: ConcertCode
    date: date
    start_time: StartTime
    end_time: str | None
    seats: tuple[SeatBlock, ...] | None
    seats_from: SeatsFrom | None


def handle(command: SchedulePerformance, unit_of_work: UnitOfWork) -> Performance:
    """Schedule it, and put its seats on sale.

    Raises ConcertNotFound, PerformanceAlreadyExists, ValidationFailed, PerformanceNotFound for `seats_from`.
    """
    stream = concert.stream(command.code)
    scheduling = concert.announced(unit_of_work.load(stream))
    seats = command.seats
    if seats is None and command.seats_from is not None:
        model = command.seats_from
        seats = concert.find_performance(scheduling, model.date, model.start_time).seats
    scheduled = concert.schedule(
        scheduling,
        day=command.date,
        start_time=command.start_time,
        end_time=command.end_time,
        seats=DEFAULT_SEATS if seats is None else seats,
    )
    unit_of_work.record(stream, scheduled)
    name = performance_name(command.date, command.start_time)
    performance = unit_of_work.load(stream).performances[name]
    unit_of_work.change_queue(command.code, queue.add_seats, name, performance.seat_count)
    return performance


def streams(command: SchedulePerformance, _peek: Peek) -> Iterator[Stream[Any]]:
    """The concert and its queue."""
    yield concert.stream(command.code)
    yield queue.stream(command.code)


HANDLER = Handler(handle, streams)
