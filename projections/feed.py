"""Where projections get their events from: the log itself, and a topic that carries it to them."""

from bisect import bisect_right
from collections.abc import Sequence
from typing import NamedTuple, Protocol
from uuid import UUID

from aggregates.event import Event, RecordedEvent
from aggregates.stream import stream_id
from projections.partitions import Positions, partition_of

POLL_MIN_S, POLL_MAX_S = 0.040, 0.050
"""How long to wait before looking again: after events came, and when none have come for a while.

Short enough for read models that are never 250 ms behind; long enough for events to come in batches, which
cost less each.
"""

OVER_TOPIC_POLL_MIN_S = 0.010
"""Shorter where the events come over a topic: whoever publishes them waits, the cluster does, and we do."""

POLL_GROWTH = 1.2


class Unreadable(Event, frozen=True):
    """Stands for an event that this version of the software cannot decode.

    Where not even what surrounds the payload can be read, its stream is called by its id, its keys are empty,
    and its time is that of an event beside it.
    """

    stored_topic: str
    meant: type[Event] | None
    """What it would be; None where the topic is unknown, since newer software wrote it."""
    stream_id: UUID
    error: str


def topic_of(recorded: RecordedEvent) -> str:
    """Return the topic of an event, whether or not it could be read."""
    event = recorded.event
    return event.stored_topic if isinstance(event, Unreadable) else event.topic


def stream_id_of(recorded: RecordedEvent) -> UUID:
    """Return the id of an event's stream, whether or not it could be read."""
    event = recorded.event
    return event.stream_id if isinstance(event, Unreadable) else stream_id(recorded.stream)


class Feed(Protocol):
    """The recorded events in the order of the log, from any position on."""

    async def read(self, after: int, limit: int) -> Sequence[RecordedEvent]:
        """Return the events that follow the position `after`, about `limit` at most; none at the end.

        Those that cannot be read come as `Unreadable`. Nothing is ever recorded later at or before the
        position of an event that was returned.
        """
        ...

    async def last_position(self) -> int:
        """Return the position of the last event, 0 where there is none."""
        ...


class Reading(NamedTuple):
    """Some events in the order of the log, and what is known with them of each partition that they are of.

    They are all events of these partitions from `after`, which is excluded, to `until`, which is included.
    """

    events: Sequence[RecordedEvent]
    after: Positions
    until: Positions

    def first(self, count: int) -> "Reading":
        """Return the first so many events."""
        end = self.events[count - 1].position
        until = {one: max(self.after[one], min(position, end)) for one, position in self.until.items()}
        return Reading(self.events[:count], self.after, until)

    def following(self, first: "Reading") -> "Reading":
        """Return what follows those first events."""
        return Reading(self.events[len(first.events) :], first.until, self.until)

    def connects_to(self, at: Positions) -> bool:
        """Whether nothing lies between what has been applied and these events, of any of the partitions."""
        return all(position <= at.get(one, -1) for one, position in self.after.items())

    def advances(self, at: Positions) -> bool:
        """Whether there is more in it than has been applied."""
        return any(position > at[one] for one, position in self.until.items())

    def beyond(self, at: Positions, partitions: int) -> Sequence[RecordedEvent]:
        """Return the events that have not been applied: as a rule, all.

        One of which not even the partition key can be read is taken for one of each partition. It cannot be
        applied anyway, only set aside.
        """
        events = self.events[bisect_right(self.events, min(at.values()), key=_position) :]
        if not events or events[0].position > max(at.values()):
            return events
        return [
            event
            for event in events
            if not event.partition_key or event.position > at[partition_of(event.partition_key, partitions)]
        ]


def reading_of_log(events: Sequence[RecordedEvent], after: int, partitions: int) -> Reading:
    """Return what was read of the log itself, so of all partitions."""
    until = events[-1].position if events else after
    return Reading(events, dict.fromkeys(range(partitions), after), dict.fromkeys(range(partitions), until))


class AnotherEpoch(Exception):
    """The log was restored from a backup, or has failed over: what comes over the topic may be lost.

    Who knows only of the log before cannot tell. The process ends, to begin anew.
    """


class Topic(Protocol):
    """Carries the log to those who apply it, each some of the partitions."""

    async def read(self, after: Positions, limit: int) -> Reading | None:
        """Return what has come of our partitions beyond `after`, `limit` events at most.

        None where something before it is missing here, or the topic is out of reach: the log has all.
        """
        ...


class Pace:
    """How often to look at the log: at once while there is a backlog, ever more rarely while it is quiet."""

    def __init__(self, limit: int, wait_min_s: float = POLL_MIN_S) -> None:
        self._backlog = limit // 2
        self._wait_min_s = self._wait_s = wait_min_s

    def wait_s(self, came: int) -> float:
        """Return how long to wait after a look that brought so many events."""
        if came >= self._backlog:
            return 0.0
        self._wait_s = self._wait_min_s if came else min(self._wait_s * POLL_GROWTH, POLL_MAX_S)
        return self._wait_s


def _position(event: RecordedEvent) -> int:
    return event.position
