"""The watch: sees in the database who works, past all proxies."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Final, LiteralString

import psycopg
from psycopg import AsyncConnection

LOOK_EVERY_S: Final = 0.1

ANSWER_WITHIN_S: Final = 2.0

AT_WORK: LiteralString = """
    SELECT role, count(*), count(*) FILTER (WHERE (facts ->> 'leads')::boolean)
    FROM ticketing.worker_status
    WHERE beat_at > clock_timestamp() - make_interval(secs => %s)
    GROUP BY role
"""

EACH: Final = 2
"""So many projectors and timers there are."""


class Watch:
    """Knows since when all workers have been at work."""

    def __init__(self, connect: Callable[[], Awaitable[AsyncConnection[Any]]]) -> None:
        self._connect = connect

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
