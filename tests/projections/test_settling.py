"""The position that readers see: of the log, over all partitions, which never goes back."""

import asyncio
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from random import Random
from typing import Any, Final, LiteralString

import psycopg
import pytest

from aggregates.event import RecordedEvent
from infrastructure.feed import PostgresFeed
from projections import checkpoints
from projections.partitions import partition_of
from projections.projector import Projector
from projections.registry import PROJECTIONS
from tests.asynchronous import WITHIN_S
from tests.projections import tables
from tests.projections.partitioned import LogTopic, last_positions, project_to, publish, register, settle
from tests.projections.read_models import connect, projecting
from tests.properties.histories import eventful_histories

PARTITIONS: Final = 4
STEPS: Final = 30

REACHED: LiteralString = """
    SELECT position FROM ticketing.projection_checkpoints WHERE projection = 'queue' ORDER BY partition
"""

STOP_IN_THE_MIDDLE: LiteralString = """
    ALTER TABLE ticketing.topic RENAME TO topic_itself;
    CREATE VIEW ticketing.topic AS
    SELECT * FROM ticketing.topic_itself WHERE (SELECT pg_advisory_lock_shared(1)) IS NOT NULL;
"""
"""Whoever reads the topic in a statement waits there, with what the statement sees already chosen."""

GO_ON_AS_BEFORE: LiteralString = """
    DROP VIEW ticketing.topic;
    ALTER TABLE ticketing.topic_itself RENAME TO topic;
"""

STOPPED: LiteralString = """
    SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'advisory'
"""

MOVE_ALL: LiteralString = "UPDATE ticketing.projection_checkpoints SET position = %s"

PUBLISH: LiteralString = """
    WITH published AS (UPDATE ticketing.topic_itself SET position = %s)
    UPDATE ticketing.topic_partitions SET last_position = %s
"""

Connection = psycopg.Connection[Any]


def shown(dsn: str) -> int:
    """The position of all read models, which here stand alike."""

    async def run() -> Mapping[str, checkpoints.Place]:
        async with await connect(dsn) as connection:
            return await checkpoints.places(connection, PROJECTIONS)

    (position,) = {place.position for place in asyncio.run(run()).values()}
    return position


def test_a_quiet_partition_that_gets_an_event_takes_no_reader_back(dsn: str, connection: Connection) -> None:
    events = eventful_histories(6)[0]
    register(connection, PARTITIONS)
    tables.write_log(connection, events)
    quiet = partition_of(events[-1].partition_key, PARTITIONS)
    before = next(
        event.position for event in reversed(events) if partition_of(event.partition_key, PARTITIONS) != quiet
    )
    publish(connection, before, PARTITIONS)
    project_to(dsn, last_positions(events[:before], PARTITIONS))
    settle(dsn)
    assert shown(dsn) == before

    publish(connection, events[-1].position, PARTITIONS)
    assert shown(dsn) == before
    settle(dsn)
    assert shown(dsn) == before


class Projected:
    """A log, and which of its events have been applied to the read models, whatever the checkpoints say."""

    def __init__(self, dsn: str, connection: Connection, events: Sequence[RecordedEvent]) -> None:
        self.end = events[-1].position
        self._dsn = dsn
        self._connection = connection
        self._partitions = {event.position: partition_of(event.partition_key, PARTITIONS) for event in events}
        self._missing = set(self._partitions)

    @property
    def first_missing(self) -> int:
        """The first event that has not been applied."""
        return min(self._missing, default=self.end + 1)

    def advance(self, partitions: Iterable[int], until: int) -> None:
        """Apply what follows in these partitions, up to there."""
        reached = self._reached()
        wanted = [
            max(position, until) if one in partitions else position for one, position in enumerate(reached)
        ]
        project_to(self._dsn, wanted)
        self._missing -= {
            position for position, one in self._partitions.items() if reached[one] < position <= wanted[one]
        }

    def _reached(self) -> Sequence[int]:
        """The checkpoints of one of the read models, which stand alike."""
        return [position for (position,) in self._connection.execute(REACHED)]


@pytest.mark.parametrize("seed", range(6))
def test_what_is_shown_never_goes_back_and_is_never_ahead(
    dsn: str, connection: Connection, seed: int
) -> None:
    """Whoever publishes, applies and settles, and in whatever order they do."""
    random = Random(seed)
    events = eventful_histories(6)[seed]
    register(connection, PARTITIONS)
    tables.write_log(connection, events)
    projected = Projected(dsn, connection, events)
    published, seen = 0, 0
    for _ in range(STEPS):
        match random.randint(0, 2):
            case 0:
                published = min(projected.end, published + random.randint(1, projected.end // 8))
                publish(connection, published, PARTITIONS)
            case 1:
                projected.advance([random.randrange(PARTITIONS)], random.randint(0, published))
            case _:
                settle(dsn)
        now_shown = shown(dsn)
        assert seen <= now_shown < projected.first_missing
        seen = now_shown
    publish(connection, projected.end, PARTITIONS)
    projected.advance(range(PARTITIONS), projected.end)
    assert (shown(dsn), projected.first_missing) == (projected.end, projected.end + 1)


def test_a_projector_knows_at_once_what_others_have_applied(dsn: str, connection: Connection) -> None:
    """So its projections stand alike, and share what they read."""
    events = eventful_histories(6)[0]
    register(connection, PARTITIONS)
    tables.write_log(connection, events)
    publish(connection, events[-1].position, PARTITIONS)

    async def run() -> None:
        topics = [LogTopic(dsn, range(PARTITIONS)[first::2]) for first in range(2)]
        feed = PostgresFeed(dsn)
        one, other = (Projector(dsn, feed, PROJECTIONS, topic=topic) for topic in topics)
        async with projecting(one), projecting(other):
            for projector in (one, other, one):
                await projector.advance()
            assert {standing.position for standing in one.standings.values()} == {events[-1].position}
        await feed.close()
        for topic in topics:
            await topic.close()

    asyncio.run(run())
    assert shown(dsn) == events[-1].position


@pytest.fixture
def stopped_in_the_middle(dsn: str, connection: Connection) -> Iterator[Future[None]]:
    """Partitions whose last event at 8 has been applied are being moved on to 10, in another session."""
    register(connection, PARTITIONS)
    connection.execute(STOP_IN_THE_MIDDLE)
    connection.execute(PUBLISH, [10, 8])
    connection.execute(MOVE_ALL, [8])
    connection.execute("SELECT pg_advisory_lock(1)")
    with ThreadPoolExecutor(1) as other:
        settling = other.submit(settle, dsn)
        try:
            deadline = time.monotonic() + WITHIN_S
            while connection.execute(STOPPED).fetchone() != (1,):
                assert time.monotonic() < deadline
            yield settling
        finally:
            connection.execute("SELECT pg_advisory_unlock_all()")
            settling.result()
            connection.execute(GO_ON_AS_BEFORE)


@pytest.mark.parametrize(("applied", "settled"), [(8, 10), (12, 12)], ids=["published", "applied, too"])
def test_what_is_published_while_checkpoints_are_moved_on_is_neither_passed_over_nor_forgotten(
    connection: Connection, stopped_in_the_middle: Future[None], applied: int, settled: int
) -> None:
    """The statement still sees the topic as it was, and locks a checkpoint that may be newer."""
    connection.execute(PUBLISH, [15, 12])
    if applied > 8:
        connection.execute(MOVE_ALL, [applied])
    connection.execute("SELECT pg_advisory_unlock_all()")
    stopped_in_the_middle.result()
    assert set(connection.execute(REACHED)) == {(settled,)}
