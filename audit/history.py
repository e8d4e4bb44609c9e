"""The history of one wallet or one payment, replayed from its streams and from those that it touches.

The rules are the replay's own. It is fed with only the streams concerned, so what it says of others is
passed over: whatever belongs to streams that were not read, and to rules that take the whole log.

A wallet's failed payments are found through its user's visits: by way of the reservations that the wallet
or its payments name. An attempt that failed during a visit of which the wallet knows nothing is in that
payment's own history.
"""

from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final

import msgspec
from psycopg import Connection

from audit import reader
from audit.breaches import Breach
from audit.replay import Replay, Row, read
from audit.stored import (
    ChargingSuspended,
    OfPayment,
    PaymentCompleted,
    PaymentFailed,
    ReservationOpened,
    Stored,
    TokenSeatsHeld,
    WalletMoved,
)

RULES: Final = {"A1", "W1", "W3", "P1", "P2", "P3", "P4"}
"""Those that wallets and payments can be held against without the rest of the log."""

TOLD: Final = ("wallet", "payment", "reservation")
"""The kinds of streams that a history tells."""


class Item(msgspec.Struct, frozen=True):
    """One event of a history; what it does not tell is null."""

    position: int
    recorded_at: datetime
    topic: str
    stream: str
    amount: int | None
    balance: int | None
    """The wallet's, after it."""
    payment_id: str | None
    reservation_id: str | None
    seat_numbers: list[int] | None


class History(msgspec.Struct, frozen=True):
    """What happened to one wallet or one payment, in the order of the log. Nothing, where it is unknown."""

    items: list[Item]
    ok: bool
    breaches: list[Breach]


def history(
    dsn: str, *, user_id: str | None = None, payment_id: str | None = None, at: datetime | None = None
) -> History:
    """Tell the history of this user's wallet, or else of this payment, up to `at`.

    Ids are lower-case UUIDs. A user's history has the wallet's events and those of its payments; a payment's
    has its own, its reservation's, and the entries of the wallet that name it.
    """
    start = f"wallet/{user_id}" if user_id is not None else f"payment/{payment_id}"
    with reader.snapshot(dsn) as connection:
        log = _read(connection, start)
    replay = Replay(until=at)
    rows = [row for row in log.rows if replay.apply(*row)]
    replay.close()
    breaches = [
        breach
        for breach in replay.books.breaches.kept
        if breach.rule in RULES and breach.stream in log.subjects
    ]
    return History(list(_items(rows, start)), ok=not breaches, breaches=breaches)


class _Log(msgspec.Struct):
    """The events of the streams concerned, in the order of the log, and which streams the history is of."""

    rows: list[Row]
    subjects: set[str]


def _read(connection: Connection[Any], start: str) -> _Log:
    """Read the stream, and what it leads to, until nothing new is named."""
    rows: list[Row] = []
    known: set[str] = set()
    named = {start}
    subjects = {start}
    while named:
        found = reader.streams(connection, sorted(named))
        rows += found
        known |= named
        named = set[str]()
        for _, _, _, topic, state in found:
            stored = read(topic, state)
            for name in _leads_to(start, stored) if stored else ():
                named.add(name)
                if name.startswith(("payment/", "reservation/", "wallet/")):
                    subjects.add(name)
        named -= known
    return _Log(sorted(rows), subjects)


def _leads_to(start: str, stored: Stored[Any]) -> Iterator[str]:
    """The streams that an event names and that the history goes on to."""
    event = stored.payload
    of_user = start.startswith("wallet/")
    match event:
        case PaymentCompleted() | PaymentFailed():
            yield f"wallet/{event.user_id}"
            yield f"reservation/{event.reservation_id}"
        case ReservationOpened():
            yield f"concert/{event.code}"
            yield f"token/{event.code}/{event.user_id}"
            for number in event.seat_numbers:
                yield f"seat/{event.code}/{event.date}T{event.start_time}/{number}"
        case OfPayment() if stored.stream.startswith("reservation/"):
            yield f"payment/{event.payment_id}"
        case WalletMoved() if of_user:
            yield f"payment/{event.payment_id}"
        case ChargingSuspended() | TokenSeatsHeld() if of_user:
            yield f"reservation/{event.reservation_id}"
        case _:
            return


def _items(rows: list[Row], start: str) -> Iterator[Item]:
    """The events of a history's own streams, with the wallet's running balance."""
    balance = 0
    for position, _, _, topic, state in rows:
        stored = read(topic, state)
        kind = topic.partition(".")[0]
        if stored is None or kind not in TOLD:
            continue
        balance += _change(topic, stored.payload)
        item = _item(position, topic, stored, balance)
        if _belongs(item, start):
            yield item


def _change(topic: str, event: Any) -> int:
    """What an event makes of the wallet's balance."""
    match topic:
        case "wallet.charged" | "wallet.refunded":
            return int(event.amount)
        case "wallet.debited":
            return -int(event.amount)
        case _:
            return 0


def _item(position: int, topic: str, stored: Stored[Any], balance: int) -> Item:
    event = stored.payload
    kind, _, id_ = stored.stream.partition("/")
    seat_numbers = getattr(event, "seat_numbers", None)
    return Item(
        position=position,
        recorded_at=stored.recorded_at,
        topic=topic,
        stream=stored.stream,
        amount=getattr(event, "amount", None),
        balance=balance if kind == "wallet" else getattr(event, "balance", None),
        payment_id=id_ if kind == "payment" else getattr(event, "payment_id", None),
        reservation_id=id_ if kind == "reservation" else getattr(event, "reservation_id", None),
        seat_numbers=None if seat_numbers is None else list(seat_numbers),
    )


def _belongs(item: Item, start: str) -> bool:
    kind, _, id_ = start.partition("/")
    if kind == "wallet":
        return item.stream.startswith(("wallet/", "payment/"))
    return item.payment_id == id_ or item.stream.startswith("reservation/")
