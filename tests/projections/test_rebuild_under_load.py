"""A rebuild while a service is at work, and one that is killed: nobody reads anything wrong."""

import asyncio
import multiprocessing
import signal
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, count
from threading import Event
from typing import Any
from uuid import UUID

import pytest
from psycopg import Connection, IsolationLevel

import audit
from aggregates.ids import UserId
from infrastructure.feed import PostgresFeed
from projections import checkpoints, wallet_entries
from projections.projector import Projector
from projections.reading import lock_versions, position_of
from projections.rebuild import Step
from projections.registry import PROJECTIONS
from tests.audit.database import project, store
from tests.audit.sales import a_sale_of_all_kinds
from tests.projections.partitioned import PARTITIONS, LogTopic, Publisher, register
from tests.projections.read_models import connect
from tests.projections.rebuilding import (
    USER,
    WalletLog,
    damage,
    leftovers,
    rebuild_until_killed,
    rebuilt,
    shown,
    wait_until,
)

READER = UserId(UUID(USER))

REBUILDS = 6
"""One after another, while others read without a pause."""

EXCHANGES_APART = 7
"""A rebuild exchanges some 76 messages with the server; killed after each 7, or at each with 1."""


class Readers:
    """People who read all the time until they are told to stop, and note what they were told."""

    def __init__(self, dsn: str, wallet: WalletLog, partitions: int) -> None:
        self.stop = Event()
        self.read = 0
        self._dsn = dsn
        self._wallet = wallet
        self._partitions = partitions

    def follow(self, *, of_one_snapshot: bool) -> None:
        """Read the wallet again and again: never an error, an earlier position, or another's balance."""
        asyncio.run(self._follow(of_one_snapshot=of_one_snapshot))

    async def _follow(self, *, of_one_snapshot: bool) -> None:
        latest = 0
        async with await connect(self._dsn) as connection:
            connection.prepare_threshold = 0
            if of_one_snapshot:
                await connection.set_isolation_level(IsolationLevel.REPEATABLE_READ)
            while not self.stop.is_set():
                position = latest
                if of_one_snapshot:
                    async with connection.transaction():
                        await lock_versions(connection)
                        places = await checkpoints.places(connection, PROJECTIONS)
                        position = position_of(places["wallet_entries"].positions, USER)
                        found = await wallet_entries.find_wallet(connection, READER)
                    assert found.position == position
                else:
                    found = await wallet_entries.find_wallet(connection, READER)
                assert found.position >= latest
                assert found.value is not None
                assert found.value.balance == self._wallet.balance_at(found.position)
                latest = found.position
                self.read += 1

    def project(self) -> None:
        """Keep all read models up to date, as a process of its own does."""
        asyncio.run(self._project(topic=None))

    def project_partitions(self, *partitions: int) -> None:
        """Likewise, as one that has some partitions of the topic."""
        asyncio.run(self._project(LogTopic(self._dsn, partitions)))

    def projecting(self) -> Sequence[tuple[Any, ...]]:
        """All that is to be done to keep the read models up to date, each in a thread."""
        if self._partitions == 1:
            return [(self.project,)]
        rest = range(2, self._partitions)
        return [(self.publish,), (self.project_partitions, 0, 1), (self.project_partitions, *rest)]

    def publish(self) -> None:
        """Keep the topic up to date."""
        asyncio.run(Publisher(self._dsn, self._partitions).run(self.stop))

    async def _project(self, topic: LogTopic | None) -> None:
        feed = PostgresFeed(self._dsn)
        projector, stop = Projector(self._dsn, feed, PROJECTIONS, topic=topic), asyncio.Event()
        running = asyncio.create_task(projector.run(stop))
        await asyncio.to_thread(self.stop.wait)
        stop.set()
        await running
        await feed.close()
        if topic is not None:
            await topic.close()
        assert projector.store_losses == 0
        assert not any(standing.failures for standing in projector.standings.values())

    def spend(self) -> None:
        """Let the log grow."""
        while not self.stop.is_set():
            self._wallet.charge(3)


@pytest.mark.parametrize("partitions", [1, PARTITIONS])
def test_reads_never_stop_and_never_run_backwards(
    dsn: str, connection: Connection[Any], partitions: int
) -> None:
    wallet = WalletLog(dsn)
    wallet.charge(50)
    project(dsn)
    readers = Readers(dsn, wallet, partitions)
    if partitions > 1:
        register(connection, partitions)
    with ThreadPoolExecutor(10) as threads:
        working = [
            *(threads.submit(work, *of) for work, *of in readers.projecting()),
            threads.submit(readers.spend),
            *(threads.submit(readers.follow, of_one_snapshot=turn % 2 == 1) for turn in range(4)),
        ]
        try:
            for _ in range(REBUILDS):
                read, began_at = readers.read, wallet.position
                (done,) = rebuilt(dsn, "wallet_entries")
                assert done.comparison.live_different == 0
                assert done.position is not None
                assert done.position >= began_at
                wait_until(lambda: readers.read > read + 10, "reads go on")  # noqa: B023
                wait_until(lambda: wallet.position > began_at, "the log grows")  # noqa: B023
        finally:
            readers.stop.set()
        for one in working:
            one.result()
    assert audit.run(dsn).ok
    project(dsn)
    assert audit.run(dsn).ok


def test_a_rebuild_that_is_killed_anywhere_leaves_the_one_that_is_read_alone(
    dsn: str, connection: Connection[Any]
) -> None:
    store(dsn, a_sale_of_all_kinds().rows())
    project(dsn)
    whole = shown(connection)
    damage(connection, wallet_entries.PROJECTION)
    damaged = shown(connection)
    steps: Sequence[int | Step] = (Step.BUILD, Step.COMPARE, Step.SWITCH)
    found = []
    for moment in chain(steps, count(step=EXCHANGES_APART)):
        if not killed_while_rebuilding(dsn, moment):
            break
        found.append(shown(connection) == damaged)
        assert found[-1] or shown(connection) == whole
    assert found == sorted(found, reverse=True)
    assert found[:5] == [True] * 5
    assert shown(connection) == whole
    assert leftovers(connection) == []

    damage(connection, wallet_entries.PROJECTION)
    assert killed_while_rebuilding(dsn, Step.REMOVE)
    assert shown(connection) == whole
    assert leftovers(connection) == ["wallet_entries_old_v2"]
    rebuilt(dsn, "wallet_entries")
    assert leftovers(connection) == []


def killed_while_rebuilding(dsn: str, moment: int | Step) -> bool:
    """Rebuild until it is killed, or to its end; return whether it was killed."""
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["tests.projections.rebuilding"])
    process = processes.Process(target=rebuild_until_killed, args=(dsn, "wallet_entries", moment))
    process.start()
    process.join(30)
    assert process.exitcode in (0, -signal.SIGKILL)
    return process.exitcode != 0
