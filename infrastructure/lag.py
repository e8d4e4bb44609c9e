"""How far those who follow the log have come, and how far behind it they are: topic and read models."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, LiteralString

import msgspec
from psycopg import AsyncConnection
from psycopg.rows import tuple_row

from infrastructure import codec
from projections.registry import PROJECTIONS

COUNTED_EVENTS_MAX = 1_000_000
"""Who is further behind than that need not know how far: counting would take seconds."""

LOG_END: LiteralString = """
    SELECT coalesce(max(notification_id), 0) FROM ticketing.ticketing_events
"""

TOPIC: LiteralString = "SELECT name, partitions, position FROM ticketing.topic"

CHECKPOINTS: LiteralString = """
    SELECT projection, version, array_agg(position ORDER BY partition)
    FROM ticketing.projection_checkpoints
    GROUP BY projection, version
"""

BEYOND: LiteralString = """
    SELECT reached.position, beyond.events, first.state, clock_timestamp()
    FROM unnest(%s::bigint[]) AS reached (position)
    CROSS JOIN LATERAL (
        SELECT count(*) AS events
        FROM (
            SELECT FROM ticketing.ticketing_events
            WHERE notification_id > reached.position
            ORDER BY notification_id
            LIMIT %s
        ) AS counted
    ) AS beyond
    JOIN LATERAL (
        SELECT state FROM ticketing.ticketing_events
        WHERE notification_id > reached.position
        ORDER BY notification_id
        LIMIT 1
    ) AS first ON true
"""


class Behind(msgspec.Struct, frozen=True):
    """How much of the log stands behind a position."""

    events: int = 0
    seconds: float = 0.0
    """How old the first of them is, by the database's clock."""


class TopicStanding(msgspec.Struct, frozen=True):
    """How much of the log is on the topic."""

    name: str
    partitions: int
    position: int
    behind: Behind


class ReadModelStanding(msgspec.Struct, frozen=True):
    """How much of the log a read model shows."""

    name: str
    version: int
    checkpoints: Sequence[int]
    """Up to where it shows each partition."""
    behind: Behind

    @property
    def position(self) -> int:
        """Up to where it shows the whole log."""
        return min(self.checkpoints)


class Standings(msgspec.Struct, frozen=True):
    """All who follow the log, at one moment."""

    log_position: int
    topic: TopicStanding | None
    """None where the log itself is followed."""
    read_models: Sequence[ReadModelStanding]


async def standings(connection: AsyncConnection[Any]) -> Standings:
    """See how far the topic and the read models of this version of the software have come."""
    cursor = connection.cursor(row_factory=tuple_row)
    topics = await (await cursor.execute(TOPIC)).fetchall()
    rows = await (await cursor.execute(CHECKPOINTS)).fetchall()
    checkpoints = {(name, version): positions for name, version, positions in rows}
    nowhere = [0] * max((partitions for _, partitions, _ in topics), default=1)
    reached = [checkpoints.get((one.name, one.version), nowhere) for one in PROJECTIONS]
    behind = await _behind(connection, {*(position for _, _, position in topics), *map(min, reached)})
    ((log_position,),) = await (await cursor.execute(LOG_END)).fetchall()
    return Standings(
        log_position,
        next((TopicStanding(name, count, at, behind[at]) for name, count, at in topics), None),
        [
            ReadModelStanding(one.name, one.version, positions, behind[min(positions)])
            for one, positions in zip(PROJECTIONS, reached, strict=True)
        ],
    )


async def _behind(connection: AsyncConnection[Any], positions: Collection[int]) -> Mapping[int, Behind]:
    cursor = connection.cursor(row_factory=tuple_row, binary=True)
    await cursor.execute(BEYOND, [list(positions), COUNTED_EVENTS_MAX])
    beyond = {
        position: Behind(events, _age_s(first, now))
        for position, events, first, now in await cursor.fetchall()
    }
    return {position: beyond.get(position, Behind()) for position in positions}


def _age_s(state: bytes, now: datetime) -> float:
    form = codec.find_form(state)
    return 0.0 if form is None else max(0.0, (now - form.recorded_at).total_seconds())
