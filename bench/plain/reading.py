"""What an active token may look at: the dates and the seats."""

import hashlib
from datetime import date
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Header, Query, Response

from aggregates.errors import PerformanceAmbiguous, PerformanceNotFound, PerformanceStarted, TokenInvalid
from aggregates.ids import StartTime
from bench.plain.database import Connection, Database
from bench.plain.identity import BearerOfConcert
from bench.plain.models import Date, Dates, DatesQuery, Seat, SeatMap
from bench.plain.queue import refusal

STANDING = "SELECT * FROM standings WHERE token_id = %s"

DATES = """
    SELECT
        date,
        start_time,
        end_time,
        count(*) AS seats_total,
        count(*) FILTER (WHERE status = 'AVAILABLE') AS seats_available,
        count(*) FILTER (WHERE status = 'HELD') AS seats_held,
        count(*) FILTER (WHERE status = 'SOLD') AS seats_sold,
        min(price) AS min_price,
        max(price) AS max_price
    FROM performances
    JOIN seats_now USING (code, date, start_time)
    WHERE code = %(code)s AND starts_at > now()
    GROUP BY code, date, start_time, end_time
    HAVING %(all)s OR bool_or(status = 'AVAILABLE')
    ORDER BY date, start_time
"""

PERFORMANCES = """
    SELECT start_time, starts_at <= now() AS has_begun
    FROM performances
    WHERE code = %(code)s AND date = %(date)s AND start_time = coalesce(%(start_time)s, start_time)
    ORDER BY start_time
"""

SEATS = """
    SELECT seat_number, type, price, status, held_until
    FROM seats_now
    WHERE (code, date, start_time) = (%s, %s, %s)
    ORDER BY seat_number
"""

router = APIRouter()


@router.get("/concerts/{code}/dates")
async def dates(claims: BearerOfConcert, database: Database, query: Annotated[DatesQuery, Query()]) -> Dates:
    """Answer with the performances that have not begun."""
    async with database.connection() as connection:
        standing = await _active(connection, claims.token_id)
        found = await connection.execute(DATES, {"code": claims.concert, "all": query.all})
        listed = [Date(**row._asdict()) async for row in found]
    return Dates(concert_code=claims.concert, title=standing.title, dates=listed)


@router.get("/concerts/{code}/seats", response_model=SeatMap)
async def seats(
    claims: BearerOfConcert,
    day: Annotated[date, Query(alias="date")],
    database: Database,
    start_time: str | None = None,
    if_none_match: Annotated[str | None, Header()] = None,
) -> Response:
    """Answer with a seat map; 304 for who has it already."""
    async with database.connection() as connection:
        await _active(connection, claims.token_id)
        start_time = await begins(connection, claims.concert, day, start_time)
        found = await connection.execute(SEATS, (claims.concert, day, start_time))
        seats = [Seat(**row._asdict()) async for row in found]
    seat_map = SeatMap(concert_code=claims.concert, date=day, start_time=start_time, seats=seats)
    body = seat_map.model_dump_json()
    headers = {"etag": f'"{hashlib.sha256(body.encode()).hexdigest()[:32]}"'}
    if if_none_match == headers["etag"]:
        return Response(status_code=304, headers=headers)
    return Response(body, headers=headers, media_type="application/json")


async def _active(connection: Connection, token_id: UUID) -> Any:
    standing = await (await connection.execute(STANDING, (token_id,))).fetchone()
    if standing is None:
        raise TokenInvalid
    if standing.status != "ACTIVE":
        raise refusal(standing)
    return standing


async def begins(connection: Connection, code: str, day: date, start_time: str | None) -> str:
    """The start time of the performance meant, which has not begun yet."""
    wanted = {"code": code, "date": day, "start_time": start_time}
    match await (await connection.execute(PERFORMANCES, wanted)).fetchall():
        case []:
            raise PerformanceNotFound
        case [performance]:
            if performance.has_begun:
                raise PerformanceStarted
            return str(performance.start_time)
        case several:
            raise PerformanceAmbiguous([StartTime(performance.start_time) for performance in several])
