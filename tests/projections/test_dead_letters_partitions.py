"""Poison on a topic: each partition goes on, and what is parked is retried while others are projected."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from random import Random
from typing import Any

import psycopg
import pytest
from structlog.testing import capture_logs

from aggregates.event import RecordedEvent
from aggregates.wallet import WalletCharged
from infrastructure.feed import PostgresFeed
from projections import checkpoints, dead_letters, projector, retrying
from projections.partitions import partition_of
from projections.projector import Projector
from projections.registry import PROJECTIONS
from projections.retrying import StillFails
from tests.commands.steps import CAT
from tests.projections import tables
from tests.projections.partitioned import PARTITIONS, LogTopic, project_to, publish, register
from tests.projections.poison import Poison
from tests.projections.read_models import connect, project
from tests.projections.rebuilding import wait_until
from tests.projections.test_dead_letters import (
    NAMES,
    a_whole_sale,
    expected_parked,
    first,
    letters,
    named,
    parked,
    retry,
)
from tests.projections.test_projector import run_until

SHARES = ((0, 1), (2, 3))
"""Which partitions each of two projectors has."""

POISONED_MAX = 6

WAITS = """
    SELECT 1
    FROM pg_stat_activity
    WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%FOR UPDATE%'
"""


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nobody rests between two tries, or waits long to see how others do."""
    monkeypatch.setattr(projector, "REST_MIN_S", 0.0)
    monkeypatch.setattr(projector, "LOOK_EVERY_S", 0.02)
    with capture_logs():
        yield


@pytest.fixture
def events(connection: psycopg.Connection[Any]) -> Sequence[RecordedEvent]:
    """A sale in the log and on a topic, of which nothing is projected yet."""
    events = a_whole_sale()
    tables.write_log(connection, events)
    register(connection)
    publish(connection, events[-1].position)
    assert len({partition_of(event.partition_key, PARTITIONS) for event in events}) > 2
    return events


def rows(connection: psycopg.Connection[Any]) -> Mapping[str, Sequence[str]]:
    """All that is in the read models."""
    projected = dict(tables.projected(connection))
    del projected["ticketing.projection_checkpoints"]
    return projected


def untroubled(
    dsn: str, connection: psycopg.Connection[Any], events: Sequence[RecordedEvent]
) -> Mapping[str, Sequence[str]]:
    """What is in the read models where nothing fails."""
    project(dsn, events)
    found = rows(connection)
    tables.empty(connection)
    return found


@asynccontextmanager
async def sharing(dsn: str, poison: Poison) -> AsyncIterator[Sequence[Projector]]:
    """Two projectors with some partitions each."""
    poisoned = [poison.into(projection) for projection in PROJECTIONS]
    async with AsyncExitStack() as stack:
        projectors = []
        for share in SHARES:
            feed, topic = PostgresFeed(dsn), LogTopic(dsn, share)
            stack.push_async_callback(feed.close)
            stack.push_async_callback(topic.close)
            projectors.append(Projector(dsn, feed, poisoned, topic=topic, batch_events_max=5))
        yield projectors


def some_poison(events: Sequence[RecordedEvent], random: Random) -> Poison:
    """Up to six events, anywhere."""
    return Poison(random.sample([event.position for event in events], random.randint(1, POISONED_MAX)))


@pytest.mark.parametrize("seed", range(2))
def test_each_partition_parks_its_own_and_all_of_it_can_be_retried(
    dsn: str, connection: psycopg.Connection[Any], events: Sequence[RecordedEvent], seed: int
) -> None:
    random = Random(seed)
    right = untroubled(dsn, connection, events)
    poison = some_poison(events, random)

    async def run() -> None:
        async with sharing(dsn, poison) as projectors:
            await run_until(projectors, NAMES, events[-1].position)

    asyncio.run(run())

    assert parked(dsn) == expected_parked(events, poison.positions) != {}
    waiting = sorted({(letter.projection, letter.stream_id) for letter in letters(dsn)})
    random.shuffle(waiting)
    for name, stream in waiting:
        asyncio.run(retry(dsn, events, named(name), stream))
    assert letters(dsn) == []
    assert rows(connection) == right


@pytest.mark.parametrize("seed", range(2))
def test_streams_are_retried_while_the_partitions_are_projected(
    dsn: str, connection: psycopg.Connection[Any], events: Sequence[RecordedEvent], seed: int
) -> None:
    """Whoever applies a stream's event, retrying or projecting, follows on what was applied of it before."""
    random = Random(seed)
    right = untroubled(dsn, connection, events)
    poison = some_poison(events, random)
    healed_at = random.randint(0, events[-1].position)

    async def retry_all(feed: PostgresFeed) -> None:
        async with await connect(dsn) as other:
            for letter in await dead_letters.find_all(other):
                projection = poison.into(named(letter.projection))
                with suppress(StillFails):
                    await retrying.retry(other, dsn, projection, letter.stream_id, feed.read_at)

    async def keep_retrying(projectors: Sequence[Projector], done: asyncio.Event) -> None:
        feed = PostgresFeed(dsn)
        while not done.is_set():
            await retry_all(feed)
            if max(one.standings["queue"].position for one in projectors) >= healed_at:
                poison.heal()
        poison.heal()
        await retry_all(feed)
        await feed.close()

    async def run() -> None:
        async with sharing(dsn, poison) as projectors, asyncio.TaskGroup() as tasks:
            done = asyncio.Event()
            tasks.create_task(keep_retrying(projectors, done))
            await run_until(projectors, NAMES, events[-1].position)
            done.set()

    asyncio.run(run())

    assert letters(dsn) == []
    assert rows(connection) == right


def test_a_read_model_that_was_amended_behind_one_partition_says_so_for_all(
    dsn: str, connection: psycopg.Connection[Any], events: Sequence[RecordedEvent]
) -> None:
    charged = first(events, WalletCharged)
    last = events[-1].position
    partition = partition_of(charged.partition_key, PARTITIONS)
    project_to(dsn, [charged.position - 1 if one == partition else last for one in range(PARTITIONS)])

    async def park() -> None:
        async with await connect(dsn) as other:
            letter = dead_letters.letter(charged, "poison", tries=3)
            await dead_letters.park(other, named("wallet_entries"), [letter])
            await checkpoints.move(other, [named("wallet_entries")], {partition: charged.position})

    asyncio.run(park())
    assert asyncio.run(retry(dsn, events, named("wallet_entries"), charged.stream)) == 1

    amended = connection.execute(
        """
        SELECT partition, amended, position
        FROM ticketing.projection_checkpoints
        WHERE projection = 'wallet_entries'
        ORDER BY partition
        """
    ).fetchall()
    assert amended == [(one, 1, charged.position if one == partition else last) for one in range(PARTITIONS)]
    project_to(dsn, [last] * PARTITIONS)
    found = rows(connection)
    tables.empty(connection)
    assert found == untroubled(dsn, connection, events)


def test_a_retry_applies_nothing_before_it_has_the_checkpoint_of_the_partition(
    dsn: str, connection: psycopg.Connection[Any], events: Sequence[RecordedEvent]
) -> None:
    charged = first(events, WalletCharged, f"wallet/{CAT}")
    partition = partition_of(charged.partition_key, PARTITIONS)
    letter = dead_letters.letter(charged, "poison", tries=3)

    async def run() -> None:
        async with await connect(dsn) as holder, await connect(dsn) as other:
            await dead_letters.park(other, named("wallet_entries"), [letter])
            async with holder.pipeline(), holder.transaction():
                await checkpoints.lock(holder, [named("wallet_entries")], dsn, [partition])
                retrying_it = asyncio.create_task(retry_charged())
                await asyncio.to_thread(wait_until, is_waiting, "the retry waits")
                assert not retrying_it.done()
            assert await retrying_it == 1

    async def retry_charged() -> int:
        return await retry(dsn, events, named("wallet_entries"), charged.stream)

    def is_waiting() -> object:
        return connection.execute(WAITS).fetchone()

    asyncio.run(run())
