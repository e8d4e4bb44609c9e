"""The waiting line: joining it, asking for one's place, leaving it."""

from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from fastapi import APIRouter, Request, Response

from aggregates.errors import (
    ConcertNotFound,
    QueueFull,
    SalesNotOpen,
    TokenEnded,
    TokenExpired,
    TokenInvalid,
    TokenNotActive,
    UserNotFound,
)
from aggregates.queue import poll_after_ms
from bench.plain.database import Connection, Database
from bench.plain.identity import BearerOfConcert, sign
from bench.plain.models import Join, Token

WAY_IN_MS = 1_000
QUEUE_FULL_RETRY_AFTER_S = 30

SITUATION = """
    SELECT concerts.code, sales_open, max_waiting, tokens.token_id
    FROM users
    LEFT JOIN concerts ON concerts.code = %(code)s
    LEFT JOIN tokens
        ON tokens.code = %(code)s AND tokens.user_id = users.user_id AND status IN ('WAITING', 'ACTIVE')
    WHERE users.user_id = %(user_id)s
"""

NEXT_NUMBER = """
    UPDATE queues
    SET issued = issued + 1
    WHERE code = %s AND issued - head < %s
    RETURNING issued
"""

END_OVERDUE = "UPDATE tokens SET status = 'EXPIRED' WHERE token_id = %s AND status = 'ACTIVE'"

ISSUE = """
    INSERT INTO tokens (token_id, code, user_id, queue_number)
    VALUES (%s, %s, %s, %s)
    ON CONFLICT DO NOTHING
    RETURNING token_id
"""

STANDING = """
    SELECT
        standings.*,
        NOT EXISTS (SELECT FROM seats WHERE seats.code = standings.code AND status <> 'SOLD') AS sold_out,
        (
            SELECT count(*)
            FROM tokens
            WHERE tokens.code = standings.code
              AND tokens.queue_number > standings.head
              AND tokens.queue_number < standings.queue_number
              AND tokens.status = 'CANCELLED'
        ) AS left_before
    FROM standings
    WHERE token_id = %s
"""

LEAVE = """
    UPDATE tokens
    SET status = 'CANCELLED'
    WHERE token_id = %s AND status IN ('WAITING', 'ACTIVE')
    RETURNING token_id
"""

RELEASE_RESERVATION = """
    UPDATE reservations
    SET status = 'CANCELLED', cancelled_at = now()
    WHERE token_id = %s AND status = 'OPEN'
    RETURNING reservation_id, code, date, start_time, seat_numbers
"""

RELEASE_SEATS = """
    UPDATE seats
    SET status = 'AVAILABLE', reservation_id = NULL, held_until = NULL
    WHERE (code, date, start_time) = (%s, %s, %s)
      AND seat_number = ANY(%s)
      AND reservation_id = %s
      AND status = 'HELD'
"""

router = APIRouter()


class _HasOneAlready(Exception):
    """Another request of the same user was faster."""


@router.post("/concerts/{code}/token", status_code=201)
async def join(code: str, body: Join, database: Database, request: Request, response: Response) -> Token:
    """Stand in line; a user who already does is answered with the place they have."""
    async with database.connection() as connection:
        found = await _situation(connection, code, body.user_id)
        standing = None if found.token_id is None else await _standing(connection, found.token_id)
        if standing is None or standing.status == "EXPIRED":
            if not found.sales_open:
                raise SalesNotOpen
            try:
                issued = await _issue(connection, code, body.user_id, found.max_waiting, found.token_id)
            except _HasOneAlready:
                issued = (await _situation(connection, code, body.user_id)).token_id
                response.status_code = 200
            standing = await _standing(connection, issued)
        else:
            response.status_code = 200
    signed = sign(
        request.app.state.secret,
        user_id=standing.user_id,
        concert=code,
        queue_number=standing.queue_number,
        token_id=standing.token_id,
        issued_at=standing.issued_at,
    )
    return _token(standing, signed, response)


async def _situation(connection: Connection, code: str, user_id: UUID) -> Any:
    found = await (await connection.execute(SITUATION, {"code": code, "user_id": user_id})).fetchone()
    if found is None:
        raise UserNotFound
    if found.code is None:
        raise ConcertNotFound
    return found


async def _issue(
    connection: Connection, code: str, user_id: UUID, max_waiting: int, overdue: UUID | None
) -> UUID:
    """Take the next number; the line's row is locked from there to the commit, so numbers have no gaps."""
    token_id = uuid4()
    async with connection.transaction():
        if overdue is not None:
            await connection.execute(END_OVERDUE, (overdue,))
        line = await (await connection.execute(NEXT_NUMBER, (code, max_waiting))).fetchone()
        if line is None:
            raise QueueFull(QUEUE_FULL_RETRY_AFTER_S)
        issued = await connection.execute(ISSUE, (token_id, code, user_id, line.issued))
        if await issued.fetchone() is None:
            raise _HasOneAlready
    return token_id


async def _standing(connection: Connection, token_id: UUID) -> Any:
    standing = await (await connection.execute(STANDING, (token_id,))).fetchone()
    if standing is None:
        raise TokenInvalid
    return standing


@router.get("/concerts/{code}/token")
async def ask(claims: BearerOfConcert, database: Database, response: Response) -> Token:
    """Answer where the token stands."""
    async with database.connection() as connection:
        standing = await _standing(connection, claims.token_id)
    return _token(standing, claims.signed, response)


def _token(standing: Any, signed: str, response: Response) -> Token:
    waits = standing.status == "WAITING"
    ahead = standing.queue_number - standing.head - 1 - standing.left_before if waits else None
    poll_ms = WAY_IN_MS if ahead is None else poll_after_ms(ahead, standing.issued - standing.head)
    response.headers["retry-after"] = str(-(-poll_ms // 1_000))
    return Token(
        token=signed,
        token_id=standing.token_id,
        user_id=standing.user_id,
        concert_code=standing.code,
        queue_number=standing.queue_number,
        status=standing.status,
        place=None if ahead is None else ahead + 1,
        ahead=ahead,
        eta_seconds=None,
        sales="OPEN" if standing.sales_open else "CLOSED",
        sold_out=standing.sold_out,
        poll_after_ms=poll_ms,
        issued_at=standing.issued_at,
        expires_at=_expires_at(standing),
    )


def _expires_at(standing: Any) -> datetime | None:
    expires_at: datetime | None = standing.expires_at
    return expires_at if standing.status == "ACTIVE" else None


@router.delete("/concerts/{code}/token", status_code=204, response_class=Response)
async def leave(claims: BearerOfConcert, database: Database) -> None:
    """Leave the line, or the sale; what the token holds is released."""
    async with database.connection() as connection, connection.transaction():
        left = await (await connection.execute(LEAVE, (claims.token_id,))).fetchone()
        if left is None:
            raise refusal(await _standing(connection, claims.token_id))
        released = await connection.execute(RELEASE_RESERVATION, (claims.token_id,))
        async for one in released:
            where = (one.code, one.date, one.start_time, one.seat_numbers, one.reservation_id)
            await connection.execute(RELEASE_SEATS, where)


def refusal(standing: Any) -> Exception:
    """Why a token that is not active may not do what only active ones may."""
    match standing.status:
        case "EXPIRED":
            return TokenExpired()
        case "WAITING":
            place = standing.queue_number - standing.head
            retry_after_ms = poll_after_ms(place - 1, standing.issued - standing.head)
            return TokenNotActive(place, retry_after_s=-(-retry_after_ms // 1_000))
        case status:
            return TokenEnded(status)
