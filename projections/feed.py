"""Where projections get their events from: the log itself, or whatever carries it to them."""

from collections.abc import Sequence
from typing import Protocol
from uuid import UUID

from aggregates.event import Event, RecordedEvent
from aggregates.stream import stream_id

POLL_MIN_S, POLL_MAX_S = 0.025, 0.050
"""How long to wait before looking again: after events came, and when none have come for a while.

Short enough for read models that are never 250 ms behind; long enough for events to come in batches, which
cost less each.
"""

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


class Pace:
    """How often to look at the log: at once while there is a backlog, ever more rarely while it is quiet."""

    def __init__(self, limit: int) -> None:
        self._backlog = limit // 2
        self._wait_s = POLL_MIN_S

    def wait_s(self, came: int) -> float:
        """Return how long to wait after a look that brought so many events."""
        if came >= self._backlog:
            return 0.0
        self._wait_s = POLL_MIN_S if came else min(self._wait_s * POLL_GROWTH, POLL_MAX_S)
        return self._wait_s
