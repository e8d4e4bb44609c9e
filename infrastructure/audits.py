"""Audits that operators ask for: each replays the log in a process of its own, and is kept in a plain table.

The auditing process holds a session lock for as long as it lives, so an audit whose process died is known
from one that runs.
"""

import asyncio
import os
import subprocess
import sys
from collections.abc import Sequence
from datetime import datetime
from threading import Thread
from typing import Any, Literal, LiteralString
from uuid import UUID, uuid4

import msgspec
from psycopg import AsyncConnection
from psycopg.rows import tuple_row

from infrastructure.read_models import ReadModels
from infrastructure.settings import without_secrets

AUDIT_LOCK = 7_303_014_520
"""Held, as a session lock, by the process that audits."""

STARTING_S = 15
"""So long a process may take from being started to holding the lock."""

Status = Literal["RUNNING", "DONE", "FAILED"]

AUDITS: LiteralString = """
    SELECT audit_id, requested_at, progress, report,
           CASE WHEN status = 'RUNNING' AND died THEN 'FAILED' ELSE status END AS status
    FROM ticketing.audits
    CROSS JOIN LATERAL (
        SELECT requested_at < clock_timestamp() - %(starting_s)s * interval '1 second'
           AND NOT EXISTS (
               SELECT FROM pg_locks
               WHERE locktype = 'advisory' AND granted AND objsubid = 1
                 AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
                 AND (classid::bigint << 32 | objid::bigint) = %(lock)s
           ) AS died
    ) AS process
"""

FIND: LiteralString = f"""
    WITH audit AS ({AUDITS})
    SELECT audit_id, status, progress, report::text FROM audit WHERE audit_id = %(audit_id)s
"""  # noqa: S608 (both parts are constants)

RUNNING: LiteralString = f"""
    WITH audit AS ({AUDITS})
    SELECT audit_id, requested_at, progress FROM audit WHERE status = 'RUNNING' ORDER BY requested_at
"""  # noqa: S608 (both parts are constants)

ASK: LiteralString = """
    INSERT INTO ticketing.audits (audit_id, requested_at, at, status, progress)
    VALUES (%s, clock_timestamp(), %s, 'RUNNING', 0)
"""

PARAMETERS = {"starting_s": STARTING_S, "lock": AUDIT_LOCK}


class AuditFound(msgspec.Struct, frozen=True):
    """An audit, how far it has come (0 to 1), and its report as JSON once it is done."""

    audit_id: UUID
    status: Status
    progress: float
    report: msgspec.Raw | None


async def find(connection: AsyncConnection[Any], audit_id: UUID) -> AuditFound | None:
    """Return an audit, None where none was asked for under this id."""
    cursor = await connection.execute(FIND, {**PARAMETERS, "audit_id": audit_id})
    row = await cursor.fetchone()
    if row is None:
        return None
    found_id, status, progress, report = row
    return AuditFound(found_id, status, progress, None if report is None else msgspec.Raw(report.encode()))


async def running(connection: AsyncConnection[Any]) -> Sequence[tuple[UUID, datetime, float]]:
    """Return the audits that are running: id, since when, and how far each has come."""
    cursor = connection.cursor(row_factory=tuple_row)
    await cursor.execute(RUNNING, PARAMETERS)
    return await cursor.fetchall()


class Audits:
    """Starts audits, one at a time."""

    def __init__(self, dsn: str, read_models: ReadModels) -> None:
        self._dsn = dsn
        self._read_models = read_models

    async def start(self, at: datetime | None) -> UUID:
        """Start an audit and return its id, or the id of the one that is running."""
        async with self._read_models.connection() as connection, connection.transaction():
            await connection.execute("LOCK TABLE ticketing.audits IN SHARE ROW EXCLUSIVE MODE")
            for audit_id, _, _ in await running(connection):
                return audit_id
            audit_id = uuid4()
            await connection.execute(ASK, [audit_id, at])
        process = await asyncio.to_thread(
            subprocess.Popen,
            [sys.executable, "-m", "workers.auditor", str(audit_id)],
            env={**without_secrets(os.environ), "DATABASE_URL": self._dsn},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
        Thread(target=process.wait, daemon=True).start()  # it may outlive this process, and its event loop
        return audit_id
