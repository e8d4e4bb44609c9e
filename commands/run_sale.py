"""How an operator runs a sale: its policy, opening and closing it, pausing and resuming the gate.

What follows these in the log must see them, so each ends its batch.
"""

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from aggregates import concert, policy, queue
from aggregates.ids import ConcertCode
from aggregates.policy import Policy
from aggregates.stream import Stream
from commands.command import Command, Handler, Peek
from commands.unit_of_work import UnitOfWork


class SaleCommand(Command, frozen=True):
    """A command to the whole sale of one concert. All of them raise ConcertNotFound."""

    ends_batch: ClassVar[bool] = True
    code: ConcertCode


class ChangePolicy(SaleCommand, frozen=True):
    """Set these fields of the policy, given as JSON values, and leave the others."""

    changes: Mapping[str, Any]


class OpenSales(SaleCommand, frozen=True):
    """Put the concert on sale."""


class CloseSales(SaleCommand, frozen=True):
    """Take the concert off sale (rule L1)."""


class FollowTimetable(SaleCommand, frozen=True):
    """Open or close the sale, if the policy's times say so by now."""


class PauseQueue(SaleCommand, frozen=True):
    """Stop letting in."""


class ResumeQueue(SaleCommand, frozen=True):
    """Let in again."""


def change_policy(command: ChangePolicy, unit_of_work: UnitOfWork) -> Policy:
    """Return the whole policy as it then is. Raises ValidationFailed."""
    stream = concert.stream(command.code)
    changing = concert.announced(unit_of_work.load(stream))
    new_policy = policy.changed(changing.policy, command.changes)
    unit_of_work.record(stream, concert.change_policy(changing, new_policy))
    return new_policy


def open_sales(command: OpenSales, unit_of_work: UnitOfWork) -> None:
    """Open the sale; once open, nothing changes. What the timetable had due by now comes first."""
    follow_timetable(command, unit_of_work)
    stream = concert.stream(command.code)
    unit_of_work.record(stream, concert.open_sales(unit_of_work.load(stream)))


def close_sales(command: CloseSales, unit_of_work: UnitOfWork) -> None:
    """Close the sale; once closed, nothing changes. What the timetable had due by now comes first."""
    follow_timetable(command, unit_of_work)
    stream = concert.stream(command.code)
    unit_of_work.record(stream, concert.close_sales(unit_of_work.load(stream)))


def follow_timetable(command: SaleCommand, unit_of_work: UnitOfWork) -> None:
    """Do what the timetable says by the database's clock; where it says nothing, nothing changes."""
    stream = concert.stream(command.code)
    following = concert.announced(unit_of_work.load(stream))
    unit_of_work.record(stream, concert.follow_timetable(following, unit_of_work.now))


def pause_queue(command: PauseQueue, unit_of_work: UnitOfWork) -> None:
    """Pause the gate; joining and buying go on."""
    concert.announced(unit_of_work.load(concert.stream(command.code)))
    unit_of_work.change_queue(command.code, queue.pause)


def resume_queue(command: ResumeQueue, unit_of_work: UnitOfWork) -> None:
    """Resume letting in."""
    concert.announced(unit_of_work.load(concert.stream(command.code)))
    unit_of_work.change_queue(command.code, queue.resume)


def streams(command: SaleCommand, _peek: Peek) -> Iterator[Stream[Any]]:
    """The concert and its queue."""
    yield concert.stream(command.code)
    yield queue.stream(command.code)


HANDLERS: dict[type[Command], Handler] = {
    ChangePolicy: Handler(change_policy, streams),
    OpenSales: Handler(open_sales, streams),
    CloseSales: Handler(close_sales, streams),
    FollowTimetable: Handler(follow_timetable, streams),
    PauseQueue: Handler(pause_queue, streams),
    ResumeQueue: Handler(resume_queue, streams),
}
