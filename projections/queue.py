"""The queue: every line with its exact counts, and every token with its place and where it stands.

What the boards of API processes and the timer's suggestions are made of. The counts of waiting and active
come from the queue's own stream, so they never drift from what the gate counts.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, LiteralString
from uuid import UUID

import msgspec
from psycopg import AsyncConnection

from aggregates.event import RecordedEvent
from aggregates.ids import ConcertCode, PerformanceName, ReservationId, TokenId, UserId, performance_name
from aggregates.queue import (
    NumbersIssued,
    QueueAdvanced,
    QueueOpened,
    QueuePaused,
    QueueResumed,
    SeatsAdded,
    SeatsReturned,
    SeatsSold,
    SeatsWithdrawn,
    SlotsFreed,
)
from aggregates.token import (
    TokenActivated,
    TokenCancelled,
    TokenCompleted,
    TokenExpiredRecorded,
    TokenIssued,
    TokenSeatsHeld,
    TokenSeatsReleased,
    TokenStatus,
)
from projections.projection import Projection, Write, in_schema
from projections.reading import Found, find_all, find_one

TABLES: LiteralString = """
CREATE TABLE {schema}.queues (
    code text PRIMARY KEY,
    issued bigint NOT NULL DEFAULT 0,
    head bigint NOT NULL DEFAULT 0,
    active bigint NOT NULL DEFAULT 0,
    paused boolean NOT NULL DEFAULT false,
    completed bigint NOT NULL DEFAULT 0,
    expired bigint NOT NULL DEFAULT 0,
    cancelled bigint NOT NULL DEFAULT 0,
    changed_position bigint NOT NULL
) WITH (fillfactor = 50);

-- Once begun a performance stays withdrawn, whatever is sold or returned of it later.
CREATE TABLE {schema}.performances (
    code text,
    performance text,
    unsold bigint NOT NULL,
    withdrawn boolean NOT NULL,
    PRIMARY KEY (code, performance)
) WITH (fillfactor = 50);

CREATE TABLE {schema}.admissions (
    code text,
    admitted_at timestamptz,
    activated bigint NOT NULL,
    PRIMARY KEY (code, admitted_at)
);

CREATE TABLE {schema}.tokens (
    token_id uuid PRIMARY KEY,
    code text NOT NULL,
    queue_number bigint NOT NULL,
    user_id uuid NOT NULL,
    status text NOT NULL CHECK (status IN ('WAITING', 'ACTIVE', 'COMPLETED', 'EXPIRED', 'CANCELLED')),
    issued_at timestamptz NOT NULL,
    activated_at timestamptz,
    active_until timestamptz,
    reservation_id uuid,
    reservation_until timestamptz,
    ended_at timestamptz,
    changed_position bigint NOT NULL,
    UNIQUE (code, queue_number)
) WITH (fillfactor = 50);
CREATE INDEX tokens_active ON {schema}.tokens (code, queue_number) WHERE status = 'ACTIVE';
CREATE INDEX tokens_left_early ON {schema}.tokens (code, queue_number)
    WHERE status = 'CANCELLED' AND activated_at IS NULL;

-- What each batch changed, for those who follow. With an index on their position instead, every change would
-- enter the token anew in all indexes.
CREATE TABLE {schema}.token_changes (
    position bigint NOT NULL,
    token_ids uuid[] NOT NULL,
    changed_at timestamptz NOT NULL
);
CREATE INDEX token_changes_by_position ON {schema}.token_changes (position);
CREATE INDEX token_changes_by_age ON {schema}.token_changes (changed_at);
"""

CHANGES_KEPT_S = 300
"""Who follows looks many times a second; whoever has not for so long begins anew."""

OPEN: LiteralString = """
    INSERT INTO {schema}.queues (code, completed, expired, cancelled, changed_position)
    SELECT opened.code, ended.completed, ended.expired, ended.cancelled,
           greatest(position, ended.changed_position)
    FROM json_to_recordset(%s) AS opened (code text, position bigint)
    CROSS JOIN LATERAL (
        SELECT count(*) FILTER (WHERE status = 'COMPLETED') AS completed,
               count(*) FILTER (WHERE status = 'EXPIRED') AS expired,
               count(*) FILTER (WHERE status = 'CANCELLED') AS cancelled,
               max(changed_position) FILTER (WHERE ended_at IS NOT NULL) AS changed_position
        FROM {schema}.tokens AS token
        WHERE token.code = opened.code
    ) AS ended
"""
"""Tokens that ended before, since this was parked and comes late, are counted."""

CHANGE: LiteralString = """
    UPDATE {schema}.queues AS queue
    SET issued = greatest(change.issued, queue.issued),
        head = greatest(change.head, queue.head),
        active = queue.active + change.active,
        paused = coalesce(change.paused, queue.paused),
        completed = queue.completed + change.completed,
        expired = queue.expired + change.expired,
        cancelled = queue.cancelled + change.cancelled,
        changed_position = greatest(queue.changed_position, change.position)
    FROM json_to_recordset(%s) AS change (
        code text, issued bigint, head bigint, active bigint, paused boolean, completed bigint,
        expired bigint, cancelled bigint, position bigint
    )
    WHERE queue.code = change.code
"""

COUNT_SEATS: LiteralString = """
    INSERT INTO {schema}.performances AS performance (code, performance, unsold, withdrawn)
    SELECT code, performance, unsold, withdrawn
    FROM json_to_recordset(%s) AS change (code text, performance text, unsold bigint, withdrawn boolean)
    ON CONFLICT (code, performance) DO UPDATE
        SET unsold = performance.unsold + excluded.unsold,
            withdrawn = performance.withdrawn OR excluded.withdrawn
"""

ADMIT: LiteralString = """
    INSERT INTO {schema}.admissions (code, admitted_at, activated)
    SELECT code, admitted_at, activated
    FROM json_to_recordset(%s) AS admission (code text, admitted_at timestamptz, activated bigint)
"""

ISSUE: LiteralString = """
    INSERT INTO {schema}.tokens
        (token_id, code, queue_number, user_id, status, issued_at, changed_position)
    SELECT token_id, code, queue_number, user_id, 'WAITING', issued_at, position
    FROM json_to_recordset(%s) AS issued (
        token_id uuid, code text, queue_number bigint, user_id uuid, issued_at timestamptz, position bigint
    )
"""

CHANGE_TOKENS: LiteralString = """
    WITH changed AS (
        UPDATE {schema}.tokens AS token
        SET status = coalesce(change.status, token.status),
            activated_at = coalesce(change.activated_at, token.activated_at),
            active_until = coalesce(change.active_until, token.active_until),
            ended_at = coalesce(change.ended_at, token.ended_at),
            reservation_id =
                CASE WHEN change.hold_changed THEN change.reservation_id ELSE token.reservation_id END,
            reservation_until =
                CASE WHEN change.hold_changed THEN change.reservation_until ELSE token.reservation_until END,
            changed_position = change.position
        FROM json_to_recordset(%s) AS change (
            token_id uuid, status text, activated_at timestamptz, active_until timestamptz,
            ended_at timestamptz, hold_changed boolean, reservation_id uuid, reservation_until timestamptz,
            position bigint
        )
        WHERE token.token_id = change.token_id
        RETURNING token.token_id, change.position
    )
    INSERT INTO {schema}.token_changes (position, token_ids, changed_at)
    SELECT max(position), array_agg(token_id), clock_timestamp()
    FROM changed
    HAVING count(*) > 0
"""


class _Opened(msgspec.Struct):
    code: str
    position: int


class _Line(msgspec.Struct):
    code: str
    issued: int = 0
    head: int = 0
    active: int = 0
    paused: bool | None = None
    completed: int = 0
    expired: int = 0
    cancelled: int = 0
    position: int = 0


class _Seats(msgspec.Struct):
    code: str
    performance: str
    unsold: int = 0
    withdrawn: bool = False


class _Admission(msgspec.Struct):
    code: str
    admitted_at: datetime
    activated: int


class _Issued(msgspec.Struct):
    token_id: TokenId
    code: ConcertCode
    queue_number: int
    user_id: UserId
    issued_at: datetime
    position: int


class _TokenChange(msgspec.Struct, omit_defaults=True):
    token_id: UUID
    status: TokenStatus | None = None
    activated_at: datetime | None = None
    active_until: datetime | None = None
    ended_at: datetime | None = None
    hold_changed: bool = False
    reservation_id: ReservationId | None = None
    reservation_until: datetime | None = None
    position: int = 0


class _Batch:
    def __init__(self) -> None:
        self._opened: list[_Opened] = []
        self._lines: dict[str, _Line] = {}
        self._seats: dict[tuple[str, str], _Seats] = {}
        self._admissions: list[_Admission] = []
        self._issued: list[_Issued] = []
        self._tokens: dict[UUID, _TokenChange] = {}

    def writes(self) -> Iterable[Write]:
        return (
            Write(OPEN, self._opened),
            Write(CHANGE, list(self._lines.values())),
            Write(COUNT_SEATS, list(self._seats.values())),
            Write(ADMIT, self._admissions),
            Write(ISSUE, self._issued),
            Write(CHANGE_TOKENS, list(self._tokens.values())),
        )

    def queue_opened(self, _event: QueueOpened, recorded: RecordedEvent) -> None:
        self._opened.append(_Opened(recorded.partition_key, recorded.position))

    def numbers_issued(self, event: NumbersIssued, recorded: RecordedEvent) -> None:
        self._line(recorded).issued = event.last

    def advanced(self, event: QueueAdvanced, recorded: RecordedEvent) -> None:
        line = self._line(recorded)
        line.head = event.head
        line.active += event.activated
        if event.activated:
            self._admissions.append(_Admission(line.code, recorded.recorded_at, event.activated))

    def slots_freed(self, event: SlotsFreed, recorded: RecordedEvent) -> None:
        self._line(recorded).active -= event.count

    def seats_sold(self, event: SeatsSold, recorded: RecordedEvent) -> None:
        self._count(recorded, event.by_performance, -1)

    def seats_came(self, event: SeatsReturned | SeatsAdded, recorded: RecordedEvent) -> None:
        self._count(recorded, event.by_performance, 1)

    def seats_withdrawn(self, event: SeatsWithdrawn, recorded: RecordedEvent) -> None:
        performance = performance_name(event.date, event.start_time)
        self._seats_of(self._line(recorded).code, performance).withdrawn = True

    def paused(self, _event: QueuePaused, recorded: RecordedEvent) -> None:
        self._line(recorded).paused = True

    def resumed(self, _event: QueueResumed, recorded: RecordedEvent) -> None:
        self._line(recorded).paused = False

    def issued(self, event: TokenIssued, recorded: RecordedEvent) -> None:
        self._issued.append(
            _Issued(
                event.token_id, event.code, event.queue_number, event.user_id, recorded.recorded_at,
                recorded.position,
            )
        )  # fmt: skip

    def activated(self, event: TokenActivated, recorded: RecordedEvent) -> None:
        change = self._token(recorded)
        change.status = TokenStatus.ACTIVE
        change.activated_at = recorded.recorded_at
        change.active_until = event.until

    def seats_held(self, event: TokenSeatsHeld, recorded: RecordedEvent) -> None:
        change = self._token(recorded)
        change.hold_changed = True
        change.reservation_id, change.reservation_until = event.reservation_id, event.until

    def seats_released(self, _event: TokenSeatsReleased, recorded: RecordedEvent) -> None:
        change = self._token(recorded)
        change.hold_changed = True
        change.reservation_id = change.reservation_until = None

    def completed(self, _event: TokenCompleted, recorded: RecordedEvent) -> None:
        self._ended(recorded, TokenStatus.COMPLETED).completed += 1

    def expired(self, _event: TokenExpiredRecorded, recorded: RecordedEvent) -> None:
        self._ended(recorded, TokenStatus.EXPIRED).expired += 1

    def cancelled(self, _event: TokenCancelled, recorded: RecordedEvent) -> None:
        self._ended(recorded, TokenStatus.CANCELLED).cancelled += 1

    def _ended(self, recorded: RecordedEvent, status: TokenStatus) -> _Line:
        change = self._token(recorded)
        change.status = status
        change.ended_at = recorded.recorded_at
        change.hold_changed = True
        change.reservation_id = change.reservation_until = None
        return self._line(recorded)

    def _token(self, recorded: RecordedEvent) -> _TokenChange:
        """A token's events carry its id as correlation id, whoever records them."""
        change = self._tokens.get(recorded.correlation_id)
        if change is None:
            change = self._tokens[recorded.correlation_id] = _TokenChange(recorded.correlation_id)
        change.position = recorded.position
        return change

    def _line(self, recorded: RecordedEvent) -> _Line:
        line = self._lines.get(recorded.partition_key)
        if line is None:
            line = self._lines[recorded.partition_key] = _Line(recorded.partition_key)
        line.position = recorded.position
        return line

    def _count(
        self, recorded: RecordedEvent, by_performance: Mapping[PerformanceName, int], sign: int
    ) -> None:
        code = self._line(recorded).code
        for performance, count in by_performance.items():
            self._seats_of(code, performance).unsold += sign * count

    def _seats_of(self, code: str, performance: str) -> _Seats:
        return self._seats.setdefault((code, performance), _Seats(code, performance))


PROJECTION = Projection(
    "queue",
    2,
    TABLES,
    _Batch,
    {
        QueueOpened: _Batch.queue_opened,
        NumbersIssued: _Batch.numbers_issued,
        QueueAdvanced: _Batch.advanced,
        SeatsSold: _Batch.seats_sold,
        SlotsFreed: _Batch.slots_freed,
        SeatsReturned: _Batch.seats_came,
        SeatsAdded: _Batch.seats_came,
        SeatsWithdrawn: _Batch.seats_withdrawn,
        QueuePaused: _Batch.paused,
        QueueResumed: _Batch.resumed,
        TokenIssued: _Batch.issued,
        TokenActivated: _Batch.activated,
        TokenSeatsHeld: _Batch.seats_held,
        TokenSeatsReleased: _Batch.seats_released,
        TokenCompleted: _Batch.completed,
        TokenExpiredRecorded: _Batch.expired,
        TokenCancelled: _Batch.cancelled,
    },
)


class Line(msgspec.Struct, frozen=True):
    """One concert's queue in exact counts."""

    code: ConcertCode
    issued: int
    """The last queue number issued."""
    head: int
    """The highest number that the gate has passed."""
    active: int
    paused: bool
    completed: int
    expired: int
    cancelled: int
    seats_left: int
    """Seats not sold, of performances that have not been recorded as begun."""
    changed_position: int

    @property
    def waiting(self) -> int:
        """How many tokens wait, without those who left early."""
        return self.issued - self.active - self.completed - self.expired - self.cancelled


class TokenFound(msgspec.Struct, frozen=True):
    """One token, as recorded: whether it has run out by now is for `active_until` and a clock to say."""

    token_id: TokenId
    user_id: UserId
    code: ConcertCode
    queue_number: int
    status: TokenStatus
    issued_at: datetime
    activated_at: datetime | None
    active_until: datetime | None
    reservation_id: ReservationId | None
    """Its open reservation."""
    reservation_until: datetime | None
    """The deadline of its open reservation's holds."""
    ended_at: datetime | None
    changed_position: int

    @property
    def ends_at(self) -> datetime | None:
        """Q5: when an active token ends: at its deadline, or with its open reservation if that is later."""
        if self.active_until is None or self.reservation_until is None:
            return self.active_until
        return max(self.active_until, self.reservation_until)


class TokenStands(msgspec.Struct, frozen=True, gc=False):
    """What those who follow know of a token that has been let in, or has left."""

    token_id: TokenId
    code: ConcertCode
    queue_number: int
    status: TokenStatus
    activated_at: datetime | None
    ends_at: datetime | None
    """Q5: see `TokenFound.ends_at`."""


class EarlyLeaver(msgspec.Struct, frozen=True):
    """A number beyond the head whose token has ended without being let in."""

    code: ConcertCode
    queue_number: int


class Admissions(msgspec.Struct, frozen=True):
    """How many were let in to one concert within a span of time."""

    code: ConcertCode
    activated: int
    first_at: datetime
    last_at: datetime


class Admitted(msgspec.Struct, frozen=True):
    """How many were let in to one concert lately."""

    code: ConcertCode
    activated: int


LINES: LiteralString = """
    SELECT queue.code, issued, head, active, paused, completed, expired, cancelled,
           coalesce(seats.unsold, 0)::bigint AS seats_left, changed_position
    FROM {schema}.queues AS queue
    LEFT JOIN (
        SELECT code, sum(unsold) AS unsold
        FROM {schema}.performances
        WHERE NOT withdrawn
        GROUP BY code
    ) AS seats USING (code)
    WHERE changed_position > %(position)s
    ORDER BY changed_position
"""

LINE: LiteralString = """
    SELECT queue.code, issued, head, active, paused, completed, expired, cancelled,
           (
               SELECT coalesce(sum(unsold), 0)::bigint
               FROM {schema}.performances AS seats
               WHERE seats.code = queue.code AND NOT withdrawn
           ) AS seats_left,
           changed_position
    FROM {schema}.queues AS queue
    WHERE queue.code = %(code)s
"""

FIND_TOKEN: LiteralString = """
    SELECT token_id, user_id, code, queue_number, status, issued_at, activated_at, active_until,
           reservation_id, reservation_until, ended_at, changed_position
    FROM {schema}.tokens
    WHERE token_id = %(token_id)s
"""

IN_LINE: LiteralString = """
    SELECT token_id, user_id, code, queue_number, status, issued_at, activated_at, active_until,
           reservation_id, reservation_until, ended_at, changed_position
    FROM {schema}.tokens
    WHERE code = %(code)s AND queue_number > %(after)s
    ORDER BY queue_number
    LIMIT %(limit)s
"""

ACTIVE: LiteralString = """
    SELECT token_id, code, queue_number, status, activated_at,
           greatest(active_until, reservation_until) AS ends_at
    FROM {schema}.tokens
    WHERE status = 'ACTIVE'
    ORDER BY code, queue_number
"""

CHANGED_TOKENS: LiteralString = """
    SELECT token_id, code, queue_number, status, activated_at,
           greatest(active_until, reservation_until) AS ends_at
    FROM (
        SELECT DISTINCT unnest(token_ids) AS token_id
        FROM {schema}.token_changes
        WHERE position > %(position)s
    ) AS changed
    JOIN {schema}.tokens USING (token_id)
    WHERE status <> 'WAITING'
"""

REMOVE_CHANGES: LiteralString = """
    DELETE FROM {schema}.token_changes
    WHERE changed_at < statement_timestamp() - make_interval(secs => %s)
"""

EARLY_LEAVERS: LiteralString = """
    SELECT token.code, token.queue_number
    FROM {schema}.queues AS queue
    JOIN {schema}.tokens AS token ON token.code = queue.code AND token.queue_number > queue.head
    WHERE token.status = 'CANCELLED' AND token.activated_at IS NULL
    ORDER BY token.code, token.queue_number
"""

ADMISSIONS: LiteralString = """
    SELECT code, sum(activated)::bigint AS activated,
           min(admitted_at) AS first_at, max(admitted_at) AS last_at
    FROM {schema}.admissions
    WHERE admitted_at > %(since)s
    GROUP BY code
    ORDER BY code
"""

ADMITTED: LiteralString = """
    SELECT wanted.code, coalesce(sum(activated), 0)::bigint AS activated
    FROM unnest(%(codes)s::text[], %(intervals_s)s::int[]) AS wanted (code, interval_s)
    LEFT JOIN {schema}.admissions AS admission
        ON admission.code = wanted.code
        AND admission.admitted_at >= statement_timestamp() - make_interval(secs => wanted.interval_s)
    GROUP BY wanted.code
    ORDER BY wanted.code
"""


def _code(found: Line | TokenFound) -> str:
    return found.code


async def lines_changed_since(connection: AsyncConnection[Any], position: int) -> Found[Sequence[Line]]:
    """Return the queues that changed after this log position, in that order; after 0, all."""
    return await find_all(connection, PROJECTION, LINES, {"position": position}, Line)


async def find_line(connection: AsyncConnection[Any], code: str) -> Found[Line | None]:
    """Return a concert's queue, None where there is no such concert."""
    return await find_one(connection, PROJECTION, LINE, {"code": code}, Line, _code)


async def find_token(connection: AsyncConnection[Any], token_id: TokenId) -> Found[TokenFound | None]:
    """Return a token, whatever its status, None where none has this id."""
    return await find_one(connection, PROJECTION, FIND_TOKEN, {"token_id": token_id}, TokenFound, _code)


async def in_line(
    connection: AsyncConnection[Any], code: str, *, after: int, limit: int
) -> Found[Sequence[TokenFound]]:
    """Return the next tokens after the number `after`, by number, also those that have ended.

    After the head these are whom the gate comes to next.
    """
    parameters = {"code": code, "after": after, "limit": limit}
    return await find_all(connection, PROJECTION, IN_LINE, parameters, TokenFound)


async def active_tokens(connection: AsyncConnection[Any]) -> Found[Sequence[TokenStands]]:
    """Return every active token: what a board starts from."""
    return await find_all(connection, PROJECTION, ACTIVE, {}, TokenStands)


async def tokens_changed_since(
    connection: AsyncConnection[Any], position: int
) -> Found[Sequence[TokenStands]]:
    """Return tokens that were activated, changed or ended after this log position, in no particular order.

    Those that changed before may be among them. What changed more than CHANGES_KEPT_S ago may be missing.
    """
    return await find_all(connection, PROJECTION, CHANGED_TOKENS, {"position": position}, TokenStands)


async def early_leavers(connection: AsyncConnection[Any]) -> Found[Sequence[EarlyLeaver]]:
    """Return the numbers that will not be called: beyond the head, with tokens that have ended."""
    return await find_all(connection, PROJECTION, EARLY_LEAVERS, {}, EarlyLeaver)


async def admissions_since(connection: AsyncConnection[Any], since: datetime) -> Found[Sequence[Admissions]]:
    """Return how many were let in after `since`, by concert."""
    return await find_all(connection, PROJECTION, ADMISSIONS, {"since": since}, Admissions)


async def admitted_within(
    connection: AsyncConnection[Any], intervals_s: Mapping[ConcertCode, int]
) -> Found[Sequence[Admitted]]:
    """Return how many each of these concerts has let in within its last so many seconds."""
    parameters = {"codes": list(intervals_s), "intervals_s": list(intervals_s.values())}
    return await find_all(connection, PROJECTION, ADMITTED, parameters, Admitted)


async def remove_old_changes(connection: AsyncConnection[Any]) -> None:
    """Forget which tokens have changed, so long ago that everyone who follows has seen it."""
    await connection.execute(in_schema(REMOVE_CHANGES, PROJECTION.schema).encode(), [CHANGES_KEPT_S])
