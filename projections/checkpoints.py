"""Checkpoints: up to which log position each projection has been applied, of each partition.

Whoever applies events locks the checkpoints first and moves them in the same transaction, so every event is
applied once, however many do it at the same time.

Where the topic says that nothing follows in a partition, whoever follows the topic moves its checkpoint on as
far as the topic has come. That stays true whatever comes later, so a checkpoint never goes back.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, LiteralString, NamedTuple

import msgspec
import structlog
from psycopg import AsyncClientCursor, AsyncConnection
from psycopg.rows import tuple_row
from psycopg.types.json import Json

from projections.partitions import Positions
from projections.projection import Projection

HELD_S_MAX = 2.0
"""Nobody may sit on a checkpoint: who waits ends a session that has held it for so long, and is silent."""

SILENT_S = 1.0
"""But not one that is at work, only slowly: two that end each other by turns would never come to an end."""

LOCK_LOOK_S = 0.5
"""How often who waits looks whether the holder has."""

BEGIN: LiteralString = """
    LOCK TABLE ticketing.topic IN SHARE MODE;
    INSERT INTO ticketing.projection_checkpoints (projection, version, partition, position)
    SELECT projection, version, partition, 0
    FROM json_to_recordset(%s) AS wanted (projection text, version int)
    CROSS JOIN generate_series(0, coalesce((SELECT partitions FROM ticketing.topic), 1) - 1) AS partition
    ON CONFLICT DO NOTHING
"""
"""The log gets its partitions by a row in the table that is locked."""

PLACES: LiteralString = """
    SELECT wanted.projection, coalesce(reached.positions, '{0}'), coalesce(reached.amended, 0)
    FROM json_to_recordset(%s) AS wanted (projection text, version int)
    LEFT JOIN ticketing.read_model_positions AS reached USING (projection, version)
"""

POSITIONS: LiteralString = """
    SELECT projection, partition, position
    FROM json_to_recordset(%s) AS wanted (projection text, version int)
    JOIN ticketing.projection_checkpoints USING (projection, version)
    ORDER BY projection, partition
"""

SETTLE: LiteralString = """
    WITH quiet AS (
        SELECT checkpoint.projection, checkpoint.version, checkpoint.partition, topic.position
        FROM json_to_recordset(%s) AS wanted (projection text, version int)
        JOIN ticketing.projection_checkpoints AS checkpoint USING (projection, version)
        JOIN ticketing.topic_partitions AS published USING (partition)
        JOIN ticketing.topic ON checkpoint.position >= published.last_position
            AND checkpoint.position < topic.position
        FOR UPDATE OF checkpoint SKIP LOCKED
    ), moved AS (
        UPDATE ticketing.projection_checkpoints AS checkpoint
        SET position = quiet.position
        FROM quiet
        WHERE checkpoint.projection = quiet.projection AND checkpoint.version = quiet.version
            AND checkpoint.partition = quiet.partition
        RETURNING checkpoint.projection, checkpoint.version, checkpoint.partition, checkpoint.position
    )
    SELECT projection, partition, greatest(checkpoint.position, moved.position)
    FROM json_to_recordset(%s) AS wanted (projection text, version int)
    JOIN ticketing.projection_checkpoints AS checkpoint USING (projection, version)
    LEFT JOIN moved USING (projection, version, partition)
    ORDER BY projection, partition
"""
"""Nobody is waited for: who holds a checkpoint is about to move it."""

TOPIC_POSITION: LiteralString = "SELECT position FROM ticketing.topic"

LOCK: LiteralString = """
    SELECT checkpoint.projection, checkpoint.partition, checkpoint.position
    FROM json_to_recordset(%s) AS wanted (projection text, version int)
    JOIN ticketing.projection_checkpoints AS checkpoint USING (projection, version)
    WHERE %s::int[] IS NULL OR checkpoint.partition = ANY(%s)
    ORDER BY checkpoint.projection, checkpoint.partition
    FOR UPDATE OF checkpoint
"""

UNDER_LOCK: LiteralString = """
    SELECT clock_timestamp(),
           (SELECT epoch::text FROM ticketing.log_epochs ORDER BY number DESC LIMIT 1),
           ARRAY(
               SELECT name
               FROM unnest(%s::text[]) AS name
               WHERE EXISTS (
                   SELECT FROM ticketing.dead_letters AS letter
                   WHERE letter.projection = name AND letter.dropped_at IS NULL
               )
           )
"""

EPOCH: LiteralString = """
    SELECT CASE WHEN NOT ticketing.log_has_moved() THEN epoch::text END
    FROM ticketing.log_epochs
    ORDER BY number DESC
    LIMIT 1
"""

AMEND: LiteralString = """
    UPDATE ticketing.projection_checkpoints AS checkpoint
    SET amended = checkpoint.amended + 1
    FROM json_to_recordset(%s) AS wanted (projection text, version int)
    WHERE checkpoint.projection = wanted.projection AND checkpoint.version = wanted.version
"""

MOVE: LiteralString = """
    UPDATE ticketing.projection_checkpoints AS checkpoint
    SET position = moved.position
    FROM json_to_recordset(%s) AS moved (projection text, version int, partition int, position bigint)
    WHERE checkpoint.projection = moved.projection AND checkpoint.version = moved.version
        AND checkpoint.partition = moved.partition AND checkpoint.position < moved.position
"""

END_SILENT_HOLDERS: LiteralString = """
    SELECT pg_terminate_backend(holder.pid)
    FROM unnest(pg_blocking_pids(%s)) AS blocking (pid)
    JOIN pg_stat_activity AS holder USING (pid)
    WHERE holder.wait_event_type = 'Client'
        AND holder.xact_start < clock_timestamp() - make_interval(secs => %s)
        AND holder.query_start < clock_timestamp() - make_interval(secs => %s)
"""

log = structlog.get_logger(__name__)


class Locked(NamedTuple):
    """Checkpoints that nobody else moves before the transaction ends."""

    positions: Mapping[str, Positions]
    """By the projection's name."""
    now: datetime
    """The database's clock."""
    epoch: str
    """Of the log. No other begins before the transaction ends."""
    parking: frozenset[str]
    """The projections that have parked events."""


class Place(NamedTuple):
    """How far a projection has come, and how often it was changed behind that."""

    positions: Sequence[int]
    """By partition: its rows show the log up to there."""
    amended: int

    @property
    def position(self) -> int:
        """Up to where it shows the log, whichever partition is asked about."""
        return min(self.positions)


async def begin(connection: AsyncConnection[Any], projections: Sequence[Projection[Any]]) -> None:
    """Give each projection that has none a checkpoint before the first event, of each partition.

    It is one message, and so one transaction, whose end waits for nothing of ours: no relay could go on while
    a process that is stopped holds the partitions.
    """
    await AsyncClientCursor(connection).execute(BEGIN, [_rows(projections)])


async def positions(
    connection: AsyncConnection[Any], projections: Sequence[Projection[Any]]
) -> Mapping[str, Positions]:
    """Return up to which log position each partition has been applied, by the projection's name."""
    cursor = connection.cursor(row_factory=tuple_row)
    await cursor.execute(POSITIONS, [_rows(projections)])
    return _by_projection(await cursor.fetchall())


async def settle(
    connection: AsyncConnection[Any], projections: Sequence[Projection[Any]]
) -> Mapping[str, Positions]:
    """Move the checkpoints of partitions in which nothing follows on as far as the topic has come.

    Nothing of such a partition stands in between. Return where all of them stand then, as `positions` does.
    """
    rows = _rows(projections)
    cursor = connection.cursor(row_factory=tuple_row)
    await cursor.execute(SETTLE, [rows, rows])
    return _by_projection(await cursor.fetchall())


async def topic_position(connection: AsyncConnection[Any]) -> int | None:
    """Return how much of the log is on the topic; None where there is no topic."""
    cursor = connection.cursor(row_factory=tuple_row)
    await cursor.execute(TOPIC_POSITION)
    row = await cursor.fetchone()
    return None if row is None else int(row[0])


async def epoch(connection: AsyncConnection[Any]) -> str | None:
    """Return the log's epoch; None where it is over, since the log is kept elsewhere than it was."""
    cursor = connection.cursor(row_factory=tuple_row)
    await cursor.execute(EPOCH)
    ((current,),) = await cursor.fetchall()
    return None if current is None else str(current)


async def places(
    connection: AsyncConnection[Any], projections: Sequence[Projection[Any]]
) -> Mapping[str, Place]:
    """Return where each of the projections stands, by its name.

    Who follows a read model by what has changed since a position begins anew when it was amended.
    """
    cursor = connection.cursor(row_factory=tuple_row)
    await cursor.execute(PLACES, [_rows(projections)])
    return {name: Place(positions, amended) for name, positions, amended in await cursor.fetchall()}


async def lock(
    connection: AsyncConnection[Any],
    projections: Sequence[Projection[Any]],
    dsn: str,
    partitions: Iterable[int] | None = None,
) -> Locked:
    """Lock the checkpoints of these partitions, or of all, in an order that is the same for everyone.

    A holder that has gone silent is ended: a process can be stopped at any moment, and its locks outlive it.
    """
    cursor = connection.cursor(row_factory=tuple_row)
    wanted = None if partitions is None else list(partitions)
    await cursor.execute(LOCK, [_rows(projections), wanted, wanted])
    under_lock = connection.cursor(row_factory=tuple_row)
    # A statement of its own: it sees what was done by whoever held the lock before.
    await under_lock.execute(UNDER_LOCK, [[projection.name for projection in projections]])
    fetching = asyncio.ensure_future(cursor.fetchall())
    try:
        while not (await asyncio.wait([fetching], timeout=LOCK_LOOK_S))[0]:
            await _end_silent_holders(connection.info.backend_pid, dsn)
        rows = fetching.result()
    finally:
        fetching.cancel()
    ((now, epoch, parking),) = await under_lock.fetchall()
    return Locked(_by_projection(rows), now, epoch, frozenset(parking))


async def move(
    connection: AsyncConnection[Any], projections: Sequence[Projection[Any]], until: Positions
) -> None:
    """Note that the projections have been applied up to there, where they had not been."""
    rows = [
        {"projection": one.name, "version": one.version, "partition": partition, "position": position}
        for one in projections
        for partition, position in until.items()
    ]
    await connection.execute(MOVE, [Json(rows, msgspec.json.encode)])


async def amend(connection: AsyncConnection[Any], projections: Sequence[Projection[Any]]) -> None:
    """Note that rows were changed behind the checkpoints, which are locked."""
    await connection.execute(AMEND, [_rows(projections)])


async def _end_silent_holders(waiting_pid: int, dsn: str) -> None:
    async with await AsyncConnection.connect(dsn, autocommit=True) as other:
        cursor = await other.execute(END_SILENT_HOLDERS, [waiting_pid, HELD_S_MAX, SILENT_S])
        if ended := len(await cursor.fetchall()):
            log.warning("checkpoints_taken_back", sessions=ended)


def _rows(projections: Sequence[Projection[Any]]) -> Json:
    rows = [{"projection": one.name, "version": one.version} for one in projections]
    return Json(rows, msgspec.json.encode)


def _by_projection(rows: Iterable[tuple[str, int, int]]) -> Mapping[str, Positions]:
    found: dict[str, dict[int, int]] = {}
    for name, partition, position in rows:
        found.setdefault(name, {})[partition] = position
    return found
