"""A performance has begun: its unsold seats no longer count for the gate (rule L2)."""

from collections.abc import Iterator
from datetime import date
from typing import Any, ClassVar

from aggregates import concert, queue
from aggregates.ids import ConcertCode, StartTime
from aggregates.stream import Stream
from commands.command import Command, Handler, Peek
from commands.unit_of_work import UnitOfWork


class WithdrawSeats(Command, frozen=True):
    """Withdraw what is unsold of a performance; before its start, and once withdrawn, nothing changes."""

    ends_batch: ClassVar[bool] = True
    code: ConcertCode
    date: date
    start_time: StartTime


def handle(command: WithdrawSeats, unit_of_work: UnitOfWork) -> None:
    """Withdraw them, if the performance has begun by the database's clock."""
    showing = concert.announced(unit_of_work.load(concert.stream(command.code)))
    performance = concert.find_performance(showing, command.date, command.start_time)
    if performance.starts_at <= unit_of_work.now:
        unit_of_work.change_queue(command.code, queue.withdraw_seats, command.date, command.start_time)


def streams(command: WithdrawSeats, _peek: Peek) -> Iterator[Stream[Any]]:
    """The concert and its queue."""
    yield concert.stream(command.code)
    yield queue.stream(command.code)


HANDLER = Handler(handle, streams)
