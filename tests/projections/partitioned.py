"""A topic that is registered, and read models that stand at different positions in its partitions."""

import asyncio
from collections.abc import Sequence
from threading import Event
from typing import Any, Final, LiteralString

import psycopg
from psycopg import Connection

from aggregates.event import RecordedEvent
from infrastructure import codec, topic
from infrastructure.feed import PostgresFeed
from infrastructure.settings import Settings
from projections import checkpoints
from projections.feed import Reading
from projections.partitions import Positions, partition_of
from projections.projection import Projection
from projections.registry import PROJECTIONS
from tests.projections.read_models import connect

NAME: Final = "ticketing.test"

PARTITIONS: Final = 4

PUBLISH_EVERY_S: Final = 0.02

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
    topic.register(connection.info.dsn, Settings(kafka_topic=NAME, kafka_partitions=partitions))


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


def settle(dsn: str) -> None:
    """Move quiet partitions on, as a projector does that follows the topic."""

    async def run() -> None:
        async with await connect(dsn) as connection:
            await checkpoints.settle(connection, PROJECTIONS)

    asyncio.run(run())


def _between(
    events: Sequence[RecordedEvent], reached: dict[int, int], positions: Sequence[int]
) -> Sequence[RecordedEvent]:
    return [
        event
        for event in events
        if (partition := partition_of(event.partition_key, len(positions))) in reached
        and reached[partition] < event.position <= positions[partition]
    ]


class LogTopic:
    """Some partitions of a topic that brings at once what the log has. See `projections.feed.Topic`."""

    def __init__(self, dsn: str, partitions: Sequence[int]) -> None:
        self.partitions = partitions
        self._feed = PostgresFeed(dsn)

    async def read(self, after: Positions, limit: int) -> Reading:
        """Return what has been recorded in them."""
        ours = {one: after[one] for one in self.partitions}
        events = [
            event
            for event in await self._feed.read(min(ours.values()), limit)
            if event.position > ours.get(partition_of(event.partition_key, len(after)), event.position)
        ]
        until = {partition_of(event.partition_key, len(after)): event.position for event in events}
        return Reading(events, {one: ours[one] for one in until}, until)

    async def close(self) -> None:
        """Close the connection."""
        await self._feed.close()


class Publisher:
    """Notes on and on that all of the log is on the topic."""

    def __init__(self, dsn: str, partitions: int = PARTITIONS) -> None:
        self._feed = PostgresFeed(dsn)
        self._dsn = dsn
        self._partitions = partitions
        self._position = 0

    async def run(self, stop: Event) -> None:
        """Publish until `stop`."""
        async with await connect(self._dsn) as connection:
            while not stop.is_set():
                events = await self._feed.read(self._position, limit=1_000)
                if events:
                    last = {partition_of(one.partition_key, self._partitions): one.position for one in events}
                    self._position = events[-1].position
                    await connection.execute(PUBLISH, [self._position, list(last), list(last.values())])
                await asyncio.sleep(PUBLISH_EVERY_S)
        await self._feed.close()
