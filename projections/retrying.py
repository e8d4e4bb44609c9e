"""Retrying what was parked: late, but each stream in the order of the log, and each event once.

Some events are applied in one transaction under the checkpoint's lock, which removes their dead letters: a
stream stays parked until the last of them is gone, so what is recorded meanwhile waits its turn. Events of
other streams were applied in between; the statements of the projections give the same rows in either order.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, LiteralString, NamedTuple
from uuid import UUID

import structlog
from psycopg import AsyncConnection
from psycopg.rows import tuple_row

from aggregates.event import RecordedEvent
from projections import checkpoints, dead_letters
from projections.feed import Unreadable
from projections.projection import Projection

EVENTS_AT_ONCE_MAX = 1_000
"""Applied in a fraction of a second: for so long the projector waits for the checkpoint."""

FIRST_PARKED: LiteralString = """
    SELECT position
    FROM ticketing.dead_letters
    WHERE projection = %s AND stream_id = %s AND dropped_at IS NULL
    ORDER BY position
    LIMIT %s
"""

ReadAt = Callable[[Sequence[int]], Awaitable[Sequence[RecordedEvent]]]
"""Reads the events at these positions of the log, in order."""

log = structlog.get_logger(__name__)


class StillFails(Exception):
    """A parked event cannot be applied even now; those before it of its stream have been."""

    def __init__(self, position: int, reason: str) -> None:
        super().__init__(reason)
        self.position = position
        self.reason = reason


class CannotBeRead(Exception):
    """What the log holds at the position is no event that this version knows."""


class _Tried(NamedTuple):
    """Parked events that were applied together, or could not be."""

    positions: Sequence[int]
    error: Exception | None


async def retry(
    connection: AsyncConnection[Any],
    dsn: str,
    projection: Projection[Any],
    stream_id: UUID,
    read_at: ReadAt,
) -> int:
    """Apply the parked events of a stream; return how many there were.

    Raises StillFails at the first that fails again, and psycopg's errors where it is not the event's fault.
    Whatever ends it, what was applied is off the list, and nothing else is.
    """
    done, limit = 0, EVENTS_AT_ONCE_MAX
    while True:
        tried = await _try(connection, dsn, projection, stream_id, read_at, limit)
        if tried.error is not None and len(tried.positions) > 1:
            limit = len(tried.positions) // 2
        elif tried.error is not None:
            await dead_letters.note_failure(connection, projection.name, tried.positions[0], tried.error)
            raise StillFails(tried.positions[0], dead_letters.error_text(tried.error)) from tried.error
        else:
            done += len(tried.positions)
            if not tried.positions:
                return done
            log.info("dead_letters_applied", projection=projection.name, events=len(tried.positions))


async def _try(
    connection: AsyncConnection[Any],
    dsn: str,
    projection: Projection[Any],
    stream_id: UUID,
    read_at: ReadAt,
    limit: int,
) -> _Tried:
    """Apply the first so many in one transaction."""
    positions: Sequence[int] = ()
    try:
        async with connection.pipeline(), connection.transaction():
            await checkpoints.lock(connection, [projection], dsn)
            positions = await _first_parked(connection, projection, stream_id, limit)
            if positions:
                events = await read_at(positions)
                await projection.apply(connection, [_readable(recorded) for recorded in events])
                await dead_letters.remove(connection, projection.name, positions)
                await checkpoints.amend(connection, [projection])
    except Exception as error:
        if not positions or not dead_letters.is_of_the_event(error):
            raise
        return _Tried(positions, error)
    return _Tried(positions, None)


async def _first_parked(
    connection: AsyncConnection[Any], projection: Projection[Any], stream_id: UUID, limit: int
) -> Sequence[int]:
    cursor = connection.cursor(row_factory=tuple_row)
    await cursor.execute(FIRST_PARKED, [projection.name, stream_id, limit])
    return [position for (position,) in await cursor.fetchall()]


def _readable(recorded: RecordedEvent) -> RecordedEvent:
    if isinstance(recorded.event, Unreadable):
        raise CannotBeRead(recorded.event.error)
    return recorded
