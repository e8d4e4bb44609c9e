"""Wallet entries: every movement of every wallet with the balance after it, and the wallets' balances."""

from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum
from typing import Any, LiteralString

import msgspec
from psycopg import AsyncConnection

from aggregates.event import RecordedEvent
from aggregates.ids import PaymentId, UserId
from aggregates.wallet import WalletCharged, WalletDebited, WalletOpened, WalletRefunded
from projections.projection import Projection, Write
from projections.reading import Found, Page, find_all, find_one, page

TABLES: LiteralString = """
CREATE TABLE {schema}.wallets (
    user_id uuid PRIMARY KEY,
    balance bigint NOT NULL
) WITH (fillfactor = 50);

CREATE TABLE {schema}.entries (
    user_id uuid,
    position bigint,
    type text NOT NULL CHECK (type IN ('CHARGED', 'DEBITED', 'REFUNDED')),
    amount bigint NOT NULL,
    balance bigint NOT NULL,
    payment_id uuid,
    recorded_at timestamptz NOT NULL,
    PRIMARY KEY (user_id, position)
);
"""

OPEN: LiteralString = """
    INSERT INTO {schema}.wallets (user_id, balance)
    SELECT user_id, 0 FROM json_to_recordset(%s) AS opened (user_id uuid)
"""

ENTER: LiteralString = """
    INSERT INTO {schema}.entries (user_id, position, type, amount, balance, payment_id, recorded_at)
    SELECT user_id, entry.position, type, amount, wallet.balance + entry.change, payment_id, recorded_at
    FROM json_to_recordset(%s) AS entry (
        user_id uuid, position bigint, type text, amount bigint, change bigint, payment_id uuid,
        recorded_at timestamptz
    )
    JOIN {schema}.wallets AS wallet USING (user_id)
"""

BALANCE: LiteralString = """
    UPDATE {schema}.wallets AS wallet
    SET balance = wallet.balance + moved.change
    FROM json_to_recordset(%s) AS moved (user_id uuid, change bigint)
    WHERE wallet.user_id = moved.user_id
"""


class EntryType(StrEnum):
    """Which way the money went."""

    CHARGED = "CHARGED"
    DEBITED = "DEBITED"
    REFUNDED = "REFUNDED"


class _Opened(msgspec.Struct):
    user_id: str


class _Entry(msgspec.Struct):
    user_id: str
    position: int
    type: EntryType
    amount: int
    change: int
    """Of the balance, from before the batch to after this entry."""
    payment_id: PaymentId | None
    recorded_at: datetime


class _Moved(msgspec.Struct):
    user_id: str
    change: int


class _Batch:
    def __init__(self) -> None:
        self._opened: list[_Opened] = []
        self._entries: list[_Entry] = []
        self._changes: dict[str, int] = {}

    def writes(self) -> Iterable[Write]:
        return (
            Write(OPEN, self._opened),
            Write(ENTER, self._entries),
            Write(BALANCE, [_Moved(user_id, change) for user_id, change in self._changes.items()]),
        )

    def opened(self, _event: WalletOpened, recorded: RecordedEvent) -> None:
        self._opened.append(_Opened(recorded.partition_key))

    def charged(self, event: WalletCharged, recorded: RecordedEvent) -> None:
        self._enter(recorded, EntryType.CHARGED, event.amount, event.amount)

    def debited(self, event: WalletDebited, recorded: RecordedEvent) -> None:
        self._enter(recorded, EntryType.DEBITED, event.amount, -event.amount, event.payment_id)

    def refunded(self, event: WalletRefunded, recorded: RecordedEvent) -> None:
        self._enter(recorded, EntryType.REFUNDED, event.amount, event.amount, event.payment_id)

    def _enter(
        self,
        recorded: RecordedEvent,
        entry_type: EntryType,
        amount: int,
        change: int,
        payment_id: PaymentId | None = None,
    ) -> None:
        user_id = recorded.partition_key
        change_so_far = self._changes.get(user_id, 0) + change
        self._changes[user_id] = change_so_far
        self._entries.append(
            _Entry(
                user_id, recorded.position, entry_type, amount, change_so_far, payment_id,
                recorded.recorded_at,
            )
        )  # fmt: skip


PROJECTION = Projection(
    "wallet_entries",
    2,
    TABLES,
    _Batch,
    {
        WalletOpened: _Batch.opened,
        WalletCharged: _Batch.charged,
        WalletDebited: _Batch.debited,
        WalletRefunded: _Batch.refunded,
    },
)


class WalletFound(msgspec.Struct, frozen=True):
    """A user's wallet."""

    user_id: UserId
    balance: int
    """In won."""


class EntryFound(msgspec.Struct, frozen=True):
    """One movement of a wallet."""

    position: int
    type: EntryType
    amount: int
    """In won, never negative: the type says which way."""
    balance: int
    """Right after it, in won."""
    payment_id: PaymentId | None
    recorded_at: datetime


FIND: LiteralString = """
    SELECT user_id, balance FROM {schema}.wallets WHERE user_id = %(user_id)s
"""

OF_USER: LiteralString = """
    SELECT position, type, amount, balance, payment_id, recorded_at
    FROM {schema}.entries
    WHERE user_id = %(user_id)s AND position > %(after)s
    ORDER BY position
    LIMIT %(limit)s
"""


async def find_wallet(connection: AsyncConnection[Any], user_id: UserId) -> Found[WalletFound | None]:
    """Return a user's wallet, None where there is no such user."""
    return await find_one(
        connection, PROJECTION, FIND, {"user_id": user_id}, WalletFound, lambda _: str(user_id)
    )


async def list_page(
    connection: AsyncConnection[Any], user_id: UserId, *, after: int = 0, limit: int
) -> Found[Page[EntryFound, int]]:
    """Return up to `limit` movements of a user's wallet in the order of the log, those after `after`."""
    parameters = {"user_id": user_id, "after": after, "limit": limit + 1}
    found = await find_all(connection, PROJECTION, OF_USER, parameters, EntryFound, str(user_id))
    return page(found, limit, lambda entry: entry.position)
