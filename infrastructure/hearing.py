"""Heard from: when each token's owner last made a request, as far as this service could hear it (rule Q8).

Every API process notes in memory whom it hears. Every few seconds it writes that to a plain table, with
a heartbeat of its own. Whoever judges a silence (see `infrastructure.event_log`) judges by these:

- A process whose heartbeat is late may have heard what it has not written: no silence counts meanwhile.
- One that was late, or is gone without a goodbye, may have missed something: all silence counts anew.
- One that is stopped keeps its session, and people may be talking to it in vain. Its heartbeat stays, and
  stays late, until the process goes on or ends.
- One that ends cleanly writes what it has heard and removes its heartbeat. Where there is none, nobody
  listens.

All times are the database's. A heartbeat says "everything heard up to here has been written", so its time is
read before the memory is.
"""

import asyncio
import math
import time
from contextlib import suppress
from datetime import datetime
from typing import Any, LiteralString
from uuid import uuid4

import psycopg
import structlog
from psycopg import AsyncConnection
from psycopg.errors import ReadOnlySqlTransaction

from aggregates.ids import TokenId
from commands.abandon_token import ALLOWANCE_S
from infrastructure.pause import pause

WRITE_EVERY_S = 5.0

LATE_AFTER_S = ALLOWANCE_S
"""Those who judge silence allow so much for what was heard and is not written yet."""

GONE_AFTER_S = 15
"""A heartbeat that is so late, and whose session has ended, is removed."""

RETRY_AFTER_S = 1.0
CONNECT_TIMEOUT_S = 3
WRITE_DEADLINE_S = 5.0

KEEPALIVES = "-c tcp_keepalives_idle=10 -c tcp_keepalives_interval=5 -c tcp_keepalives_count=3"
"""The session of a machine that is gone ends after 25 s. A stopped process's kernel still answers these."""

CLOCK: LiteralString = "SELECT clock_timestamp()"

SIGN_IN: LiteralString = "SELECT pg_advisory_lock(hashtextextended('ticketing hearing ' || %s::uuid, 0))"
"""Held for as long as the session, it tells a process that is stopped from one that is gone."""

WRITE: LiteralString = """
    WITH written AS (
        INSERT INTO ticketing.heard (token_id, last_heard_at)
        SELECT token_id, clock_timestamp()
        FROM unnest(%(token_ids)b::uuid[]) AS token_id
        ORDER BY token_id
        ON CONFLICT (token_id) DO UPDATE SET last_heard_at = excluded.last_heard_at
    )
    INSERT INTO ticketing.hearing AS mine (process_id, since, beat_at)
    VALUES (%(process_id)s, %(beat_at)s, %(beat_at)s)
    ON CONFLICT (process_id) DO UPDATE
        SET beat_at = excluded.beat_at,
            since = CASE
                WHEN mine.beat_at < excluded.beat_at - %(late_after_s)s * interval '1 second'
                THEN excluded.since
                ELSE mine.since
            END
    RETURNING since
"""

COUNT_ANEW: LiteralString = """
    WITH removed AS (
        DELETE FROM ticketing.hearing
        WHERE process_id <> %(process_id)s
          AND beat_at < clock_timestamp() - %(gone_after_s)s * interval '1 second'
          AND pg_try_advisory_xact_lock(hashtextextended('ticketing hearing ' || process_id, 0))
        RETURNING process_id
    )
    UPDATE ticketing.hearing
    SET since = clock_timestamp()
    WHERE (%(missed_something)s OR EXISTS (SELECT FROM removed))
      AND process_id NOT IN (SELECT process_id FROM removed)
"""
"""Of all processes, so that it stays true when the one that noticed says goodbye."""

SAY_GOODBYE: LiteralString = "DELETE FROM ticketing.hearing WHERE process_id = %s"

Connection = AsyncConnection[tuple[Any, ...]]

log = structlog.get_logger(__name__)


class Hearing:
    """What one API process hears. `run` writes it down, from before the first request to after the last."""

    def __init__(self, dsn: str, write_every_s: float = WRITE_EVERY_S) -> None:
        self._dsn = dsn
        self._write_every_s = write_every_s
        self._process_id = uuid4()
        self._heard: set[TokenId] = set()
        self._missed_something = False
        self._written_until = -math.inf
        self._written = asyncio.Event()

    def heard(self, token_id: TokenId) -> None:
        """Note that a request bore this token."""
        self._heard.add(token_id)

    @property
    def counts(self) -> bool:
        """Whether what is heard now is sure to count.

        Where it is not, a request that bears a token is better answered with an error than in vain.
        """
        return time.monotonic() < self._written_until + LATE_AFTER_S

    async def wait_until_it_counts(self, within_s: float) -> None:
        """Wait for the first writing, but no longer than that."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self._written.wait()

    async def run(self, stop: asyncio.Event) -> None:
        """Write what was heard until `stop`, then say goodbye."""
        while not stop.is_set():
            try:
                await self._run_session(stop)
            except (psycopg.OperationalError, ReadOnlySqlTransaction, OSError, TimeoutError) as error:
                log.warning("hearing_not_written", error=str(error).strip() or type(error).__name__)
                await pause(RETRY_AFTER_S, stop)

    async def _run_session(self, stop: asyncio.Event) -> None:
        connection = await self._connect()
        try:
            while not stop.is_set():
                await self._write(connection)
                await pause(self._write_every_s, stop)
            await self._write(connection)
            await connection.execute(SAY_GOODBYE, [self._process_id])
        finally:
            connection.pgconn.finish()

    async def _connect(self) -> Connection:
        connection = await AsyncConnection.connect(
            self._dsn,
            autocommit=True,
            connect_timeout=CONNECT_TIMEOUT_S,
            options=KEEPALIVES,
            application_name="ticketing-hearing",
        )
        async with asyncio.timeout(WRITE_DEADLINE_S):
            await connection.execute(SIGN_IN, [self._process_id])
        return connection

    async def _write(self, connection: Connection) -> None:
        began = time.monotonic()
        async with asyncio.timeout(WRITE_DEADLINE_S):
            beat_at = await _clock(connection)
            since = await self._write_heard(connection, beat_at)
            self._missed_something |= since == beat_at  # until all have been told, however often that fails
            await connection.execute(
                COUNT_ANEW,
                {
                    "process_id": self._process_id,
                    "gone_after_s": GONE_AFTER_S,
                    "missed_something": self._missed_something,
                },
            )
        self._missed_something = False
        self._written_until = began
        self._written.set()

    async def _write_heard(self, connection: Connection, beat_at: datetime) -> datetime:
        """Return since when this process has heard everything."""
        heard, self._heard = self._heard, set()
        try:
            cursor = await connection.execute(
                WRITE,
                {
                    "token_ids": list(heard),
                    "process_id": self._process_id,
                    "beat_at": beat_at,
                    "late_after_s": LATE_AFTER_S,
                },
            )
            rows = await cursor.fetchall()
        except BaseException:
            self._heard |= heard
            raise
        since: datetime = rows[0][0]
        return since


async def _clock(connection: Connection) -> datetime:
    rows = await (await connection.execute(CLOCK)).fetchall()
    now: datetime = rows[0][0]
    return now
