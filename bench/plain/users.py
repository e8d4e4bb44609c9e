"""Users and their wallets."""

from typing import Any
from uuid import UUID, uuid4

from fastapi import APIRouter, Response

from aggregates.errors import (
    AmountOutOfRange,
    BalanceLimitExceeded,
    ChargeNotAllowedWhileHolding,
    UserNotFound,
)
from aggregates.wallet import ChargeLimits
from bench.plain.database import Connection, Database
from bench.plain.models import Charge, Charged, NewUser, User

LIMITS = ChargeLimits()

REGISTER = """
    INSERT INTO users (user_id, name)
    VALUES (%s, %s)
    ON CONFLICT DO NOTHING
    RETURNING user_id, name, balance
"""

FIND_USER = "SELECT user_id, name, balance FROM users WHERE user_id = %s"

CHARGE = """
    UPDATE users
    SET balance = balance + %(amount)s
    WHERE user_id = %(user_id)s
      AND balance + %(amount)s <= %(balance_max)s
      AND user_id NOT IN (SELECT user_id FROM suspended_wallets WHERE user_id = %(user_id)s)
    RETURNING balance
"""

FIND_WALLET = """
    SELECT EXISTS (SELECT FROM suspended_wallets WHERE user_id = users.user_id) AS is_suspended
    FROM users
    WHERE user_id = %s
"""

NOTE_CHARGE = """
    INSERT INTO wallet_entries (user_id, type, amount, balance)
    VALUES (%s, 'CHARGED', %s, %s)
"""

router = APIRouter()


@router.post("/users", status_code=201)
async def register(body: NewUser, database: Database, response: Response) -> User:
    """Open a wallet; the same user again is answered as they are."""
    user_id = body.user_id or uuid4()
    async with database.connection() as connection:
        found: Any = await (await connection.execute(REGISTER, (user_id, body.name))).fetchone()
        if found is None:
            response.status_code = 200
            found = await (await connection.execute(FIND_USER, (user_id,))).fetchone()
    return User(user_id=found.user_id, name=found.name, balance=found.balance)


@router.post("/users/{user_id}/wallet/charges", status_code=201)
async def charge(user_id: UUID, body: Charge, database: Database) -> Charged:
    """Add won to a wallet, unless that would break a limit."""
    wanted = {"user_id": user_id, "amount": body.amount, "balance_max": LIMITS.balance_max}
    is_allowed = LIMITS.smallest <= body.amount <= LIMITS.largest
    async with database.connection() as connection, connection.transaction():
        charged = await (await connection.execute(CHARGE, wanted)).fetchone() if is_allowed else None
        if charged is None:
            raise await _why_not(connection, user_id, body.amount)
        await connection.execute(NOTE_CHARGE, (user_id, body.amount, charged.balance))
    return Charged(user_id=user_id, amount=body.amount, balance=charged.balance)


async def _why_not(connection: Connection, user_id: UUID, amount: int) -> Exception:
    wallet = await (await connection.execute(FIND_WALLET, (user_id,))).fetchone()
    if wallet is None:
        return UserNotFound()
    if not LIMITS.smallest <= amount <= LIMITS.largest:
        return AmountOutOfRange(LIMITS.smallest, LIMITS.largest)
    if wallet.is_suspended:
        return ChargeNotAllowedWhileHolding()
    return BalanceLimitExceeded(LIMITS.balance_max)
