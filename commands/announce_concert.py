"""An operator announces a concert; its queue is opened with it."""

from collections.abc import Iterator
from typing import Any

from aggregates import concert, queue
from aggregates.concert import ConcertAnnounced
from aggregates.ids import ConcertCode
from aggregates.policy import Policy
from aggregates.stream import Stream
from commands.command import Command, Handler, Peek
from commands.unit_of_work import UnitOfWork


class AnnounceConcert(Command, frozen=True):
    """Announce a concert under a policy. Sales stay closed until they are opened."""

    code: ConcertCode
    title: str
    description: str
    category: str
    venue: str
    time_zone: str
    policy: Policy


def handle(command: AnnounceConcert, unit_of_work: UnitOfWork) -> None:
    """Announce it, and open its queue. Raises ConcertAlreadyExists, ValidationFailed."""
    stream = concert.stream(command.code)
    announcement = ConcertAnnounced(
        command.code, command.title, command.description, command.category, command.venue,
        command.time_zone, command.policy,
    )  # fmt: skip
    unit_of_work.record(stream, concert.announce(unit_of_work.load(stream), announcement))
    unit_of_work.change_queue(command.code, queue.open_line)


def streams(command: AnnounceConcert, _peek: Peek) -> Iterator[Stream[Any]]:
    """The concert and its queue."""
    yield concert.stream(command.code)
    yield queue.stream(command.code)


HANDLER = Handler(handle, streams)
