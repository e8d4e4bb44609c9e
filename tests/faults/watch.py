"""The watch: sees in the database who works, past all proxies."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Final, LiteralString

import psycopg
from psycopg import AsyncConnection

from infrastructure.leader import BEAT_EVERY_S, lock_id
from tests.faults.probes import Done
from workers.timer import ROLE

LOOK_EVERY_S: Final = 0.1

ANSWER_WITHIN_S: Final = 2.0

AT_WORK: LiteralString = """
    SELECT role, count(*), count(*) FILTER (WHERE (facts ->> 'leads')::boolean)
    FROM ticketing.worker_status
    WHERE beat_at > clock_timestamp() - make_interval(secs => %s)
    GROUP BY role
"""

LEADER_SILENT_FOR_S: LiteralString = """
    SELECT extract(epoch FROM clock_timestamp() - leader.state_change)::float8
    FROM pg_locks AS lock
    JOIN pg_stat_activity AS leader USING (pid)
    WHERE lock.locktype = 'advisory' AND lock.granted
      AND (lock.classid::bigint << 32 | lock.objid::bigint) = %s
"""

LEADS_S: Final = 2 * BEAT_EVERY_S
"""A leader that has been silent for so long has stopped leading."""

EACH: Final = 2
"""So many projectors and timers there are."""


class Watch:
    """Knows since when all workers have been at work."""

    def __init__(self, connect: Callable[[], Awaitable[AsyncConnection[Any]]]) -> None:
        self.done: list[Done] = []
        """Each time that no timer led for a while."""
        self._connect = connect

    async def run(self, stop: asyncio.Event) -> None:
        """See until `stop` when a timer leads, and when none does."""
        led_until = time.monotonic()
        while not stop.is_set():
            with suppress(psycopg.Error, OSError, TimeoutError):
                async with await self._connect() as connection:
                    while not stop.is_set():
                        led_until = await self._look(connection, led_until)
                        await asyncio.sleep(LOOK_EVERY_S)
            await asyncio.sleep(LOOK_EVERY_S)

    async def _look(self, connection: AsyncConnection[Any], led_until: float) -> float:
        """Return until when a timer led."""
        async with asyncio.timeout(ANSWER_WITHIN_S):
            cursor = await connection.execute(LEADER_SILENT_FOR_S, [lock_id(ROLE)])
            row = await cursor.fetchone()
        now = time.monotonic()
        if row is None or row[0] > LEADS_S:
            return led_until
        if now - led_until > LEADS_S:
            self.done.append(Done(0, "timer", led_until, now))
        return now - max(0.0, float(row[0]))

    async def until_at_work(self, since: float) -> None:
        """Wait until both projectors and both timers have said so since then, and one timer leads."""
        while True:
            with suppress(psycopg.Error, OSError, TimeoutError):
                async with asyncio.timeout(ANSWER_WITHIN_S), await self._connect() as connection:
                    while not await _all_at_work(connection, since):  # noqa: ASYNC110 (it is polled)
                        await asyncio.sleep(LOOK_EVERY_S)
                return
            await asyncio.sleep(LOOK_EVERY_S)


async def _all_at_work(connection: AsyncConnection[Any], since: float) -> bool:
    cursor = await connection.execute(AT_WORK, [time.monotonic() - since])
    told = {role: (beating, leading) for role, beating, leading in await cursor.fetchall()}
    projectors, _ = told.get("projector", (0, 0))
    timers, leading = told.get("timer", (0, 0))
    return bool(projectors >= EACH and timers >= EACH and leading)
