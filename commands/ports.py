"""What the command bus needs of the outside: a log to append to, under one lock and one clock."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple, Protocol
from uuid import UUID

import msgspec

from aggregates.event import Event, RecordedEvent
from aggregates.ids import TokenId, UserId
from aggregates.stream import Stream


class KeyOfCaller(NamedTuple):
    """An idempotency key belongs to who used it: a user id, or `admin`."""

    caller: str
    key: str


class RecordedOutcome(msgspec.Struct, frozen=True):
    """The first outcome of a keyed command, as it was answered."""

    request: bytes
    """The fingerprint of the request (rule I2)."""
    reply: bytes
    position: int


class Known(msgspec.Struct, frozen=True):
    """A stream's state, and the place in the stream up to which it is true."""

    stream: Stream[Any]
    state: Any
    version: int = 0
    position: int = 0


class Wanted(msgspec.Struct, frozen=True):
    """What a batch reads when it has the lock."""

    streams: Sequence[Known]
    """To be read, from where they are known already."""
    keys: Sequence[KeyOfCaller] = ()
    silence_of: Sequence[TokenId] = ()
    appended_since: int = 0
    """After which position all that was appended is told, 0 where nobody asks."""


class Hearing(msgspec.Struct, frozen=True):
    """When tokens were last heard from, and since when we could have heard them (rule Q8)."""

    since: datetime | None = None
    """None while any process that should listen does not."""
    last_heard_at: Mapping[TokenId, datetime] = {}


class Appended(NamedTuple):
    """An event that was appended, to be read by whoever wants it."""

    stream: str
    version: int
    read: Callable[[], RecordedEvent]
    """Raises BrokenHistory."""


class Reading(msgspec.Struct, frozen=True):
    """What a batch read under the lock."""

    now: datetime
    """The database's clock, later than every recorded event."""
    position: int
    """The last event's, 0 in an empty log."""
    known: dict[str, Known]
    """Every stream that was wanted, brought up to date, by its name."""
    outcomes: Mapping[KeyOfCaller, RecordedOutcome]
    hearing: Hearing
    appended: Sequence[Appended] | None = None
    """What was appended after `appended_since`, in order; None where that is too much, or nobody asked."""


class NewEvent(msgspec.Struct, frozen=True):
    """An event about to be appended."""

    stream: Stream[Any]
    version: int
    event: Event
    partition_key: str
    command_id: UUID
    correlation_id: UUID
    causation_id: UUID


class NewOutcome(msgspec.Struct, frozen=True):
    """The answer to a keyed command, recorded together with its events (rule I1)."""

    key: KeyOfCaller
    request: bytes
    reply: bytes
    command_id: UUID


class NewName(msgspec.Struct, frozen=True):
    """A user's name, kept beside the log so that it can be erased (None)."""

    user_id: UserId
    name: str | None


class Writes(msgspec.Struct, frozen=True):
    """All that one batch records, in one transaction."""

    recorded_at: datetime
    events: Sequence[NewEvent] = ()
    outcomes: Sequence[NewOutcome] = ()
    names: Sequence[NewName] = ()
    snapshots: Sequence[Known] = ()
    """Long streams' states, from which they are cheap to load; their positions are not known yet."""

    def __bool__(self) -> bool:
        """Whether there is anything to record."""
        return bool(self.events or self.outcomes or self.names)


class Append(Protocol):
    """A place in the log that is ours: nobody else appends until it is committed or given up."""

    reading: Reading

    async def read_more(self, streams: Sequence[Known]) -> None:
        """Read further streams at the same place in the log; `reading` then has them too.

        Raises as `EventLog.begin` does.
        """
        ...

    async def commit(self, writes: Writes) -> Sequence[int]:
        """Append, and return the events' positions in order; without events, the log's last position.

        Raises VersionConflict where a version is taken, OutcomeUnknown where the log did not say. Whatever
        else it raises, nothing was recorded.
        """
        ...

    async def give_up(self) -> None:
        """Leave the place without recording anything."""
        ...


class EventLog(Protocol):
    """The log, as the command bus sees it."""

    async def begin(self, wanted: Wanted, deadline: float) -> Append:
        """Take the append lock, then read. The whole append is given up at `deadline` (event loop time).

        Raises LogUnavailable, VersionConflict where what was known is not so, LogReplaced and BrokenHistory.
        """
        ...

    async def find(self, writes: Writes, deadline: float) -> Sequence[int] | None:
        """Look up under the lock what became of an append: what `commit` would have returned, or None.

        Raises LogUnavailable and LogReplaced.
        """
        ...


class VersionConflict(Exception):
    """Someone else appended to a stream in between; nothing was recorded."""


class LogUnavailable(Exception):
    """The log cannot be reached; nothing was recorded."""


class BrokenHistory(Exception):
    """A stream's events are not 1, 2, 3, …, cannot be read, or are not those of its snapshot.

    Nothing is decided on it.
    """


class LogReplaced(Exception):
    """The log is no longer the one that this process began with; nothing was recorded.

    It was restored from a backup, or has failed over, and may lack what is known here: so the process ends,
    to begin anew without what it knows.
    """

    def __init__(self) -> None:
        super().__init__("the log was restored or has failed over beneath this process, which begins anew")


class OutcomeUnknown(Exception):
    """The connection was lost after COMMIT was sent: it may or may not have been recorded."""


def nothing_known(stream: Stream[Any]) -> Known:
    """What is known of a stream that was never read."""
    return Known(stream, stream.aggregate.initial)


def evolved(known: Known, events: Sequence[RecordedEvent]) -> Known:
    """Bring what is known of a stream up to date with the events that follow it."""
    state, version, position = known.state, known.version, known.position
    evolve = known.stream.aggregate.evolve
    for recorded in events:
        state = evolve(state, recorded.event, recorded.recorded_at)
        version, position = recorded.version, recorded.position
    return Known(known.stream, state, version, position)
