"""Payments: what was paid, what failed, what was given back; and what each concert earned.

A failed attempt does not say which seats it was for, so the projection remembers that of every reservation.
"""

from collections.abc import Iterable, Sequence
from datetime import date, datetime
from enum import StrEnum
from typing import Any, LiteralString

import msgspec
from psycopg import AsyncConnection

from aggregates.concert import ConcertAnnounced
from aggregates.event import RecordedEvent
from aggregates.ids import ConcertCode, PaymentId, ReservationId, StartTime, UserId
from aggregates.payment import PaymentCompleted, PaymentFailed, PaymentRefunded
from aggregates.reservation import ReservationOpened
from projections.projection import Projection, Write
from projections.reading import Found, Page, find_all, find_one, page

TABLES: LiteralString = """
CREATE TABLE {schema}.concerts (
    code text PRIMARY KEY,
    title text NOT NULL,
    revenue bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 50);

CREATE TABLE {schema}.reservations (
    reservation_id uuid PRIMARY KEY,
    date date NOT NULL,
    start_time text NOT NULL,
    seat_numbers int[] NOT NULL
);

CREATE TABLE {schema}.payments (
    payment_id uuid PRIMARY KEY,
    position bigint NOT NULL,
    reservation_id uuid NOT NULL,
    user_id uuid NOT NULL,
    code text NOT NULL,
    amount bigint NOT NULL,
    status text NOT NULL CHECK (status IN ('COMPLETED', 'FAILED', 'REFUNDED')),
    balance bigint NOT NULL,
    paid_at timestamptz,
    refunded_at timestamptz
) WITH (fillfactor = 80);
CREATE INDEX payments_of_user ON {schema}.payments (user_id, position);
"""

ANNOUNCE: LiteralString = """
    INSERT INTO {schema}.concerts (code, title)
    SELECT code, title FROM json_to_recordset(%s) AS announced (code text, title text)
    ON CONFLICT (code) DO UPDATE SET title = excluded.title
"""

REMEMBER: LiteralString = """
    INSERT INTO {schema}.reservations (reservation_id, date, start_time, seat_numbers)
    SELECT reservation_id, date, start_time, seat_numbers
    FROM json_to_recordset(%s) AS opened (
        reservation_id uuid, date date, start_time text, seat_numbers int[]
    )
"""

ATTEMPT: LiteralString = """
    INSERT INTO {schema}.payments
        (payment_id, position, reservation_id, user_id, code, amount, status, balance, paid_at)
    SELECT payment_id, position, reservation_id, user_id, code, amount, status, balance, paid_at
    FROM json_to_recordset(%s) AS attempt (
        payment_id uuid, position bigint, reservation_id uuid, user_id uuid, code text, amount bigint,
        status text, balance bigint, paid_at timestamptz
    )
"""

REFUND: LiteralString = """
    UPDATE {schema}.payments AS payment
    SET status = 'REFUNDED', balance = refund.balance, refunded_at = refund.refunded_at
    FROM json_to_recordset(%s) AS refund (payment_id uuid, balance bigint, refunded_at timestamptz)
    WHERE payment.payment_id = refund.payment_id
"""

EARN: LiteralString = """
    INSERT INTO {schema}.concerts AS concert (code, title, revenue)
    SELECT code, '', amount FROM json_to_recordset(%s) AS earned (code text, amount bigint)
    ON CONFLICT (code) DO UPDATE SET revenue = concert.revenue + excluded.revenue
"""
"""A concert whose announcement was parked has no title until that comes late."""


class PaymentStatus(StrEnum):
    """What came of an attempt to pay."""

    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    REFUNDED = "REFUNDED"


class _Announced(msgspec.Struct):
    code: ConcertCode
    title: str


class _Opened(msgspec.Struct):
    reservation_id: str
    date: date
    start_time: StartTime
    seat_numbers: tuple[int, ...]


class _Attempt(msgspec.Struct):
    payment_id: str
    position: int
    reservation_id: ReservationId
    user_id: UserId
    code: ConcertCode
    amount: int
    status: PaymentStatus
    balance: int
    paid_at: datetime | None


class _Refund(msgspec.Struct):
    payment_id: str
    balance: int
    refunded_at: datetime


class _Earned(msgspec.Struct):
    code: str
    amount: int


class _Batch:
    def __init__(self) -> None:
        self._announced: list[_Announced] = []
        self._opened: list[_Opened] = []
        self._attempts: list[_Attempt] = []
        self._refunds: list[_Refund] = []
        self._earned: dict[str, int] = {}

    def writes(self) -> Iterable[Write]:
        return (
            Write(ANNOUNCE, self._announced),
            Write(REMEMBER, self._opened),
            Write(ATTEMPT, self._attempts),
            Write(REFUND, self._refunds),
            Write(EARN, [_Earned(code, amount) for code, amount in self._earned.items()]),
        )

    def announced(self, event: ConcertAnnounced, _recorded: RecordedEvent) -> None:
        self._announced.append(_Announced(event.code, event.title))

    def opened(self, event: ReservationOpened, recorded: RecordedEvent) -> None:
        reservation_id = recorded.stream.removeprefix("reservation/")
        self._opened.append(_Opened(reservation_id, event.date, event.start_time, event.seat_numbers))

    def completed(self, event: PaymentCompleted, recorded: RecordedEvent) -> None:
        self._attempt(event, recorded, PaymentStatus.COMPLETED, recorded.recorded_at)
        self._earn(event.code, event.amount)

    def failed(self, event: PaymentFailed, recorded: RecordedEvent) -> None:
        self._attempt(event, recorded, PaymentStatus.FAILED, None)

    def refunded(self, event: PaymentRefunded, recorded: RecordedEvent) -> None:
        self._refunds.append(_Refund(_id(recorded), event.balance, recorded.recorded_at))
        self._earn(recorded.partition_key, -event.amount)

    def _attempt(
        self,
        event: PaymentCompleted | PaymentFailed,
        recorded: RecordedEvent,
        status: PaymentStatus,
        paid_at: datetime | None,
    ) -> None:
        self._attempts.append(
            _Attempt(
                _id(recorded), recorded.position, event.reservation_id, event.user_id, event.code,
                event.amount, status, event.balance, paid_at,
            )
        )  # fmt: skip

    def _earn(self, code: str, amount: int) -> None:
        self._earned[code] = self._earned.get(code, 0) + amount


def _id(recorded: RecordedEvent) -> str:
    return recorded.stream.removeprefix("payment/")


PROJECTION = Projection(
    "payments",
    1,
    TABLES,
    _Batch,
    {
        ConcertAnnounced: _Batch.announced,
        ReservationOpened: _Batch.opened,
        PaymentCompleted: _Batch.completed,
        PaymentFailed: _Batch.failed,
        PaymentRefunded: _Batch.refunded,
    },
)


class PaymentFound(msgspec.Struct, frozen=True):
    """A payment, or an attempt that failed."""

    payment_id: PaymentId
    position: int
    """Where in the log it was made; the place in its user's list."""
    reservation_id: ReservationId
    user_id: UserId
    code: ConcertCode
    title: str
    """The concert's."""
    date: date
    start_time: StartTime
    seat_numbers: Sequence[int]
    amount: int
    """In won."""
    status: PaymentStatus
    balance: int
    """The wallet's, in won, right after this payment; once refunded, right after that."""
    paid_at: datetime | None
    """None where it failed."""
    refunded_at: datetime | None


class _Revenue(msgspec.Struct, frozen=True):
    revenue: int


FIND: LiteralString = """
    SELECT payment_id, position, reservation_id, user_id, code, title, date, start_time, seat_numbers,
           amount, status, balance, paid_at, refunded_at
    FROM {schema}.payments
    JOIN {schema}.reservations USING (reservation_id)
    JOIN {schema}.concerts USING (code)
    WHERE payment_id = %(payment_id)s
"""

OF_USER: LiteralString = """
    SELECT payment_id, position, reservation_id, user_id, code, title, date, start_time, seat_numbers,
           amount, status, balance, paid_at, refunded_at
    FROM {schema}.payments
    JOIN {schema}.reservations USING (reservation_id)
    JOIN {schema}.concerts USING (code)
    WHERE user_id = %(user_id)s AND position > %(after)s AND position <= reached.log_position
    ORDER BY position
    LIMIT %(limit)s
"""

REVENUE: LiteralString = """
    SELECT revenue FROM {schema}.concerts WHERE code = %(code)s
"""


def _code(payment: PaymentFound) -> str:
    return payment.code


async def find(connection: AsyncConnection[Any], payment_id: PaymentId) -> Found[PaymentFound | None]:
    """Return a payment, None where none has this id."""
    return await find_one(connection, PROJECTION, FIND, {"payment_id": payment_id}, PaymentFound, _code)


async def list_page(
    connection: AsyncConnection[Any], user_id: UserId, *, after: int = 0, limit: int
) -> Found[Page[PaymentFound, int]]:
    """Return up to `limit` of a user's payments in the order of the log, those after position `after`.

    They are of several concerts, which may have come further than the position: there the list ends, so that
    none comes later with a place in a part of it that has been read.
    """
    parameters = {"user_id": user_id, "after": after, "limit": limit + 1}
    found = await find_all(connection, PROJECTION, OF_USER, parameters, PaymentFound)
    return page(found, limit, lambda payment: payment.position)


async def revenue(connection: AsyncConnection[Any], code: str) -> Found[int]:
    """Add up what a concert's payments brought and were not refunded, in won."""
    found = await find_one(connection, PROJECTION, REVENUE, {"code": code}, _Revenue, lambda _: code)
    return Found(found.position, found.value.revenue if found.value else 0)
