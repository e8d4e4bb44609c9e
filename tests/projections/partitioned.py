"""A topic that is registered, and read models that stand at different positions in its partitions."""

import asyncio
from collections.abc import Sequence
from typing import Any, Final, LiteralString

import psycopg
from psycopg import Connection

from aggregates.event import RecordedEvent
from infrastructure import codec
from projections.partitions import partition_of
from projections.projection import Projection
from projections.registry import PROJECTIONS
from tests.projections.read_models import connect

PARTITIONS: Final = 4

REGISTER: Sequence[LiteralString] = (
    "INSERT INTO ticketing.topic (name, partitions) VALUES ('ticketing.test', %s)",
    "INSERT INTO ticketing.topic_partitions (partition) SELECT generate_series(0, %s - 1)",
    """
    INSERT INTO ticketing.projection_checkpoints (projection, version, partition, position, amended)
    SELECT projection, version, added, position, amended
    FROM ticketing.projection_checkpoints, generate_series(1, %s - 1) AS added
    """,
)

PUBLISH: LiteralString = """
    WITH published AS (UPDATE ticketing.topic SET position = %s)
    UPDATE ticketing.topic_partitions AS published
    SET last_position = told.last_position
    FROM unnest(%s::int[], %s::bigint[]) AS told (partition, last_position)
    WHERE published.partition = told.partition
"""

LOG: LiteralString = """
    SELECT notification_id, originator_version, topic, state
    FROM ticketing.ticketing_events
    ORDER BY notification_id
"""

REACHED: LiteralString = """
    SELECT partition, position
    FROM ticketing.projection_checkpoints
    WHERE projection = %s AND version = %s
"""

MOVE: LiteralString = """
    UPDATE ticketing.projection_checkpoints
    SET position = %s
    WHERE projection = %s AND version = %s AND partition = %s
"""


def register(connection: Connection[Any], partitions: int = PARTITIONS) -> None:
    """Register a topic of so many partitions; each projection's checkpoint becomes so many equal ones."""
    with connection.transaction():
        for statement in REGISTER:
            connection.execute(statement, [partitions])


def publish(connection: Connection[Any], position: int, partitions: int = PARTITIONS) -> None:
    """Note that the log up to this position is on the topic."""
    last = last_positions([event for event in log(connection) if event.position <= position], partitions)
    connection.execute(PUBLISH, [position, list(range(partitions)), last])


def log(connection: Connection[Any]) -> Sequence[RecordedEvent]:
    """The whole log."""
    with connection.cursor(binary=True) as cursor:
        return [codec.decode(*row) for row in cursor.execute(LOG)]


def last_positions(events: Sequence[RecordedEvent], partitions: int = PARTITIONS) -> list[int]:
    """The last event of each partition, 0 where there is none."""
    last = [0] * partitions
    for event in events:
        last[partition_of(event.partition_key, partitions)] = event.position
    return last


def project_to(
    dsn: str, positions: Sequence[int], projections: Sequence[Projection[Any]] = PROJECTIONS
) -> None:
    """Bring these projections to a position in each partition, as a projector does that follows the topic."""
    with psycopg.connect(dsn) as connection:
        events = log(connection)

    async def project() -> None:
        async with await connect(dsn) as connection, connection.transaction():
            for projection in projections:
                name = [projection.name, projection.version]
                rows = await (await connection.execute(REACHED, name)).fetchall()
                reached: dict[int, int] = dict(rows)
                assert len(reached) == len(positions)
                await projection.apply(connection, _between(events, reached, positions))
                for partition, position in enumerate(positions):
                    await connection.execute(MOVE, [position, *name, partition])

    asyncio.run(project())


def _between(
    events: Sequence[RecordedEvent], reached: dict[int, int], positions: Sequence[int]
) -> Sequence[RecordedEvent]:
    return [
        event
        for event in events
        if (partition := partition_of(event.partition_key, len(positions))) in reached
        and reached[partition] < event.position <= positions[partition]
    ]
