"""Taking seats and paying for them: each one transaction, which locks the token before all else."""

from typing import Any
from uuid import UUID, uuid4

from fastapi import APIRouter

from aggregates.errors import (
    AmountMismatch,
    HoldExpired,
    InsufficientBalance,
    RateLimited,
    ReservationAlreadyOpen,
    ReservationNotFound,
    ReservationNotOpen,
    SalesNotOpen,
    SeatAlreadyHeld,
    SeatAlreadySold,
    SeatLimitExceeded,
    SeatNotFound,
    TokenExpired,
    TokenInvalid,
    TokenMismatch,
)
from aggregates.reservation import FAILURES_MAX, RETRY_AFTER_S
from bench.plain import models
from bench.plain.database import Connection, Database
from bench.plain.identity import Bearer, BearerOfConcert, Claims
from bench.plain.queue import refusal
from bench.plain.reading import begins

LOCK_TOKEN = "SELECT FROM tokens WHERE token_id = %s FOR UPDATE"

LOCK_WALLET = "SELECT FROM users WHERE user_id = %s FOR UPDATE"

SITUATION = """
    SELECT
        standings.*,
        tokens.expires_at <= now() AS is_over,
        hold_ttl_s,
        max_seats_per_user,
        charge_while_holding,
        reservations.reservation_id,
        hold_expires_at > now() AS holds,
        (
            SELECT coalesce(sum(cardinality(seat_numbers)), 0)
            FROM reservations
            WHERE (user_id, code, status) = (standings.user_id, standings.code, 'CONFIRMED')
        ) AS seats_owned
    FROM standings
    JOIN tokens USING (token_id)
    JOIN concerts ON concerts.code = standings.code
    LEFT JOIN reservations
        ON reservations.token_id = standings.token_id AND reservations.status = 'OPEN'
    WHERE standings.token_id = %s
"""

LOCK_FREE_SEATS = """
    SELECT price
    FROM seats
    WHERE (code, date, start_time) = (%s, %s, %s)
      AND seat_number = ANY(%s)
      AND (status = 'AVAILABLE' OR held_until <= now())
    ORDER BY seat_number
    FOR UPDATE
"""

SEATS = """
    SELECT seat_number, status
    FROM seats_now
    WHERE (code, date, start_time) = (%s, %s, %s) AND seat_number = ANY(%s)
"""

EXPIRE = "UPDATE reservations SET status = 'EXPIRED' WHERE reservation_id = %s AND status = 'OPEN'"

OPEN = """
    INSERT INTO reservations (
        reservation_id, token_id, user_id, code, date, start_time, seat_numbers, amount, hold_expires_at
    )
    VALUES (
        %(reservation_id)s, %(token_id)s, %(user_id)s, %(code)s, %(date)s, %(start_time)s, %(seat_numbers)s,
        %(amount)s, now() + make_interval(secs => %(hold_ttl_s)s)
    )
    RETURNING created_at, hold_expires_at
"""

HOLD = """
    UPDATE seats
    SET status = 'HELD', reservation_id = %s, held_until = %s
    WHERE (code, date, start_time) = (%s, %s, %s) AND seat_number = ANY(%s)
"""

LOCK_RESERVATION = """
    SELECT reservations.*, title, hold_expires_at <= now() AS is_over
    FROM reservations
    JOIN concerts USING (code)
    WHERE reservation_id = coalesce(
        %s, (SELECT reservation_id FROM reservations WHERE token_id = %s ORDER BY created_at DESC LIMIT 1)
    )
    FOR UPDATE OF reservations
"""

STANDING = "SELECT * FROM standings WHERE token_id = %s"

DEBIT = "UPDATE users SET balance = balance - %s WHERE user_id = %s AND balance >= %s RETURNING balance"

BALANCE = "SELECT balance FROM users WHERE user_id = %s"

NOTE_DEBIT = """
    INSERT INTO wallet_entries (user_id, type, amount, balance, payment_id)
    VALUES (%s, 'DEBITED', %s, %s, %s)
"""

NOTE_FAILURE = "UPDATE reservations SET failed_payments = failed_payments + 1 WHERE reservation_id = %s"

NOTE_PAYMENT = """
    INSERT INTO payments (payment_id, reservation_id, user_id, code, amount, balance, status)
    VALUES (%s, %s, %s, %s, %s, %s, %s)
    RETURNING paid_at
"""

CONFIRM = "UPDATE reservations SET status = 'CONFIRMED' WHERE reservation_id = %s"

SELL = """
    UPDATE seats
    SET status = 'SOLD', held_until = NULL
    WHERE (code, date, start_time) = (%s, %s, %s) AND seat_number = ANY(%s)
"""

COMPLETE = "UPDATE tokens SET status = 'COMPLETED' WHERE token_id = %s"

router = APIRouter()


@router.post("/concerts/{code}/reservations", status_code=201)
async def reserve(claims: BearerOfConcert, body: models.Reserve, database: Database) -> models.Reservation:
    """Hold seats for the token's owner: all of them or none."""
    async with database.connection() as connection, connection.transaction():
        await connection.execute(LOCK_TOKEN, (claims.token_id,))
        situation = await _situation(connection, claims)
        start_time = await begins(connection, claims.concert, body.date, body.start_time)
        where = (claims.concert, body.date, start_time, body.seat_numbers)
        free = await (await connection.execute(LOCK_FREE_SEATS, where)).fetchall()
        if situation.holds or len(free) < len(body.seat_numbers) or _is_beyond_limit(situation, body):
            seats = await (await connection.execute(SEATS, where)).fetchall()
            raise _why_not(situation, body, {seat.seat_number: seat.status for seat in seats})
        amount = sum(seat.price for seat in free)
        return await _open(connection, claims, situation, start_time, body, amount)


async def _situation(connection: Connection, claims: Claims) -> Any:
    situation = await (await connection.execute(SITUATION, (claims.token_id,))).fetchone()
    if situation is None:
        raise TokenInvalid
    if situation.status != "ACTIVE":
        raise refusal(situation)
    if situation.is_over:
        raise TokenExpired
    if not situation.sales_open:
        raise SalesNotOpen
    if not situation.charge_while_holding:  # so that nobody charges it while this decides
        await connection.execute(LOCK_WALLET, (claims.user_id,))
    return situation


def _is_beyond_limit(situation: Any, body: models.Reserve) -> bool:
    return bool(situation.seats_owned + len(body.seat_numbers) > situation.max_seats_per_user)


def _why_not(situation: Any, body: models.Reserve, seats: dict[int, str]) -> Exception:
    """The first reason in the order of checks; nothing was locked for it but the token."""
    wanted = body.seat_numbers
    if missing := [number for number in wanted if number not in seats]:
        return SeatNotFound(missing)
    if situation.holds:
        return ReservationAlreadyOpen(situation.reservation_id)
    if _is_beyond_limit(situation, body):
        return SeatLimitExceeded(situation.max_seats_per_user)
    if sold := [number for number in wanted if seats[number] == "SOLD"]:
        return SeatAlreadySold(sold)
    return SeatAlreadyHeld([number for number in wanted if seats[number] == "HELD"])


async def _open(
    connection: Connection,
    claims: Claims,
    situation: Any,
    start_time: str,
    body: models.Reserve,
    amount: int,
) -> models.Reservation:
    if situation.reservation_id is not None:
        await connection.execute(EXPIRE, (situation.reservation_id,))
    reservation_id = uuid4()
    wanted = {
        "reservation_id": reservation_id,
        "token_id": claims.token_id,
        "user_id": claims.user_id,
        "code": claims.concert,
        "date": body.date,
        "start_time": start_time,
        "seat_numbers": body.seat_numbers,
        "amount": amount,
        "hold_ttl_s": situation.hold_ttl_s,
    }
    opened: Any = await (await connection.execute(OPEN, wanted)).fetchone()
    where = (claims.concert, body.date, start_time, body.seat_numbers)
    await connection.execute(HOLD, (reservation_id, opened.hold_expires_at, *where))
    return models.Reservation(
        reservation_id=reservation_id,
        user_id=claims.user_id,
        concert_code=claims.concert,
        date=body.date,
        start_time=start_time,
        seat_numbers=body.seat_numbers,
        amount=amount,
        status="OPEN",
        hold_expires_at=opened.hold_expires_at,
        payment_id=None,
        created_at=opened.created_at,
        cancelled_at=None,
    )


@router.post("/payments", status_code=201)
async def pay(claims: Bearer, body: models.Pay, database: Database) -> models.Payment:
    """Pay the reservation named, or the token's open one."""
    async with database.connection() as connection:
        async with connection.transaction():
            await connection.execute(LOCK_TOKEN, (claims.token_id,))
            wanted = (body.reservation_id, claims.token_id)
            reservation = await (await connection.execute(LOCK_RESERVATION, wanted)).fetchone()
            await _require_payable(connection, claims, body, reservation)
            paid = await _debit(connection, claims, reservation)
        if isinstance(paid, InsufficientBalance):  # which is noted: the transaction is not undone
            raise paid
    return paid


async def _require_payable(
    connection: Connection, claims: Claims, body: models.Pay, reservation: Any
) -> None:
    if body.reservation_id is not None:
        if reservation is None or reservation.user_id != claims.user_id:
            raise ReservationNotFound
        if reservation.code != claims.concert:
            raise TokenMismatch
    standing = await (await connection.execute(STANDING, (claims.token_id,))).fetchone()
    if standing is None:
        raise TokenInvalid
    if standing.status != "ACTIVE":
        raise refusal(standing)
    if reservation is None or reservation.status in {"CONFIRMED", "CANCELLED"}:
        raise ReservationNotOpen
    if body.amount is not None and body.amount != reservation.amount:
        raise AmountMismatch(reservation.amount)
    if reservation.is_over:
        raise HoldExpired


async def _debit(
    connection: Connection, claims: Claims, reservation: Any
) -> models.Payment | InsufficientBalance:
    """Take the money and sell the seats; where there is too little of it, note that."""
    amount, payment_id = reservation.amount, uuid4()
    debited = await (await connection.execute(DEBIT, (amount, claims.user_id, amount))).fetchone()
    if debited is None:
        return await _note_failure(connection, reservation, payment_id)
    await connection.execute(NOTE_DEBIT, (claims.user_id, amount, debited.balance, payment_id))
    paid_at = await _note_payment(connection, payment_id, reservation, debited.balance, "COMPLETED")
    await connection.execute(CONFIRM, (reservation.reservation_id,))
    where = (reservation.code, reservation.date, reservation.start_time, reservation.seat_numbers)
    await connection.execute(SELL, where)
    await connection.execute(COMPLETE, (claims.token_id,))
    return models.Payment(
        payment_id=payment_id,
        reservation_id=reservation.reservation_id,
        user_id=claims.user_id,
        concert_code=reservation.code,
        concert_title=reservation.title,
        date=reservation.date,
        start_time=reservation.start_time,
        seat_numbers=reservation.seat_numbers,
        amount=amount,
        status="COMPLETED",
        balance=debited.balance,
        paid_at=paid_at,
        refunded_at=None,
    )


async def _note_failure(connection: Connection, reservation: Any, payment_id: UUID) -> InsufficientBalance:
    if reservation.failed_payments >= FAILURES_MAX:
        raise RateLimited(RETRY_AFTER_S)
    wallet: Any = await (await connection.execute(BALANCE, (reservation.user_id,))).fetchone()
    await connection.execute(NOTE_FAILURE, (reservation.reservation_id,))
    await _note_payment(connection, payment_id, reservation, wallet.balance, "FAILED")
    return InsufficientBalance(wallet.balance, reservation.amount, payment_id)


async def _note_payment(
    connection: Connection, payment_id: UUID, reservation: Any, balance: int, status: str
) -> Any:
    noted = (
        payment_id,
        reservation.reservation_id,
        reservation.user_id,
        reservation.code,
        reservation.amount,
        balance,
        status,
    )
    row: Any = await (await connection.execute(NOTE_PAYMENT, noted)).fetchone()
    return row.paid_at
