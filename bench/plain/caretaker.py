"""What happens without being asked for: buyers are let in, holds and tokens run out. Every 100 ms."""

import asyncio
import logging
from typing import Any

import psycopg

from bench.plain.database import Connection, Pool
from bench.plain.queue import RELEASE_SEATS

EVERY_S = 0.1

AT_ONCE_MAX = 500
"""Let in by one transaction: joining waits for it, since both change the line."""

LINES = """
    SELECT code
    FROM queues
    JOIN concerts USING (code)
    WHERE head < issued AND sales_open
"""

LOCK_LINE = """
    SELECT
        head,
        issued,
        max_active,
        admit_up_to_seats_left,
        active_ttl_s,
        (SELECT count(*) FROM tokens WHERE code = queues.code AND status = 'ACTIVE') AS active
    FROM queues
    JOIN concerts USING (code)
    WHERE code = %s
    FOR UPDATE OF queues
"""

SEATS_LEFT = "SELECT count(*) AS seats FROM seats WHERE code = %s AND status <> 'SOLD'"

LET_IN = """
    WITH passed AS (
        UPDATE tokens
        SET status = 'ACTIVE', expires_at = now() + make_interval(secs => %(active_ttl_s)s)
        WHERE token_id IN (
            SELECT token_id
            FROM tokens
            WHERE code = %(code)s AND queue_number > %(head)s AND status = 'WAITING'
            ORDER BY queue_number
            LIMIT %(room)s
        )
        AND status = 'WAITING'
        RETURNING queue_number
    )
    UPDATE queues
    SET head = coalesce((SELECT max(queue_number) FROM passed), issued)
    WHERE code = %(code)s
"""

EXPIRE_RESERVATIONS = """
    UPDATE reservations
    SET status = 'EXPIRED'
    WHERE status = 'OPEN' AND hold_expires_at <= now()
    RETURNING reservation_id, code, date, start_time, seat_numbers
"""

EXPIRE_TOKENS = """
    UPDATE tokens
    SET status = 'EXPIRED'
    WHERE status = 'ACTIVE'
      AND expires_at <= now()
      AND NOT EXISTS (
          SELECT
          FROM reservations
          WHERE reservations.token_id = tokens.token_id AND reservations.status = 'OPEN'
      )
"""

log = logging.getLogger(__name__)


async def take_care(database: Pool) -> None:
    """Do what is due, again and again."""
    while True:
        try:
            async with database.connection() as connection:
                await _let_in(connection)
                await _expire_reservations(connection)
                await connection.execute(EXPIRE_TOKENS)
        except psycopg.Error:
            log.exception("what was due could not be done")
        await asyncio.sleep(EVERY_S)


async def _let_in(connection: Connection) -> None:
    for line in await (await connection.execute(LINES)).fetchall():
        async with connection.transaction():
            locked: Any = await (await connection.execute(LOCK_LINE, (line.code,))).fetchone()
            room = await _room(connection, line.code, locked)
            if room > 0:
                wanted = {"code": line.code, "room": room, **locked._asdict()}
                await connection.execute(LET_IN, wanted)


async def _room(connection: Connection, code: str, line: Any) -> int:
    room = AT_ONCE_MAX if line.max_active is None else line.max_active - line.active
    if line.admit_up_to_seats_left:
        left: Any = await (await connection.execute(SEATS_LEFT, (code,))).fetchone()
        room = min(room, left.seats - line.active)
    return min(room, AT_ONCE_MAX)


async def _expire_reservations(connection: Connection) -> None:
    async with connection.transaction():
        expired = await (await connection.execute(EXPIRE_RESERVATIONS)).fetchall()
        for one in expired:
            where = (one.code, one.date, one.start_time, one.seat_numbers, one.reservation_id)
            await connection.execute(RELEASE_SEATS, where)
