"""Reservations: what each user reserved, and how it ended."""

from collections.abc import Iterable, Sequence
from datetime import date, datetime
from typing import Any, LiteralString

import msgspec
from psycopg import AsyncConnection

from aggregates.event import RecordedEvent
from aggregates.ids import ConcertCode, PaymentId, ReservationId, StartTime, TokenId, UserId
from aggregates.reservation import (
    ReservationCancelled,
    ReservationConfirmed,
    ReservationExpired,
    ReservationOpened,
    ReservationStatus,
)
from projections.projection import Projection, Write
from projections.reading import Found, Page, find_all, find_one, page

TABLES: LiteralString = """
CREATE TABLE {schema}.reservations (
    reservation_id uuid PRIMARY KEY,
    position bigint NOT NULL,
    token_id uuid NOT NULL,
    user_id uuid NOT NULL,
    code text NOT NULL,
    date date NOT NULL,
    start_time text NOT NULL,
    seat_numbers int[] NOT NULL,
    amount bigint NOT NULL,
    status text NOT NULL CHECK (status IN ('OPEN', 'CONFIRMED', 'EXPIRED', 'CANCELLED')),
    hold_expires_at timestamptz NOT NULL,
    payment_id uuid,
    created_at timestamptz NOT NULL,
    cancelled_at timestamptz
) WITH (fillfactor = 50);
CREATE INDEX reservations_of_user ON {schema}.reservations (user_id, position);
"""

OPEN: LiteralString = """
    INSERT INTO {schema}.reservations (
        reservation_id, position, token_id, user_id, code, date, start_time, seat_numbers, amount, status,
        hold_expires_at, created_at
    )
    SELECT reservation_id, position, token_id, user_id, code, date, start_time, seat_numbers, amount, 'OPEN',
           hold_expires_at, created_at
    FROM json_to_recordset(%s) AS opened (
        reservation_id uuid, position bigint, token_id uuid, user_id uuid, code text, date date,
        start_time text, seat_numbers int[], amount bigint, hold_expires_at timestamptz,
        created_at timestamptz
    )
"""

END: LiteralString = """
    UPDATE {schema}.reservations AS reservation
    SET status = ending.status,
        payment_id = coalesce(ending.payment_id, reservation.payment_id),
        cancelled_at = ending.cancelled_at
    FROM json_to_recordset(%s) AS ending (
        reservation_id uuid, status text, payment_id uuid, cancelled_at timestamptz
    )
    WHERE reservation.reservation_id = ending.reservation_id
"""


class _Opened(msgspec.Struct):
    reservation_id: str
    position: int
    token_id: TokenId
    user_id: UserId
    code: ConcertCode
    date: date
    start_time: StartTime
    seat_numbers: tuple[int, ...]
    amount: int
    hold_expires_at: datetime
    created_at: datetime


class _Ending(msgspec.Struct):
    reservation_id: str
    status: ReservationStatus
    payment_id: PaymentId | None = None
    cancelled_at: datetime | None = None


class _Batch:
    def __init__(self) -> None:
        self._opened: list[_Opened] = []
        self._endings: dict[str, _Ending] = {}

    def writes(self) -> Iterable[Write]:
        return (Write(OPEN, self._opened), Write(END, list(self._endings.values())))

    def opened(self, event: ReservationOpened, recorded: RecordedEvent) -> None:
        self._opened.append(
            _Opened(
                _id(recorded), recorded.position, event.token_id, event.user_id, event.code, event.date,
                event.start_time, event.seat_numbers, event.amount, event.until, recorded.recorded_at,
            )
        )  # fmt: skip

    def confirmed(self, event: ReservationConfirmed, recorded: RecordedEvent) -> None:
        self._end(recorded, ReservationStatus.CONFIRMED).payment_id = event.payment_id

    def expired(self, _event: ReservationExpired, recorded: RecordedEvent) -> None:
        self._end(recorded, ReservationStatus.EXPIRED)

    def cancelled(self, _event: ReservationCancelled, recorded: RecordedEvent) -> None:
        self._end(recorded, ReservationStatus.CANCELLED).cancelled_at = recorded.recorded_at

    def _end(self, recorded: RecordedEvent, status: ReservationStatus) -> _Ending:
        """A paid reservation may end again, by a refund: the payment stays."""
        ending = self._endings.setdefault(recorded.stream, _Ending(_id(recorded), status))
        ending.status = status
        return ending


def _id(recorded: RecordedEvent) -> str:
    return recorded.stream.removeprefix("reservation/")


PROJECTION = Projection(
    "reservations",
    2,
    TABLES,
    _Batch,
    {
        ReservationOpened: _Batch.opened,
        ReservationConfirmed: _Batch.confirmed,
        ReservationExpired: _Batch.expired,
        ReservationCancelled: _Batch.cancelled,
    },
)


class ReservationFound(msgspec.Struct, frozen=True):
    """A reservation, as recorded: whether an open one has run out by now is for a clock to say."""

    reservation_id: ReservationId
    position: int
    """Where in the log it was opened; the place in its user's list."""
    token_id: TokenId
    user_id: UserId
    code: ConcertCode
    date: date
    start_time: StartTime
    seat_numbers: Sequence[int]
    amount: int
    """In won."""
    status: ReservationStatus
    hold_expires_at: datetime
    payment_id: PaymentId | None
    """What paid it, also after a refund."""
    created_at: datetime
    cancelled_at: datetime | None


FIND: LiteralString = """
    SELECT reservation_id, position, token_id, user_id, code, date, start_time, seat_numbers, amount, status,
           hold_expires_at, payment_id, created_at, cancelled_at
    FROM {schema}.reservations
    WHERE reservation_id = %(reservation_id)s
"""

OF_USER: LiteralString = """
    SELECT reservation_id, position, token_id, user_id, code, date, start_time, seat_numbers, amount, status,
           hold_expires_at, payment_id, created_at, cancelled_at
    FROM {schema}.reservations
    WHERE user_id = %(user_id)s AND position > %(after)s AND position <= reached.log_position
    ORDER BY position
    LIMIT %(limit)s
"""


def _code(reservation: ReservationFound) -> str:
    return reservation.code


async def find(
    connection: AsyncConnection[Any], reservation_id: ReservationId
) -> Found[ReservationFound | None]:
    """Return a reservation, None where none has this id."""
    parameters = {"reservation_id": reservation_id}
    return await find_one(connection, PROJECTION, FIND, parameters, ReservationFound, _code)


async def list_page(
    connection: AsyncConnection[Any], user_id: UserId, *, after: int = 0, limit: int
) -> Found[Page[ReservationFound, int]]:
    """Return up to `limit` of a user's reservations in the order of the log, those after position `after`.

    They are of several concerts, which may have come further than the position: there the list ends, so that
    none comes later with a place in a part of it that has been read.
    """
    parameters = {"user_id": user_id, "after": after, "limit": limit + 1}
    found = await find_all(connection, PROJECTION, OF_USER, parameters, ReservationFound)
    return page(found, limit, lambda reservation: reservation.position)
