"""What an operator does to put a concert on sale, and to see how it goes."""

from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Depends
from psycopg import sql
from pydantic import BaseModel

from aggregates.errors import ConcertNotFound
from bench.plain.database import Database
from bench.plain.identity import require_admin
from bench.plain.models import NewConcert, NewPerformance

ANNOUNCE = """
    INSERT INTO concerts (
        code, title, description, category, venue, time_zone,
        max_active, admit_up_to_seats_left, max_waiting, active_ttl_s, hold_ttl_s, max_seats_per_user,
        charge_while_holding
    )
    VALUES (
        %(code)s, %(title)s, %(description)s, %(category)s, %(venue)s, %(time_zone)s,
        %(max_active)s, %(admit_up_to_seats_left)s, %(max_waiting)s, %(active_ttl_s)s, %(hold_ttl_s)s,
        %(max_seats_per_user)s, %(charge_while_holding)s
    )
"""

OPEN_QUEUE = "INSERT INTO queues (code) VALUES (%s)"

TIME_ZONE = "SELECT time_zone FROM concerts WHERE code = %s"

SCHEDULE = """
    INSERT INTO performances (code, date, start_time, end_time, starts_at)
    VALUES (%s, %s, %s, %s, %s)
"""

PUT_SEATS = """
    INSERT INTO seats (code, date, start_time, seat_number, type, price)
    SELECT %s, %s, %s, generate_series(%s::integer, %s), %s, %s
"""

SWITCH = "UPDATE concerts SET sales_open = %s WHERE code = %s"

STATS = """
    SELECT
        issued,
        head,
        count(*) FILTER (WHERE status = 'WAITING') AS waiting,
        count(*) FILTER (WHERE status = 'ACTIVE') AS active,
        count(*) FILTER (WHERE status = 'COMPLETED') AS completed
    FROM queues
    LEFT JOIN tokens USING (code)
    WHERE code = %s
    GROUP BY code
"""


class PolicyChanges(BaseModel):
    """What may change during a sale here: how many are let in."""

    max_active: int | None


router = APIRouter(prefix="/admin", dependencies=[Depends(require_admin)])


@router.post("/concerts", status_code=201)
async def announce(body: NewConcert, database: Database) -> dict[str, str]:
    """Announce a concert; its sale is closed until opened."""
    async with database.connection() as connection, connection.transaction():
        facts = body.model_dump()
        await connection.execute(ANNOUNCE, {**facts, **facts["policy"]})
        await connection.execute(OPEN_QUEUE, (body.code,))
    return {"code": body.code}


@router.post("/concerts/{code}/performances", status_code=201)
async def schedule(code: str, body: NewPerformance, database: Database) -> dict[str, str]:
    """Schedule a performance, a row for each of its seats."""
    async with database.connection() as connection, connection.transaction():
        concert = await (await connection.execute(TIME_ZONE, (code,))).fetchone()
        if concert is None:
            raise ConcertNotFound
        begins = datetime.fromisoformat(f"{body.date}T{body.start_time}")
        starts_at = begins.replace(tzinfo=ZoneInfo(concert.time_zone))
        await connection.execute(SCHEDULE, (code, body.date, body.start_time, body.end_time, starts_at))
        for block in body.seats:
            seats = (block.first, block.last, block.type, block.price)
            await connection.execute(PUT_SEATS, (code, body.date, body.start_time, *seats))
    return {"concert_code": code}


@router.patch("/concerts/{code}/policy")
async def change_policy(code: str, body: PolicyChanges, database: Database) -> dict[str, Any]:
    """Change what is named."""
    changes = body.model_dump(exclude_unset=True)
    for field, value in changes.items():
        change = sql.SQL("UPDATE concerts SET {} = %s WHERE code = %s").format(sql.Identifier(field))
        async with database.connection() as connection:
            await connection.execute(change, (value, code))
    return changes


@router.post("/concerts/{code}/sales/open")
async def open_sales(code: str, database: Database) -> dict[str, str]:
    """Open the sale."""
    async with database.connection() as connection:
        await connection.execute(SWITCH, (True, code))
    return {"code": code, "sales": "OPEN"}


@router.post("/concerts/{code}/sales/close")
async def close_sales(code: str, database: Database) -> dict[str, str]:
    """Close the sale."""
    async with database.connection() as connection:
        await connection.execute(SWITCH, (False, code))
    return {"code": code, "sales": "CLOSED"}


@router.get("/concerts/{code}/stats")
async def stats(code: str, database: Database) -> dict[str, int]:
    """Count tokens by their status."""
    async with database.connection() as connection:
        found = await (await connection.execute(STATS, (code,))).fetchone()
    if found is None:
        raise ConcertNotFound
    counts: dict[str, int] = found._asdict()
    return counts
