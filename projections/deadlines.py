"""Deadlines: what runs out when, for the timer: holds, active tokens, sales by time, performances' starts.

A row goes when its deadline has been met or no longer matters. What is found here is a suggestion: the
commands that the timer sends decide again. `now` is the database's clock, unless another time is asked about.
"""

from collections.abc import Iterable, Sequence
from datetime import date, datetime
from typing import Any, LiteralString
from uuid import UUID

import msgspec
from psycopg import AsyncConnection

from aggregates.concert import (
    ConcertAnnounced,
    PerformanceScheduled,
    PolicyChanged,
    SalesClosed,
    SalesOpened,
)
from aggregates.event import RecordedEvent
from aggregates.ids import ConcertCode, ReservationId, StartTime, TokenId, UserId
from aggregates.policy import Policy
from aggregates.queue import SeatsWithdrawn
from aggregates.reservation import (
    ReservationCancelled,
    ReservationConfirmed,
    ReservationExpired,
    ReservationOpened,
)
from aggregates.token import (
    TokenActivated,
    TokenCancelled,
    TokenCompleted,
    TokenExpiredRecorded,
    TokenSeatsHeld,
    TokenSeatsReleased,
)
from projections.projection import Projection, Write
from projections.reading import Found, find_all

TABLES: LiteralString = """
CREATE TABLE {schema}.holds (
    reservation_id uuid PRIMARY KEY,
    code text NOT NULL,
    token_id uuid NOT NULL,
    user_id uuid NOT NULL,
    due_at timestamptz NOT NULL
);
CREATE INDEX holds_due ON {schema}.holds (due_at, reservation_id);

-- While a reservation of its is open past its own deadline, a token is not due.
CREATE TABLE {schema}.tokens (
    token_id uuid PRIMARY KEY,
    code text NOT NULL,
    user_id uuid NOT NULL,
    active_until timestamptz NOT NULL,
    due_at timestamptz NOT NULL
);
CREATE INDEX tokens_due ON {schema}.tokens (due_at, token_id);

CREATE TABLE {schema}.sales (
    code text PRIMARY KEY,
    opens_at timestamptz,
    closes_at timestamptz,
    is_open boolean NOT NULL DEFAULT false,
    changed_at timestamptz
);

CREATE TABLE {schema}.performances (
    code text,
    date date,
    start_time text,
    due_at timestamptz NOT NULL,
    PRIMARY KEY (code, date, start_time)
);
CREATE INDEX performances_due ON {schema}.performances (due_at);
"""

HOLD: LiteralString = """
    INSERT INTO {schema}.holds (reservation_id, code, token_id, user_id, due_at)
    SELECT reservation_id, code, token_id, user_id, due_at
    FROM json_to_recordset(%s) AS held (
        reservation_id uuid, code text, token_id uuid, user_id uuid, due_at timestamptz
    )
"""

END_HOLDS: LiteralString = """
    DELETE FROM {schema}.holds AS hold
    USING json_to_recordset(%s) AS ended (id uuid)
    WHERE hold.reservation_id = ended.id
"""

ACTIVATE: LiteralString = """
    INSERT INTO {schema}.tokens (token_id, code, user_id, active_until, due_at)
    SELECT token_id, code, user_id, active_until, greatest(active_until, held_until)
    FROM json_to_recordset(%s) AS activated (
        token_id uuid, code text, user_id uuid, active_until timestamptz, held_until timestamptz
    )
"""

EXTEND_TOKENS: LiteralString = """
    UPDATE {schema}.tokens AS token
    SET due_at = greatest(token.active_until, change.held_until)
    FROM json_to_recordset(%s) AS change (token_id uuid, held_until timestamptz)
    WHERE token.token_id = change.token_id
        AND token.due_at <> greatest(token.active_until, change.held_until)
"""
"""As a rule a hold ends before its token does, and changes nothing."""

END_TOKENS: LiteralString = """
    DELETE FROM {schema}.tokens AS token
    USING json_to_recordset(%s) AS ended (id uuid)
    WHERE token.token_id = ended.id
"""

CHANGE_SALES: LiteralString = """
    INSERT INTO {schema}.sales (code, opens_at, closes_at, is_open, changed_at)
    SELECT change.code,
           CASE WHEN change.has_times THEN change.opens_at ELSE sale.opens_at END,
           CASE WHEN change.has_times THEN change.closes_at ELSE sale.closes_at END,
           coalesce(change.is_open, sale.is_open, false),
           coalesce(change.changed_at, sale.changed_at)
    FROM json_to_recordset(%s) AS change (
        code text, has_times boolean, opens_at timestamptz, closes_at timestamptz, is_open boolean,
        changed_at timestamptz
    )
    LEFT JOIN {schema}.sales AS sale USING (code)
    ON CONFLICT (code) DO UPDATE
        SET opens_at = excluded.opens_at, closes_at = excluded.closes_at, is_open = excluded.is_open,
            changed_at = excluded.changed_at
"""

SCHEDULE: LiteralString = """
    WITH scheduled AS (
        SELECT code, date, start_time, due_at
        FROM json_to_recordset(%s) AS scheduled (code text, date date, start_time text, due_at timestamptz)
    ),
    begun AS (
        DELETE FROM {schema}.performances AS performance
        USING scheduled
        WHERE performance.code = scheduled.code AND performance.date = scheduled.date
            AND performance.start_time = scheduled.start_time AND performance.due_at = '9999-12-31T00:00:00Z'
        RETURNING performance.code, performance.date, performance.start_time
    )
    INSERT INTO {schema}.performances (code, date, start_time, due_at)
    SELECT code, date, start_time, due_at
    FROM scheduled
    WHERE (code, date, start_time) NOT IN (SELECT code, date, start_time FROM begun)
"""

WITHDRAW: LiteralString = """
    WITH begun AS (
        SELECT code, date, start_time
        FROM json_to_recordset(%s) AS begun (code text, date date, start_time text)
    ),
    met AS (
        DELETE FROM {schema}.performances AS performance
        USING begun
        WHERE performance.code = begun.code AND performance.date = begun.date
            AND performance.start_time = begun.start_time
        RETURNING performance.code, performance.date, performance.start_time
    )
    INSERT INTO {schema}.performances (code, date, start_time, due_at)
    SELECT code, date, start_time, '9999-12-31T00:00:00Z'
    FROM begun
    WHERE (code, date, start_time) NOT IN (SELECT code, date, start_time FROM met)
"""
"""One that was not scheduled yet, since that was parked, is remembered as never due until that comes late."""


class DueHold(msgspec.Struct, frozen=True):
    """A reservation's holds, which are over from `due_at` on."""

    reservation_id: ReservationId
    code: ConcertCode
    token_id: TokenId
    user_id: UserId
    due_at: datetime


class DueToken(msgspec.Struct, frozen=True):
    """An active token that ends at `due_at`, the later of its own deadline and its open reservation's."""

    token_id: TokenId
    code: ConcertCode
    user_id: UserId
    due_at: datetime


class DueSale(msgspec.Struct, frozen=True):
    """A sale that its timetable opens or closes at `due_at`."""

    code: ConcertCode
    due_at: datetime


class DuePerformance(msgspec.Struct, frozen=True):
    """A performance that begins at `due_at`: its unsold seats are to be withdrawn."""

    code: ConcertCode
    date: date
    start_time: StartTime
    due_at: datetime


class _Ended(msgspec.Struct):
    id: str | UUID


class _Active(msgspec.Struct):
    token_id: UUID
    code: str
    user_id: str
    active_until: datetime
    held_until: datetime | None = None


class _Extended(msgspec.Struct):
    token_id: UUID
    held_until: datetime | None


class _Sale(msgspec.Struct):
    code: str
    has_times: bool = False
    opens_at: datetime | None = None
    closes_at: datetime | None = None
    is_open: bool | None = None
    changed_at: datetime | None = None


class _Performance(msgspec.Struct):
    code: str
    date: date
    start_time: StartTime
    due_at: datetime | None = None


class _Batch:
    """What begins and ends within the batch leaves no trace in it."""

    def __init__(self) -> None:
        self._held: dict[str, DueHold] = {}
        self._holds_ended: dict[str, _Ended] = {}
        self._activated: dict[UUID, _Active] = {}
        self._extended: dict[UUID, _Extended] = {}
        self._tokens_ended: dict[UUID, _Ended] = {}
        self._sales: dict[str, _Sale] = {}
        self._scheduled: list[_Performance] = []
        self._withdrawn: list[_Performance] = []

    def writes(self) -> Iterable[Write]:
        return (
            Write(HOLD, list(self._held.values())),
            Write(END_HOLDS, list(self._holds_ended.values())),
            Write(ACTIVATE, list(self._activated.values())),
            Write(EXTEND_TOKENS, list(self._extended.values())),
            Write(END_TOKENS, list(self._tokens_ended.values())),
            Write(CHANGE_SALES, list(self._sales.values())),
            Write(SCHEDULE, self._scheduled),
            Write(WITHDRAW, self._withdrawn),
        )

    def reservation_opened(self, event: ReservationOpened, recorded: RecordedEvent) -> None:
        reservation_id = ReservationId(UUID(recorded.stream.removeprefix("reservation/")))
        hold = DueHold(reservation_id, event.code, event.token_id, event.user_id, event.until)
        self._held[recorded.stream] = hold

    def reservation_ended(
        self,
        _event: ReservationConfirmed | ReservationExpired | ReservationCancelled,
        recorded: RecordedEvent,
    ) -> None:
        if self._held.pop(recorded.stream, None) is None:
            reservation_id = recorded.stream.removeprefix("reservation/")
            self._holds_ended[recorded.stream] = _Ended(reservation_id)

    def token_activated(self, event: TokenActivated, recorded: RecordedEvent) -> None:
        token_id, (_, code, user_id) = recorded.correlation_id, recorded.stream.split("/")
        self._activated[token_id] = _Active(token_id, code, user_id, event.until)

    def seats_held(self, event: TokenSeatsHeld, recorded: RecordedEvent) -> None:
        self._extend(recorded.correlation_id, event.until)

    def seats_released(self, _event: TokenSeatsReleased, recorded: RecordedEvent) -> None:
        self._extend(recorded.correlation_id, None)

    def token_ended(
        self, _event: TokenCompleted | TokenExpiredRecorded | TokenCancelled, recorded: RecordedEvent
    ) -> None:
        token_id = recorded.correlation_id
        if self._activated.pop(token_id, None) is None:
            self._tokens_ended[token_id] = _Ended(token_id)

    def policy_set(self, event: ConcertAnnounced | PolicyChanged, recorded: RecordedEvent) -> None:
        self._set_times(self._sale(recorded), event.policy)

    def sales_opened(self, _event: SalesOpened, recorded: RecordedEvent) -> None:
        sale = self._sale(recorded)
        sale.is_open, sale.changed_at = True, recorded.recorded_at

    def sales_closed(self, _event: SalesClosed, recorded: RecordedEvent) -> None:
        sale = self._sale(recorded)
        sale.is_open, sale.changed_at = False, recorded.recorded_at

    def performance_scheduled(self, event: PerformanceScheduled, recorded: RecordedEvent) -> None:
        performance = _Performance(recorded.partition_key, event.date, event.start_time, event.starts_at)
        self._scheduled.append(performance)

    def seats_withdrawn(self, event: SeatsWithdrawn, recorded: RecordedEvent) -> None:
        self._withdrawn.append(_Performance(recorded.partition_key, event.date, event.start_time))

    def _extend(self, token_id: UUID, held_until: datetime | None) -> None:
        activated = self._activated.get(token_id)
        if activated is not None:
            activated.held_until = held_until
        else:
            self._extended[token_id] = _Extended(token_id, held_until)

    def _sale(self, recorded: RecordedEvent) -> _Sale:
        return self._sales.setdefault(recorded.partition_key, _Sale(recorded.partition_key))

    @staticmethod
    def _set_times(sale: _Sale, policy: Policy) -> None:
        sale.has_times = True
        sale.opens_at, sale.closes_at = policy.sales_open_at, policy.sales_close_at


PROJECTION = Projection(
    "deadlines",
    2,
    TABLES,
    _Batch,
    {
        ReservationOpened: _Batch.reservation_opened,
        ReservationConfirmed: _Batch.reservation_ended,
        ReservationExpired: _Batch.reservation_ended,
        ReservationCancelled: _Batch.reservation_ended,
        TokenActivated: _Batch.token_activated,
        TokenSeatsHeld: _Batch.seats_held,
        TokenSeatsReleased: _Batch.seats_released,
        TokenCompleted: _Batch.token_ended,
        TokenExpiredRecorded: _Batch.token_ended,
        TokenCancelled: _Batch.token_ended,
        ConcertAnnounced: _Batch.policy_set,
        PolicyChanged: _Batch.policy_set,
        SalesOpened: _Batch.sales_opened,
        SalesClosed: _Batch.sales_closed,
        PerformanceScheduled: _Batch.performance_scheduled,
        SeatsWithdrawn: _Batch.seats_withdrawn,
    },
)

HOLDS_DUE: LiteralString = """
    SELECT reservation_id, code, token_id, user_id, due_at
    FROM {schema}.holds
    WHERE due_at <= coalesce(%(now)s, statement_timestamp())
    ORDER BY due_at, reservation_id
    LIMIT %(limit)s
"""

TOKENS_DUE: LiteralString = """
    SELECT token_id, code, user_id, due_at
    FROM {schema}.tokens
    WHERE due_at <= coalesce(%(now)s, statement_timestamp())
    ORDER BY due_at, token_id
    LIMIT %(limit)s
"""

SALES_DUE: LiteralString = """
    SELECT code, due_at
    FROM (
        SELECT code, is_open, changed_at, greatest(past_open, past_close) AS due_at,
               past_close IS NOT NULL AND past_close >= coalesce(past_open, past_close) AS closes
        FROM {schema}.sales
        CROSS JOIN LATERAL (
            SELECT coalesce(%(now)s, statement_timestamp()) AS now
        ) AS clock
        CROSS JOIN LATERAL (
            SELECT CASE WHEN opens_at <= now THEN opens_at END AS past_open,
                   CASE WHEN closes_at <= now THEN closes_at END AS past_close
        ) AS past
    ) AS timetable
    WHERE due_at IS NOT NULL AND is_open = closes AND (changed_at IS NULL OR changed_at < due_at)
    ORDER BY due_at, code
    LIMIT %(limit)s
"""

PERFORMANCES_DUE: LiteralString = """
    SELECT code, date, start_time, due_at
    FROM {schema}.performances
    WHERE due_at <= coalesce(%(now)s, statement_timestamp())
    ORDER BY due_at, code
    LIMIT %(limit)s
"""


async def due_holds(
    connection: AsyncConnection[Any], *, limit: int, now: datetime | None = None
) -> Found[Sequence[DueHold]]:
    """Return the holds of open reservations that are over at `now`, the longest overdue first."""
    return await find_all(connection, PROJECTION, HOLDS_DUE, {"now": now, "limit": limit}, DueHold)


async def due_tokens(
    connection: AsyncConnection[Any], *, limit: int, now: datetime | None = None
) -> Found[Sequence[DueToken]]:
    """Return the active tokens that have run out at `now`, the longest overdue first."""
    return await find_all(connection, PROJECTION, TOKENS_DUE, {"now": now, "limit": limit}, DueToken)


async def due_sales(
    connection: AsyncConnection[Any], *, limit: int, now: datetime | None = None
) -> Found[Sequence[DueSale]]:
    """Return the sales that their timetable opens or closes by `now`, unless somebody did so since.

    Of two times that have passed the later one counts; at the same instant closing wins.
    """
    return await find_all(connection, PROJECTION, SALES_DUE, {"now": now, "limit": limit}, DueSale)


async def due_performances(
    connection: AsyncConnection[Any], *, limit: int, now: datetime | None = None
) -> Found[Sequence[DuePerformance]]:
    """Return the performances that have begun at `now` and whose seats were not withdrawn yet (rule L2)."""
    parameters = {"now": now, "limit": limit}
    return await find_all(connection, PROJECTION, PERFORMANCES_DUE, parameters, DuePerformance)
