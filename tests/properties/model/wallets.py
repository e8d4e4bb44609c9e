"""Users and their wallets: W1, W2, W3."""

from typing import Any
from uuid import UUID

from tests.properties.model.append import Append, refuse
from tests.properties.model.tokens import require_live
from tests.properties.model.world import Reservation, Wallet

Results = dict[str, Any]
"""What the answer must tell, by name."""


def open_wallet(append: Append, user_id: UUID, name: str | None) -> Results:
    wallets = append.world.wallets
    created = user_id not in wallets
    if created:
        wallets[user_id] = Wallet()
        append.world.names[user_id] = name
        append.record(f"wallet/{user_id}", "wallet.opened", of=str(user_id))
    return {"user_id": user_id, "balance": wallets[user_id].balance, "created": created}


def erase_profile(append: Append, user_id: UUID) -> Results:
    wallet_of(append, user_id)
    append.world.names[user_id] = None
    return {}


def charge_wallet(append: Append, user_id: UUID, amount: int, visit: Any) -> Results:
    wallet, rules = wallet_of(append, user_id), append.world.rules
    if rules.wallet_needs_token and visit is None:
        refuse("TOKEN_MISSING")
    token = require_live(append, visit, user_id) if rules.wallet_needs_token else None
    reasons: list[str] = []
    if not rules.smallest_charge <= amount <= rules.largest_charge:
        reasons.append("AMOUNT_OUT_OF_RANGE")
    if any(append.now < until for until in wallet.suspended.values()):
        reasons.append("CHARGE_NOT_ALLOWED_WHILE_HOLDING")
    if wallet.balance + amount > rules.largest_balance:
        reasons.append("BALANCE_LIMIT_EXCEEDED")
    if reasons:
        refuse(*reasons)
    wallet.entries.append(amount)
    append.record(f"wallet/{user_id}", "wallet.charged", token, of=str(user_id), amount=amount)
    return {"user_id": user_id, "amount": amount, "balance": wallet.balance}


def wallet_of(append: Append, user_id: UUID) -> Wallet:
    """Every user has one."""
    wallet = append.world.wallets.get(user_id)
    return refuse("USER_NOT_FOUND") if wallet is None else wallet


def suspend(append: Append, reservation: Reservation) -> None:
    """W3: reserving suspends charging until the hold's deadline."""
    token = reservation.token
    append.world.wallets[token.user_id].suspended[reservation.id] = reservation.until
    append.record(
        f"wallet/{token.user_id}",
        "wallet.charging_suspended",
        token,
        of=str(token.user_id),
        reservation_id=reservation.id,
        until=reservation.until,
    )


def resume(append: Append, reservation: Reservation) -> None:
    """W3: releasing, paying and expiring resume it."""
    token = reservation.token
    if append.world.wallets[token.user_id].suspended.pop(reservation.id, None) is not None:
        append.record(
            f"wallet/{token.user_id}",
            "wallet.charging_resumed",
            token,
            of=str(token.user_id),
            reservation_id=reservation.id,
        )
