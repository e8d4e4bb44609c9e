"""Wallet: a user's prepaid balance in whole won: charges − debits + refunds, never negative (rule W1)."""

from collections.abc import Mapping
from datetime import datetime
from typing import ClassVar

import msgspec

from aggregates.errors import (
    AmountOutOfRange,
    BalanceLimitExceeded,
    ChargeNotAllowedWhileHolding,
    UserNotFound,
)
from aggregates.event import Event
from aggregates.ids import PaymentId, ReservationId, UserId
from aggregates.stream import Aggregate, Stream, remembered
from aggregates.stream import stream as named_stream


class WalletOpened(Event, frozen=True):
    topic: ClassVar[str] = "wallet.opened"


class WalletCharged(Event, frozen=True):
    topic: ClassVar[str] = "wallet.charged"
    amount: int


class WalletDebited(Event, frozen=True):
    topic: ClassVar[str] = "wallet.debited"
    amount: int
    payment_id: PaymentId


class WalletRefunded(Event, frozen=True):
    topic: ClassVar[str] = "wallet.refunded"
    amount: int
    payment_id: PaymentId


class WalletChargingSuspended(Event, frozen=True):
    topic: ClassVar[str] = "wallet.charging_suspended"
    reservation_id: ReservationId
    until: datetime


class WalletChargingResumed(Event, frozen=True):
    topic: ClassVar[str] = "wallet.charging_resumed"
    reservation_id: ReservationId


WalletEvent = (
    WalletOpened
    | WalletCharged
    | WalletDebited
    | WalletRefunded
    | WalletChargingSuspended
    | WalletChargingResumed
)


class ChargeLimits(msgspec.Struct, frozen=True):
    """The service's limits of one charge and of a balance, in won (rule W2)."""

    smallest: int = 1
    largest: int = 10_000_000
    balance_max: int = 100_000_000


class Wallet(msgspec.Struct, frozen=True):
    """A wallet as its stream tells it."""

    opened: bool = False
    balance: int = 0
    suspensions: Mapping[ReservationId, datetime] = {}
    """Until when each open reservation forbids charging (rule W3)."""


def evolve(wallet: Wallet, event: WalletEvent, at: datetime) -> Wallet:
    """Return the wallet after `event`."""
    match event:
        case WalletOpened():
            return msgspec.structs.replace(wallet, opened=True)
        case WalletCharged(amount=amount) | WalletRefunded(amount=amount):
            return msgspec.structs.replace(wallet, balance=wallet.balance + amount)
        case WalletDebited(amount=amount):
            return msgspec.structs.replace(wallet, balance=wallet.balance - amount)
        case WalletChargingSuspended(reservation_id=reservation_id, until=until):
            return msgspec.structs.replace(wallet, suspensions={**wallet.suspensions, reservation_id: until})
        case WalletChargingResumed(reservation_id=resumed):
            remaining = {id_: until for id_, until in wallet.suspensions.items() if id_ != resumed}
            return msgspec.structs.replace(wallet, suspensions=remaining)


WALLET = Aggregate("wallet", Wallet(), evolve, Wallet)


@remembered
def stream(user_id: UserId) -> Stream[Wallet]:
    """The stream `wallet/{user_id}`; its events are spread by user."""
    return named_stream(WALLET, str(user_id), str(user_id))


def opened(wallet: Wallet) -> Wallet:
    """Return the wallet if its user exists. Raises UserNotFound."""
    if not wallet.opened:
        raise UserNotFound
    return wallet


def open_wallet(wallet: Wallet) -> list[WalletEvent]:
    """Open the wallet; one that is open stays as it is."""
    return [] if wallet.opened else [WalletOpened()]


def charge(wallet: Wallet, amount: int, limits: ChargeLimits, now: datetime) -> list[WalletEvent]:
    """Add `amount` won.

    Raises AmountOutOfRange or BalanceLimitExceeded (W2), ChargeNotAllowedWhileHolding (W3).
    """
    if not limits.smallest <= amount <= limits.largest:
        raise AmountOutOfRange(limits.smallest, limits.largest)
    if any(now < until for until in wallet.suspensions.values()):
        raise ChargeNotAllowedWhileHolding
    if wallet.balance + amount > limits.balance_max:
        raise BalanceLimitExceeded(limits.balance_max)
    return [WalletCharged(amount)]


def covers(wallet: Wallet, amount: int) -> bool:
    """W1: is there enough to debit `amount` without going below zero?"""
    return amount <= wallet.balance


def debit(wallet: Wallet, amount: int, payment_id: PaymentId) -> list[WalletEvent]:
    """Take `amount` won for a payment. The caller has asked `covers` (W1)."""
    if not covers(wallet, amount):
        raise AssertionError("a wallet is never debited below zero")
    return [WalletDebited(amount, payment_id)]


def suspend_charging(reservation_id: ReservationId, until: datetime) -> list[WalletEvent]:
    """W3: forbid charging while this reservation is open."""
    return [WalletChargingSuspended(reservation_id, until)]


def resume_charging(wallet: Wallet, reservation_id: ReservationId) -> list[WalletEvent]:
    """W3: lift what this reservation had forbidden, if it had."""
    return [WalletChargingResumed(reservation_id)] if reservation_id in wallet.suspensions else []
