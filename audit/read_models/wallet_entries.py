"""What `wallet_entries` must show: every movement of every wallet, and the balances."""

from collections.abc import Mapping
from datetime import datetime

import msgspec

from audit.read_models.table import Emit, Expectation, Follow, Table
from audit.stored import Nothing, Stored, WalletCharged, WalletMoved


class Wallet(msgspec.Struct):
    """A row of `wallets`."""

    user_id: str
    balance: int


class Entry(msgspec.Struct):
    """A row of `entries`."""

    user_id: str
    position: int
    type: str
    amount: int
    balance: int
    payment_id: str | None
    recorded_at: datetime


WALLETS = Table("wallet_entries", "wallets", Wallet, as_text=("user_id",))
ENTRIES = Table("wallet_entries", "entries", Entry, key_length=2, as_text=("user_id", "payment_id"))


class WalletEntries(Expectation):
    """Follows the wallets' streams."""

    def __init__(self, emit: Emit) -> None:
        """Start before the first event."""
        super().__init__(emit)
        self._balances: dict[str, int] = {}

    def follows(self) -> Mapping[str, Follow]:
        """The opening of a wallet and its movements."""
        return {
            "wallet.opened": self._opened,
            "wallet.charged": self._charged,
            "wallet.debited": self._debited,
            "wallet.refunded": self._refunded,
        }

    def finish(self) -> None:
        """A wallet is never over."""
        for user_id, balance in self._balances.items():
            self.emit(WALLETS, Wallet(user_id, balance))

    def _opened(self, stored: Stored[Nothing], _position: int) -> None:
        self._balances.setdefault(stored.partition_key, 0)

    def _charged(self, stored: Stored[WalletCharged], position: int) -> None:
        balance = self._move(stored.partition_key, stored.payload.amount)
        self._enter(stored, position, "CHARGED", balance, payment_id=None)

    def _debited(self, stored: Stored[WalletMoved], position: int) -> None:
        balance = self._move(stored.partition_key, -stored.payload.amount)
        self._enter(stored, position, "DEBITED", balance, stored.payload.payment_id)

    def _refunded(self, stored: Stored[WalletMoved], position: int) -> None:
        balance = self._move(stored.partition_key, stored.payload.amount)
        self._enter(stored, position, "REFUNDED", balance, stored.payload.payment_id)

    def _move(self, user_id: str, change: int) -> int:
        balance = self._balances[user_id] = self._balances.get(user_id, 0) + change
        return balance

    def _enter(
        self,
        stored: Stored[WalletCharged] | Stored[WalletMoved],
        position: int,
        entry_type: str,
        balance: int,
        payment_id: str | None,
    ) -> None:
        entry = Entry(
            user_id=stored.partition_key,
            position=position,
            type=entry_type,
            amount=stored.payload.amount,
            balance=balance,
            payment_id=payment_id,
            recorded_at=stored.recorded_at,
        )
        self.emit(ENTRIES, entry)
