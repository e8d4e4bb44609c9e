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
from tests.faults.product import LOG_POSITION
from workers.projector import ROLE as PROJECTOR
from workers.relay import ROLE as RELAY
from workers.timer import ROLE as TIMER

LOOK_EVERY_S: Final = 0.1

ANSWER_WITHIN_S: Final = 2.0

AT_WORK: LiteralString = """
    SELECT role, count(*), count(*) FILTER (WHERE (facts ->> 'leads')::boolean),
           count(*) FILTER (WHERE facts ->> 'reads' = 'topic')
    FROM ticketing.worker_status
    WHERE beat_at > clock_timestamp() - make_interval(secs => %s)
    GROUP BY role
"""

IS_CARRIED: LiteralString = """
    SELECT topic.position >= %s AND topic.partitions = (
        SELECT count(DISTINCT partition)
        FROM ticketing.worker_status
        CROSS JOIN jsonb_array_elements(facts -> 'partitions') AS partition
        WHERE role = 'projector' AND beat_at > clock_timestamp() - make_interval(secs => %s)
    )
    FROM ticketing.topic
"""
"""Whether all up to a position is on the topic, and each of its partitions is a projector's."""

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
"""So many there are of each worker."""


class Watch:
    """Knows since when all workers have been at work."""

    def __init__(self, connect: Callable[[], Awaitable[AsyncConnection[Any]]], *, kafka: bool) -> None:
        self.done: list[Done] = []
        """Each time that nobody led for a while."""
        self._connect = connect
        self._kafka = kafka
        self._leaders = (TIMER, RELAY) if kafka else (TIMER,)

    async def run(self, stop: asyncio.Event) -> None:
        """See until `stop` when a timer leads, and a relay, and when none does."""
        led_until = dict.fromkeys(self._leaders, time.monotonic())
        while not stop.is_set():
            with suppress(psycopg.Error, OSError, TimeoutError):
                async with await self._connect() as connection:
                    while not stop.is_set():
                        for role in self._leaders:
                            led_until[role] = await self._look(connection, role, led_until[role])
                        await asyncio.sleep(LOOK_EVERY_S)
            await asyncio.sleep(LOOK_EVERY_S)

    async def _look(self, connection: AsyncConnection[Any], role: str, led_until: float) -> float:
        """Return until when one of this role led."""
        async with asyncio.timeout(ANSWER_WITHIN_S):
            cursor = await connection.execute(LEADER_SILENT_FOR_S, [lock_id(role)])
            row = await cursor.fetchone()
        now = time.monotonic()
        if row is None or row[0] > LEADS_S:
            return led_until
        if now - led_until > LEADS_S:
            self.done.append(Done(0, role, led_until, now))
        return now - max(0.0, float(row[0]))

    async def until_at_work(self, since: float) -> None:
        """Wait until two of each worker have said so since then, one timer leads, and Kafka is used.

        That is: one relay leads, all that was recorded by now is on the topic, and projectors follow it and
        have shared its partitions.
        """
        recorded: int | None = None
        while True:
            with suppress(psycopg.Error, OSError, TimeoutError):
                async with asyncio.timeout(ANSWER_WITHIN_S), await self._connect() as connection:
                    if recorded is None:
                        recorded = await _log_position(connection)
                    while not await self._all_at_work(connection, since, recorded):  # noqa: ASYNC110
                        await asyncio.sleep(LOOK_EVERY_S)
                return
            await asyncio.sleep(LOOK_EVERY_S)

    async def _all_at_work(self, connection: AsyncConnection[Any], since: float, recorded: int) -> bool:
        cursor = await connection.execute(AT_WORK, [time.monotonic() - since])
        told = {
            role: (beating, leading, reading) for role, beating, leading, reading in await cursor.fetchall()
        }
        projectors, _, following = told.get(PROJECTOR, (0, 0, 0))
        if projectors < EACH or not all(_one_leads(told.get(role, (0, 0, 0))) for role in self._leaders):
            return False
        return not self._kafka or (following == projectors and await _is_carried(connection, since, recorded))


def _one_leads(told: tuple[int, int, int]) -> bool:
    beating, leading, _ = told
    return beating >= EACH and leading > 0


async def _log_position(connection: AsyncConnection[Any]) -> int:
    row = await (await connection.execute(LOG_POSITION)).fetchone()
    return 0 if row is None else int(row[0])


async def _is_carried(connection: AsyncConnection[Any], since: float, recorded: int) -> bool:
    cursor = await connection.execute(IS_CARRIED, [recorded, time.monotonic() - since])
    row = await cursor.fetchone()
    return bool(row and row[0])
