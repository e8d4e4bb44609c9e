"""Rebuilding while a real relay, a real topic and two real projectors keep the read models up to date."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from typing import Any

import psycopg
from psycopg import AsyncConnection, Connection
from pydantic import SecretStr

import audit
from infrastructure import cluster, topic
from infrastructure.overview import Overview, ProcessStatus, overview
from infrastructure.settings import Settings
from tests.audit.database import project
from tests.projections.rebuilding import WalletLog, rebuilt, wait_until
from tests.projections.test_rebuild_under_load import Readers
from workers import projector, relay

PARTITIONS = 4

REBUILDS = 2

Work = Callable[[Settings, asyncio.Event], Awaitable[None]]

ON_TOPIC = "SELECT position FROM ticketing.topic"


def seen(dsn: str) -> Overview:
    """What `ticketing status` says."""

    async def look() -> Overview:
        async with await AsyncConnection.connect(dsn, autocommit=True) as connection:
            return await overview(connection, publishes=True)

    return asyncio.run(look())


def following(dsn: str) -> Sequence[ProcessStatus]:
    """The projectors that follow the topic."""
    projectors = [one for one in seen(dsn).processes if one.role == projector.ROLE]
    return [one for one in projectors if one.partitions and one.reads == "topic"]


def share_all(dsn: str) -> bool:
    """Whether two projectors share all partitions."""
    shares = [one.partitions or () for one in following(dsn)]
    return len(shares) == 2 and sorted(chain.from_iterable(shares)) == list(range(PARTITIONS))


def published(connection: Connection[Any]) -> int:
    """The log up to here is on the topic."""
    row = connection.execute(ON_TOPIC).fetchone()
    assert row is not None
    return int(row[0])


def test_a_read_model_is_rebuilt_while_it_is_kept_up_to_date_over_kafka(
    dsn: str, connection: psycopg.Connection[Any], kafka: str, topic_name: str
) -> None:
    settings = Settings(
        database_url=SecretStr(dsn), kafka=(kafka,), kafka_topic=topic_name, kafka_partitions=PARTITIONS
    )
    wallet = WalletLog(dsn)
    wallet.charge(50)
    project(dsn)
    topic.register(dsn, settings)
    cluster.ensure_topic(settings)
    readers = Readers(dsn, wallet, PARTITIONS)

    async def until_stop(work: Work) -> None:
        stop = asyncio.Event()
        working = asyncio.create_task(_awaited(work(settings, stop)))
        await asyncio.to_thread(readers.stop.wait)
        stop.set()
        await working

    with ThreadPoolExecutor(8) as threads:
        workers = (relay.run, projector.run, projector.run)
        working = [
            *(threads.submit(asyncio.run, until_stop(one)) for one in workers),
            threads.submit(readers.spend),
            *(threads.submit(readers.follow, of_one_snapshot=one) for one in (True, False)),
        ]
        try:
            wait_until(lambda: share_all(dsn), "two projectors share the topic")
            for _ in range(REBUILDS):
                read, began_at, on_topic = readers.read, wallet.position, published(connection)
                (done,) = rebuilt(dsn, "wallet_entries")
                assert done.comparison.live_different == 0
                assert done.position is not None
                assert done.position >= began_at
                wait_until(lambda: readers.read > read + 10, "reads go on")  # noqa: B023
                wait_until(lambda: published(connection) > on_topic, "the topic goes on")  # noqa: B023
            assert len(following(dsn)) == 2
            assert [one.leads for one in seen(dsn).processes if one.role == relay.ROLE] == [True]
        finally:
            readers.stop.set()
        for one in working:
            one.result()
    assert audit.run(dsn).ok


async def _awaited(work: Awaitable[None]) -> None:
    await work
