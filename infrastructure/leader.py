"""Leadership: of all processes that could do a job, one does it.

Who leads holds an advisory lock of PostgreSQL, in a session of its own. The server ends a session that has
been silent for SESSION_SILENCE_MAX_S, and a leader uses its own every BEAT_EVERY_S. So a leader that dies, is
stopped or is cut off loses the lock, and another takes over within 3 s. What a leader does must be harmless
all the same when two do it at once: a stopped one learns of its loss only when it goes on.
"""

import asyncio
import hashlib
import math
import time
from collections.abc import Awaitable, Callable
from typing import Any, LiteralString

import psycopg
import structlog
from psycopg import AsyncConnection

from infrastructure.pause import pause

SESSION_SILENCE_MAX_S = 2.0
"""Long enough for a busy machine, short enough that another leads within 3 s."""

BEAT_EVERY_S = 0.5
"""How often the leader uses its session, and the others ask for the lock."""

CONNECT_TIMEOUT_S = 3

TAKE: LiteralString = "SELECT pg_try_advisory_lock(%s)"
BEAT: LiteralString = "SELECT 1"

Connection = AsyncConnection[tuple[Any, ...]]

log = structlog.get_logger(__name__)


class Leader:
    """One process's claim to a role, such as `timer`: at most one process at a time holds it."""

    def __init__(self, dsn: str, role: str) -> None:
        self._dsn = dsn
        self._role = role
        self._lock = lock_id(role)
        self._certain_until = -math.inf

    @property
    def leads(self) -> bool:
        """Whether this process leads for certain: false as soon as the server may have ended its session.

        It is judged by a clock that goes on while the process is stopped. Whoever leads asks before each act.
        """
        return time.monotonic() < self._certain_until

    async def lead(self, work: Callable[[], Awaitable[None]], stop: asyncio.Event) -> None:
        """Do the work while this process leads, until it is done, or `stop` is set while another leads.

        The work is cancelled when leadership is lost, and begun anew when it is won again.
        """
        while not stop.is_set():
            try:
                await self._lead_once(work, stop)
            except* (psycopg.OperationalError, OSError, TimeoutError) as lost:
                log.warning("leadership_lost", role=self._role, error=str(lost.exceptions[0]).strip())
                self._certain_until = -math.inf
            else:
                return
            await pause(BEAT_EVERY_S, stop)

    async def _lead_once(self, work: Callable[[], Awaitable[None]], stop: asyncio.Event) -> None:
        connection = await self._connect()
        try:
            if not await self._take(connection, stop):
                return
            log.info("leadership_taken", role=self._role)
            async with asyncio.TaskGroup() as tasks:
                beating = tasks.create_task(self._keep(connection))
                await work()
                beating.cancel()
        finally:
            self._certain_until = -math.inf
            connection.pgconn.finish()

    async def _connect(self) -> Connection:
        return await AsyncConnection.connect(
            self._dsn,
            autocommit=True,
            connect_timeout=CONNECT_TIMEOUT_S,
            options=f"-c idle_session_timeout={SESSION_SILENCE_MAX_S * 1_000:.0f}",
            application_name=f"ticketing-{self._role}-leader",
        )

    async def _take(self, connection: Connection, stop: asyncio.Event) -> bool:
        """Wait for the lock; false where `stop` is set before."""
        while not stop.is_set():
            if await self._use(connection, TAKE, [self._lock]):
                return True
            await pause(BEAT_EVERY_S, stop)
        return False

    async def _keep(self, connection: Connection) -> None:
        """Use the session for as long as it is there."""
        while True:
            await asyncio.sleep(BEAT_EVERY_S)
            await self._use(connection, BEAT, [])

    async def _use(self, connection: Connection, query: LiteralString, parameters: list[Any]) -> bool:
        """Ask the server, which counts silence from after we asked."""
        asked_at = time.monotonic()
        async with asyncio.timeout(SESSION_SILENCE_MAX_S):
            row = await (await connection.execute(query, parameters)).fetchone()
        answer = bool(row and row[0])
        if answer:
            self._certain_until = asked_at + SESSION_SILENCE_MAX_S
        return answer


def lock_id(role: str) -> int:
    """The key of the role's advisory lock."""
    digest = hashlib.sha256(f"ticketing leader {role}".encode()).digest()
    return int.from_bytes(digest[:8], signed=True)
