"""One of several processes leads, and another takes over when it is killed or stopped."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import psycopg
import pytest
from structlog.testing import capture_logs

from infrastructure.leader import Leader, lock_id

TAKEOVER_S_MAX = 5.0
START_S_MAX = 20.0


class LeadingProcess:
    """A process of tests/infrastructure/leading.py, and how often it has acted."""

    def __init__(self, dsn: str) -> None:
        self.acts = 0
        command = [sys.executable, "-m", "tests.infrastructure.leading", dsn]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self._reading = threading.Thread(target=self._count)
        self._reading.start()

    def signal(self, number: int) -> None:
        os.kill(self.process.pid, number)

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        self._reading.join()
        assert self.process.stdout is not None
        self.process.stdout.close()

    def _count(self) -> None:
        assert self.process.stdout is not None
        for _ in self.process.stdout:
            self.acts += 1


@pytest.fixture
def pair(dsn: str) -> Iterator[tuple[LeadingProcess, LeadingProcess]]:
    """One process that leads, and one that stands by."""
    first = LeadingProcess(dsn)
    until(lambda: first.acts, START_S_MAX)
    second = LeadingProcess(dsn)
    until(lambda: asks_for_the_lock(dsn) == 2, START_S_MAX)
    yield first, second
    first.end()
    second.end()


def test_only_one_leads(pair: tuple[LeadingProcess, LeadingProcess]) -> None:
    first, second = pair
    before = first.acts
    until(lambda: first.acts > before + 100, START_S_MAX)
    assert second.acts == 0


def test_another_takes_over_from_a_leader_that_is_killed(pair: tuple[LeadingProcess, LeadingProcess]) -> None:
    first, second = pair
    first.signal(signal.SIGKILL)
    until(lambda: second.acts, TAKEOVER_S_MAX)


def test_another_takes_over_from_a_leader_that_is_stopped(
    pair: tuple[LeadingProcess, LeadingProcess],
) -> None:
    first, second = pair
    first.signal(signal.SIGSTOP)
    until(lambda: second.acts, TAKEOVER_S_MAX)


def test_a_leader_that_was_stopped_does_not_act_when_it_goes_on(
    dsn: str, pair: tuple[LeadingProcess, LeadingProcess]
) -> None:
    first, second = pair
    first.signal(signal.SIGSTOP)
    until(lambda: second.acts, TAKEOVER_S_MAX)
    acts = first.acts
    first.signal(signal.SIGCONT)
    until(lambda: asks_for_the_lock(dsn) == 2, START_S_MAX)
    before = second.acts
    until(lambda: second.acts > before + 100, START_S_MAX)
    assert first.acts <= acts + 1, "but for a line that was on its way"


def test_work_is_cancelled_when_leadership_is_lost_and_begun_anew_when_it_is_won_again(dsn: str) -> None:
    work, stop = Work(), asyncio.Event()

    async def lose() -> None:
        leader = Leader(dsn, "test")
        leading = asyncio.create_task(leader.lead(work.go_on, stop))
        await work.began.wait()
        work.began.clear()
        await asyncio.to_thread(end_session, dsn)
        await work.began.wait()
        assert work.cancelled == 1
        assert leader.leads
        leading.cancel()
        await asyncio.wait([leading])
        assert not leader.leads

    asyncio.run(within(lose()))


def test_work_that_is_done_gives_leadership_up(dsn: str) -> None:
    async def lead_twice() -> None:
        for _ in range(2):
            await Leader(dsn, "test").lead(Work().finish, asyncio.Event())

    asyncio.run(within(lead_twice()))


def test_one_who_stands_by_can_be_stopped(dsn: str) -> None:
    async def stand_by() -> None:
        work, stop = Work(), asyncio.Event()
        leading = asyncio.create_task(Leader(dsn, "test").lead(work.go_on, asyncio.Event()))
        await work.began.wait()
        standing_by = asyncio.create_task(Leader(dsn, "test").lead(Work().fail, stop))
        stop.set()
        await standing_by
        leading.cancel()
        await asyncio.wait([leading])

    asyncio.run(within(stand_by()))


def test_a_defect_in_the_work_is_not_hidden(dsn: str) -> None:
    with pytest.raises(ExceptionGroup) as raised:
        asyncio.run(within(Leader(dsn, "test").lead(Work().fail, asyncio.Event())))
    assert raised.group_contains(AssertionError, match="a defect")


def test_roles_do_not_stand_in_each_other_s_way(dsn: str) -> None:
    async def lead_both() -> None:
        one, other = Work(), Work()
        leading = [
            asyncio.create_task(Leader(dsn, role).lead(work.go_on, asyncio.Event()))
            for role, work in (("timer", one), ("relay", other))
        ]
        await one.began.wait()
        await other.began.wait()
        for task in leading:
            task.cancel()
        await asyncio.wait(leading)

    asyncio.run(within(lead_both()))


def test_a_database_out_of_reach_is_waited_for() -> None:
    async def lead() -> None:
        stop = asyncio.Event()
        leading = asyncio.create_task(Leader("host=/nowhere", "test").lead(Work().fail, stop))
        with capture_logs() as logs:
            await asyncio.to_thread(until, lambda: len(logs) >= 2, START_S_MAX)
        stop.set()
        await leading

    asyncio.run(within(lead()))


class Work:
    """What a leader does."""

    def __init__(self) -> None:
        self.began = asyncio.Event()
        self.cancelled = 0

    async def go_on(self) -> None:
        self.began.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.cancelled += 1

    async def finish(self) -> None:
        self.began.set()

    async def fail(self) -> None:
        raise AssertionError("a defect")


async def within(work: Coroutine[Any, Any, None], seconds: float = 20) -> None:
    async with asyncio.timeout(seconds):
        await work


def until(condition: Callable[[], object], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def asks_for_the_lock(dsn: str) -> int:
    """How many sessions have it or ask for it."""
    with psycopg.connect(dsn) as connection:
        row = connection.execute(
            """
            SELECT count(*) FROM pg_stat_activity
            WHERE datname = current_database() AND application_name = 'ticketing-test-leader'
            """
        ).fetchone()
        return row[0] if row else 0


def end_session(dsn: str) -> None:
    """End the session that holds the lock."""
    with psycopg.connect(dsn) as connection:
        connection.execute(
            """
            SELECT pg_terminate_backend(pid) FROM pg_locks
            WHERE locktype = 'advisory' AND objsubid = 1
              AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
              AND (classid::bigint << 32 | objid::bigint) = %s
            """,
            [lock_id("test")],
        )
