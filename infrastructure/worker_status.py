"""What workers tell about themselves, in a plain table: for `/metrics` and for `ticketing status`.

It is written once a second, and says how a worker does; what it should do it never reads there.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, LiteralString
from uuid import UUID, uuid4

import msgspec
import psycopg
import structlog
from psycopg import AsyncConnection
from psycopg.errors import ReadOnlySqlTransaction
from psycopg.types.json import Jsonb

from infrastructure.pause import pause

WRITE_EVERY_S = 1.0
WRITE_DEADLINE_S = 5.0
CONNECT_TIMEOUT_S = 3

FORGOTTEN_AFTER_S = 60
"""A worker that has not written for so long is gone, and its row with it."""

WRITE: LiteralString = """
    WITH forgotten AS (
        DELETE FROM ticketing.worker_status
        WHERE beat_at < clock_timestamp() - %(forgotten_after_s)s * interval '1 second'
          AND process_id <> %(process_id)s
    )
    INSERT INTO ticketing.worker_status (role, process_id, beat_at, facts)
    VALUES (%(role)s, %(process_id)s, clock_timestamp(), %(facts)s)
    ON CONFLICT (role, process_id) DO UPDATE SET beat_at = excluded.beat_at, facts = excluded.facts
"""

REMOVE: LiteralString = "DELETE FROM ticketing.worker_status WHERE role = %s AND process_id = %s"

ALL: LiteralString = """
    SELECT role, process_id, since, clock_timestamp() - beat_at, facts
    FROM ticketing.worker_status
    ORDER BY role, process_id
"""

BEATS_FROM_HERE: LiteralString = """
    SELECT EXISTS (
        SELECT
        FROM pg_stat_activity
        WHERE datname = current_database()
          AND usename = current_user
          AND application_name = %(session)s
          AND client_addr IS NOT DISTINCT FROM inet_client_addr()
          AND state_change > clock_timestamp() - %(silence_s_max)s * interval '1 second'
    )
"""

Facts = Mapping[str, Any]
"""What can be written as JSON."""

log = structlog.get_logger(__name__)


class WorkerFound(msgspec.Struct, frozen=True):
    """A worker as it told last."""

    role: str
    process_id: UUID
    since: datetime
    """When it told for the first time."""
    age: timedelta
    """How long ago it told: more than a few seconds means that it is gone or stuck."""
    facts: Facts


class WorkerStatus:
    """One worker's row, written while `run` runs."""

    def __init__(self, dsn: str, role: str, facts: Callable[[], Facts]) -> None:
        self._dsn = dsn
        self._role = role
        self._facts = facts
        self._process_id = uuid4()

    async def run(self, stop: asyncio.Event) -> None:
        """Write the facts until `stop`, then remove them. A database out of reach is tried again."""
        while not stop.is_set():
            try:
                await self._run_session(stop)
            except (psycopg.OperationalError, ReadOnlySqlTransaction, OSError, TimeoutError) as error:
                log.warning("worker_status_not_written", role=self._role, error=str(error).strip())
                await pause(WRITE_EVERY_S, stop)

    async def _run_session(self, stop: asyncio.Event) -> None:
        connection = await AsyncConnection.connect(
            self._dsn,
            autocommit=True,
            connect_timeout=CONNECT_TIMEOUT_S,
            application_name=_session(self._role),
        )
        try:
            while not stop.is_set():
                await self._write(connection)
                await pause(WRITE_EVERY_S, stop)
            await connection.execute(REMOVE, [self._role, self._process_id])
        finally:
            connection.pgconn.finish()

    async def _write(self, connection: AsyncConnection[Any]) -> None:
        async with asyncio.timeout(WRITE_DEADLINE_S):
            await connection.execute(
                WRITE,
                {
                    "role": self._role,
                    "process_id": self._process_id,
                    "facts": Jsonb(self._facts()),
                    "forgotten_after_s": FORGOTTEN_AFTER_S,
                },
            )


async def worker_statuses(connection: AsyncConnection[Any]) -> Sequence[WorkerFound]:
    """Return what every worker told last, by role."""
    cursor = await connection.execute(ALL)
    return [WorkerFound(*row) for row in await cursor.fetchall()]


def beats_from_here(connection: psycopg.Connection[Any], role: str, silence_s_max: float) -> bool:
    """Tell whether a worker of this role has told of itself that lately, from the address that asks.

    So a container hears of its own worker alone. On one machine that may be any of its workers of that role.
    """
    row = connection.execute(
        BEATS_FROM_HERE, {"session": _session(role), "silence_s_max": silence_s_max}
    ).fetchone()
    return bool(row and row[0])


def _session(role: str) -> str:
    """Name the session in which a worker tells of itself, for who looks at PostgreSQL's sessions."""
    return f"ticketing-{role}-status"
