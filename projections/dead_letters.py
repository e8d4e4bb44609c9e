"""Dead letters: events that a projection has passed over, so that one of them does not hold up all others.

An event that cannot be applied is parked, and with it everything later of its stream, so that a stream is
never applied with a hole in it. What is parked waits to be retried (`projections.retrying`) or to be dropped
by a person, with a reason, for good. The rows are kept by the projection's name, and written in the
transaction that moves its checkpoint beyond them.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, LiteralString, NamedTuple
from uuid import UUID

import msgspec
import psycopg
from psycopg import AsyncConnection
from psycopg.rows import class_row, tuple_row
from psycopg.types.json import Json

from aggregates.event import RecordedEvent
from projections.feed import Unreadable, stream_id_of, topic_of
from projections.projection import Projection

ERROR_CHARACTERS_MAX = 1_000
"""Of an error's text: enough to see what is wrong; the projector's log has the rest."""

EVENT_CLASSES = ("21", "22", "23", "54", "P0")
"""SQLSTATE classes of what only an event's own values can bring about: cardinality, data, constraints, limits
of a row's size, and what a trigger raises."""

PARK: LiteralString = """
    INSERT INTO ticketing.dead_letters
        (projection, position, stream_id, stream, version, topic, error, tries)
    SELECT %s, position, stream_id, stream, version, topic, error, tries
    FROM json_to_recordset(%s) AS letter (
        position bigint, stream_id uuid, stream text, version bigint, topic text, error text, tries int
    )
    ON CONFLICT DO NOTHING
"""

PARKED_STREAMS: LiteralString = """
    SELECT stream_id
    FROM unnest(%s::uuid[]) AS stream_id
    WHERE EXISTS (
        SELECT FROM ticketing.dead_letters AS letter
        WHERE letter.projection = %s AND letter.stream_id = stream_id.stream_id
            AND letter.dropped_at IS NULL
    )
"""

LIST: LiteralString = """
    SELECT projection, position, stream_id, stream, version, topic, error, tries, parked_at,
           dropped_at, dropped_by, dropped_reason
    FROM ticketing.dead_letters
    WHERE (%(projection)s::text IS NULL OR projection = %(projection)s)
        AND (%(stream_id)s::uuid IS NULL OR stream_id = %(stream_id)s)
        AND (%(position)s::bigint IS NULL OR position = %(position)s)
        AND (%(dropped)s OR dropped_at IS NULL)
    ORDER BY projection, position
"""

COUNT: LiteralString = """
    SELECT projection, count(*) AS events, count(DISTINCT stream_id) AS streams,
           extract(epoch FROM clock_timestamp() - min(parked_at))::float8 AS oldest_s
    FROM ticketing.dead_letters
    WHERE dropped_at IS NULL
    GROUP BY projection
    ORDER BY projection
"""

DROP: LiteralString = """
    UPDATE ticketing.dead_letters
    SET dropped_at = clock_timestamp(), dropped_by = %(by)s, dropped_reason = %(reason)s
    WHERE projection = %(projection)s AND position = %(position)s AND dropped_at IS NULL
"""

REMOVE: LiteralString = """
    DELETE FROM ticketing.dead_letters WHERE projection = %s AND position = ANY(%s)
"""

FAILED_AGAIN: LiteralString = """
    UPDATE ticketing.dead_letters SET error = %s, tries = tries + 1 WHERE projection = %s AND position = %s
"""


class Letter(msgspec.Struct, frozen=True):
    """An event about to be parked."""

    position: int
    stream_id: UUID
    stream: str
    version: int
    topic: str
    error: str | None
    """None where it was never tried, since it follows one that could not be applied."""
    tries: int


class DeadLetter(NamedTuple):
    """An event that a projection has passed over."""

    projection: str
    position: int
    stream_id: UUID
    stream: str
    version: int
    topic: str
    error: str | None
    tries: int
    parked_at: datetime
    dropped_at: datetime | None
    dropped_by: str | None
    dropped_reason: str | None

    @property
    def state(self) -> str:
        """What has become of it: it was dropped, it failed, or it waits for one that failed."""
        if self.dropped_at is not None:
            return "DROPPED"
        return "WAITS" if self.error is None else "FAILED"


class Parked(NamedTuple):
    """What one projection has parked, without what was dropped."""

    projection: str
    events: int
    streams: int
    oldest_s: float
    """How long ago the first of them was parked."""


def is_of_the_event(error: Exception) -> bool:
    """Whether an error lies in what was applied.

    Otherwise it is the store's, or a statement's, and would meet any event: then nothing is parked.
    """
    if isinstance(error, psycopg.Error):
        if error.sqlstate is None:
            return isinstance(error, psycopg.DataError)
        return error.sqlstate[:2] in EVENT_CLASSES
    return not isinstance(error, OSError | MemoryError)


def error_text(error: Exception) -> str:
    """Say what was wrong in a bounded text."""
    return f"{type(error).__name__}: {error}".replace("\x00", "")[:ERROR_CHARACTERS_MAX].strip()


def letter(recorded: RecordedEvent, error: str | None, tries: int) -> Letter:
    """Make of an event what is kept of it when it is parked; the event itself stays in the log."""
    return Letter(
        recorded.position, stream_id_of(recorded), recorded.stream, recorded.version, topic_of(recorded),
        error, tries,
    )  # fmt: skip


def sort_out(
    projection: Projection[Any], events: Iterable[RecordedEvent], parked_streams: frozenset[UUID]
) -> tuple[Sequence[RecordedEvent], Sequence[Letter]]:
    """Part the events to be applied from those to be parked: unreadable ones, and what follows a parked one.

    An unreadable event is parked without further tries: it reads the same each time.
    """
    parked = set(parked_streams)
    applicable: list[RecordedEvent] = []
    letters: list[Letter] = []
    for recorded in events:
        if not projection.listens_to(recorded.event):
            continue
        stream_id = stream_id_of(recorded)
        if isinstance(recorded.event, Unreadable):
            parked.add(stream_id)
            letters.append(letter(recorded, recorded.event.error, tries=1))
        elif stream_id in parked:
            letters.append(letter(recorded, None, tries=0))
        else:
            applicable.append(recorded)
    return applicable, letters


async def park(
    connection: AsyncConnection[Any], projection: Projection[Any], letters: Sequence[Letter]
) -> None:
    """Park events. The caller has locked the checkpoint, and moves it beyond them in the same transaction."""
    if letters:
        await connection.execute(PARK, [projection.name, Json(letters, msgspec.json.encode)])


async def parked_streams(
    connection: AsyncConnection[Any], projection: Projection[Any], stream_ids: Iterable[UUID]
) -> frozenset[UUID]:
    """Return which of these streams have parked events. The caller has locked the checkpoint."""
    cursor = connection.cursor(row_factory=tuple_row)
    await cursor.execute(PARKED_STREAMS, [list(set(stream_ids)), projection.name])
    return frozenset(stream_id for (stream_id,) in await cursor.fetchall())


async def find_all(
    connection: AsyncConnection[Any],
    *,
    projection: str | None = None,
    stream_id: UUID | None = None,
    position: int | None = None,
    dropped: bool = True,
) -> Sequence[DeadLetter]:
    """Return the dead letters by projection, in the order of the log."""
    cursor = connection.cursor(row_factory=class_row(DeadLetter))
    parameters = {
        "projection": projection, "stream_id": stream_id, "position": position, "dropped": dropped,
    }  # fmt: skip
    await cursor.execute(LIST, parameters)
    return await cursor.fetchall()


async def count(connection: AsyncConnection[Any]) -> Mapping[str, Parked]:
    """Return what is parked, by projection; nothing for those that have nothing parked."""
    cursor = connection.cursor(row_factory=class_row(Parked))
    await cursor.execute(COUNT)
    return {parked.projection: parked for parked in await cursor.fetchall()}


async def drop(
    connection: AsyncConnection[Any], projection: str, position: int, *, by: str, reason: str
) -> bool:
    """Give a parked event up for good; false where there is none at this position.

    Who did it and why stays on record. What is parked later of its stream may then be retried.
    """
    parameters = {"projection": projection, "position": position, "by": by, "reason": reason}
    return (await connection.execute(DROP, parameters)).rowcount == 1


async def remove(connection: AsyncConnection[Any], projection: str, positions: Sequence[int]) -> None:
    """Forget parked events, which have been applied in the same transaction."""
    await connection.execute(REMOVE, [projection, list(positions)])


async def note_failure(
    connection: AsyncConnection[Any], projection: str, position: int, error: Exception
) -> None:
    """Note that a parked event was tried again, and what was wrong this time."""
    await connection.execute(FAILED_AGAIN, [error_text(error), projection, position])
