"""The seat map: every performance with its plan and its counts, and every seat that was ever taken.

The counts live here, and not with the concerts, because both seats and counts come from the seats' events:
one checkpoint makes them agree. A seat that no event names has no row; it is available as the plan says.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import date, datetime
from enum import StrEnum
from typing import Any, LiteralString

import msgspec
from psycopg import AsyncConnection

from aggregates.concert import PerformanceScheduled, SeatBlock
from aggregates.event import RecordedEvent
from aggregates.ids import ConcertCode, PerformanceName, StartTime, performance_name
from aggregates.seat import SeatHeld, SeatHoldExpired, SeatHoldReleased, SeatReturned, SeatSold
from projections.projection import Projection, Write
from projections.reading import Found, find_all, find_one

TABLES: LiteralString = """
CREATE TABLE {schema}.performances (
    code text,
    performance text,
    date date NOT NULL,
    start_time text NOT NULL,
    end_time text,
    starts_at timestamptz NOT NULL,
    plan jsonb NOT NULL,
    seats_total int NOT NULL,
    seats_held int NOT NULL DEFAULT 0,
    seats_sold int NOT NULL DEFAULT 0,
    changed_position bigint NOT NULL,
    PRIMARY KEY (code, performance)
) WITH (fillfactor = 50);

CREATE TABLE {schema}.seats (
    code text,
    performance text,
    seat_number int,
    status text NOT NULL CHECK (status IN ('AVAILABLE', 'HELD', 'SOLD')),
    held_until timestamptz,
    changed_position bigint NOT NULL,
    PRIMARY KEY (code, performance, seat_number)
) WITH (fillfactor = 50);
"""

SCHEDULE: LiteralString = """
    INSERT INTO {schema}.performances
        (code, performance, date, start_time, end_time, starts_at, plan, seats_total, seats_held, seats_sold,
         changed_position)
    SELECT code, performance, date, start_time, end_time, starts_at, plan, seats_total, taken.held,
           taken.sold, greatest(position, taken.changed_position)
    FROM json_to_recordset(%s) AS scheduled (
        code text, performance text, date date, start_time text, end_time text, starts_at timestamptz,
        plan jsonb, seats_total int, position bigint
    )
    CROSS JOIN LATERAL (
        SELECT count(*) FILTER (WHERE status = 'HELD') AS held,
               count(*) FILTER (WHERE status = 'SOLD') AS sold,
               max(changed_position) AS changed_position
        FROM {schema}.seats AS seat
        WHERE seat.code = scheduled.code AND seat.performance = scheduled.performance
    ) AS taken
"""
"""Seats that were taken before, since this was parked and comes late, are counted."""

COUNT: LiteralString = """
    UPDATE {schema}.performances AS performance
    SET seats_held = performance.seats_held + change.held,
        seats_sold = performance.seats_sold + change.sold,
        changed_position = greatest(performance.changed_position, change.position)
    FROM json_to_recordset(%s) AS change (
        code text, performance text, held int, sold int, position bigint
    )
    WHERE performance.code = change.code AND performance.performance = change.performance
"""

CHANGE_SEATS: LiteralString = """
    INSERT INTO {schema}.seats (code, performance, seat_number, status, held_until, changed_position)
    SELECT code, performance, seat_number, status, held_until, position
    FROM json_to_recordset(%s) AS change (
        code text, performance text, seat_number int, status text, held_until timestamptz, position bigint
    )
    ON CONFLICT (code, performance, seat_number) DO UPDATE
        SET status = excluded.status, held_until = excluded.held_until,
            changed_position = excluded.changed_position
"""


class SeatStatus(StrEnum):
    """What becomes of a seat, as recorded: a hold that lapsed stays HELD until its end is."""

    AVAILABLE = "AVAILABLE"
    HELD = "HELD"
    SOLD = "SOLD"


class _Scheduled(msgspec.Struct):
    code: str
    performance: PerformanceName
    date: date
    start_time: StartTime
    end_time: str | None
    starts_at: datetime
    plan: tuple[SeatBlock, ...]
    seats_total: int
    position: int


class _Counts(msgspec.Struct):
    code: str
    performance: str
    held: int = 0
    sold: int = 0
    position: int = 0


class _Seat(msgspec.Struct):
    code: str
    performance: str
    seat_number: str
    status: SeatStatus
    held_until: datetime | None
    position: int


class _Batch:
    def __init__(self) -> None:
        self._scheduled: list[_Scheduled] = []
        self._counts: dict[tuple[str, str], _Counts] = {}
        self._seats: dict[str, _Seat] = {}

    def writes(self) -> Iterable[Write]:
        return (
            Write(SCHEDULE, self._scheduled),
            Write(COUNT, list(self._counts.values())),
            Write(CHANGE_SEATS, list(self._seats.values())),
        )

    def performance_scheduled(self, event: PerformanceScheduled, recorded: RecordedEvent) -> None:
        self._scheduled.append(
            _Scheduled(
                recorded.partition_key, performance_name(event.date, event.start_time), event.date,
                event.start_time, event.end_time, event.starts_at, event.seats, event.seats[-1].last,
                recorded.position,
            )
        )  # fmt: skip

    def held(self, event: SeatHeld, recorded: RecordedEvent) -> None:
        self._becomes(recorded, SeatStatus.HELD, held=1, held_until=event.until)

    def hold_ended(self, _event: SeatHoldExpired | SeatHoldReleased, recorded: RecordedEvent) -> None:
        self._becomes(recorded, SeatStatus.AVAILABLE, held=-1)

    def sold(self, _event: SeatSold, recorded: RecordedEvent) -> None:
        self._becomes(recorded, SeatStatus.SOLD, held=-1, sold=1)

    def returned(self, _event: SeatReturned, recorded: RecordedEvent) -> None:
        self._becomes(recorded, SeatStatus.AVAILABLE, sold=-1)

    def _becomes(
        self,
        recorded: RecordedEvent,
        status: SeatStatus,
        *,
        held: int = 0,
        sold: int = 0,
        held_until: datetime | None = None,
    ) -> None:
        _, code, performance, seat_number = recorded.stream.split("/")
        position = recorded.position
        self._seats[recorded.stream] = _Seat(code, performance, seat_number, status, held_until, position)
        counts = self._counts.get((code, performance))
        if counts is None:
            counts = self._counts[code, performance] = _Counts(code, performance)
        counts.held += held
        counts.sold += sold
        counts.position = position


PROJECTION = Projection(
    "seat_map",
    1,
    TABLES,
    _Batch,
    {
        PerformanceScheduled: _Batch.performance_scheduled,
        SeatHeld: _Batch.held,
        SeatHoldExpired: _Batch.hold_ended,
        SeatHoldReleased: _Batch.hold_ended,
        SeatSold: _Batch.sold,
        SeatReturned: _Batch.returned,
    },
)


class PerformanceFound(msgspec.Struct, frozen=True):
    """A performance, its plan, and how many of its seats are held and sold."""

    code: ConcertCode
    date: date
    start_time: StartTime
    end_time: str | None
    starts_at: datetime
    plan: tuple[SeatBlock, ...]
    seats_total: int
    seats_held: int
    seats_sold: int
    changed_position: int
    """Up to where the log has changed it or one of its seats; a version of its seat map."""

    @property
    def performance(self) -> PerformanceName:
        """Its name within the concert."""
        return performance_name(self.date, self.start_time)

    @property
    def seats_available(self) -> int:
        """How many are neither held nor sold."""
        return self.seats_total - self.seats_held - self.seats_sold

    @property
    def min_price(self) -> int:
        """The cheapest seat's price in won, taken or not."""
        return min(block.price for block in self.plan)

    @property
    def max_price(self) -> int:
        """The dearest seat's price in won, taken or not."""
        return max(block.price for block in self.plan)


class _SeatMapFound(PerformanceFound, frozen=True):
    numbers: Sequence[int]
    statuses: Sequence[SeatStatus]
    deadlines: Sequence[datetime | None]
    positions: Sequence[int]


# gc=False: made by the ten thousand, and they hold nothing that could refer back to them.
class SeatTaken(msgspec.Struct, frozen=True, gc=False):
    """A seat that events have named, as they left it."""

    seat_number: int
    status: SeatStatus
    held_until: datetime | None
    changed_position: int


class SeatFound(msgspec.Struct, frozen=True, gc=False):
    """A seat of the plan as it stands."""

    seat_number: int
    type: str
    price: int
    status: SeatStatus
    held_until: datetime | None


class SeatMap(msgspec.Struct, frozen=True):
    """All seats of one performance."""

    performance: PerformanceFound
    taken: Sequence[SeatTaken]

    def seats(self) -> Iterator[SeatFound]:
        """Go through the plan by seat number, each seat with what became of it."""
        return expand(self.performance.plan, {seat.seat_number: seat for seat in self.taken})


class SeatCounts(msgspec.Struct, frozen=True):
    """A concert's seats, of all its performances."""

    available: int
    held: int
    sold: int


PERFORMANCES: LiteralString = """
    SELECT code, date, start_time, end_time, starts_at, plan, seats_total, seats_held, seats_sold,
           changed_position
    FROM {schema}.performances
    WHERE code = %(code)s
    ORDER BY starts_at, performance
"""

CHANGED_PERFORMANCES: LiteralString = """
    SELECT code, date, start_time, end_time, starts_at, plan, seats_total, seats_held, seats_sold,
           changed_position
    FROM {schema}.performances
    WHERE changed_position > %(position)s
    ORDER BY changed_position
"""

SEAT_MAP: LiteralString = """
    SELECT code, date, start_time, end_time, starts_at, plan, seats_total, seats_held, seats_sold,
           performance.changed_position, taken.*
    FROM {schema}.performances AS performance
    CROSS JOIN LATERAL (
        SELECT coalesce(array_agg(seat_number), '{{}}') AS numbers,
               coalesce(array_agg(status), '{{}}') AS statuses,
               coalesce(array_agg(held_until), '{{}}') AS deadlines,
               coalesce(array_agg(seat.changed_position), '{{}}') AS positions
        FROM {schema}.seats AS seat
        WHERE seat.code = performance.code AND seat.performance = performance.performance
    ) AS taken
    WHERE code = %(code)s AND performance = %(performance)s
"""

CHANGED_SEATS: LiteralString = """
    SELECT seat_number, status, held_until, changed_position
    FROM {schema}.seats
    WHERE code = %(code)s AND performance = %(performance)s AND changed_position > %(position)s
    ORDER BY changed_position, seat_number
"""

COUNTS: LiteralString = """
    SELECT coalesce(sum(seats_total - seats_held - seats_sold), 0)::bigint AS available,
           coalesce(sum(seats_held), 0)::bigint AS held, coalesce(sum(seats_sold), 0)::bigint AS sold
    FROM {schema}.performances
    WHERE code = %(code)s
"""


def _code(performance: PerformanceFound) -> str:
    return performance.code


async def performances(connection: AsyncConnection[Any], code: str) -> Found[Sequence[PerformanceFound]]:
    """Return a concert's performances by their start, begun ones too."""
    return await find_all(connection, PROJECTION, PERFORMANCES, {"code": code}, PerformanceFound, code)


async def performances_changed_since(
    connection: AsyncConnection[Any], position: int
) -> Found[Sequence[PerformanceFound]]:
    """Return the performances that changed, or whose seats did, after this log position; after 0, all."""
    return await find_all(
        connection, PROJECTION, CHANGED_PERFORMANCES, {"position": position}, PerformanceFound
    )


async def find(
    connection: AsyncConnection[Any], code: str, performance: PerformanceName
) -> Found[SeatMap | None]:
    """Return all seats of a performance, None where the concert has none of that name."""
    parameters = {"code": code, "performance": performance}
    found = await find_one(connection, PROJECTION, SEAT_MAP, parameters, _SeatMapFound, _code)
    if found.value is None:
        return Found(found.position, None)
    taken = map(
        SeatTaken, found.value.numbers, found.value.statuses, found.value.deadlines, found.value.positions
    )
    shown = msgspec.convert(found.value, PerformanceFound, from_attributes=True)
    return Found(found.position, SeatMap(shown, list(taken)))


async def seats_changed_since(
    connection: AsyncConnection[Any], code: str, performance: PerformanceName, position: int
) -> Found[Sequence[SeatTaken]]:
    """Return the seats of a performance that changed after this log position, in that order."""
    parameters = {"code": code, "performance": performance, "position": position}
    return await find_all(connection, PROJECTION, CHANGED_SEATS, parameters, SeatTaken, code)


async def counts(connection: AsyncConnection[Any], code: str) -> Found[SeatCounts]:
    """Add up a concert's seats."""
    found = await find_all(connection, PROJECTION, COUNTS, {"code": code}, SeatCounts, code)
    return Found(found.position, found.value[0])


def expand(plan: Sequence[SeatBlock], taken: dict[int, SeatTaken]) -> Iterator[SeatFound]:
    """Go through a plan by seat number, each seat with what became of it."""
    for block in plan:
        for number in range(block.first, block.last + 1):
            seat = taken.get(number)
            if seat is None:
                yield SeatFound(number, block.type, block.price, SeatStatus.AVAILABLE, None)
            else:
                yield SeatFound(number, block.type, block.price, seat.status, seat.held_until)
