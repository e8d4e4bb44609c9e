"""Concerts: what is sold, under which policy, from when to when, and whether the sale is open.

Performances with their seats are in `seat_map`, which counts them.
"""

from collections.abc import Iterable, Sequence
from datetime import date, datetime
from typing import Any, LiteralString

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
from aggregates.ids import ConcertCode
from aggregates.policy import Policy
from projections.projection import Projection, Write
from projections.reading import Found, Page, find_all, find_one, page

TABLES: LiteralString = """
CREATE TABLE {schema}.concerts (
    code text PRIMARY KEY,
    title text NOT NULL,
    description text NOT NULL,
    category text NOT NULL,
    venue text NOT NULL,
    time_zone text NOT NULL,
    policy jsonb NOT NULL,
    sales_open boolean NOT NULL DEFAULT false,
    first_date date,
    last_date date,
    changed_position bigint NOT NULL
);
CREATE INDEX concerts_by_category ON {schema}.concerts (category, code);
"""

ANNOUNCE: LiteralString = """
    INSERT INTO {schema}.concerts
        (code, title, description, category, venue, time_zone, policy, changed_position)
    SELECT code, title, description, category, venue, time_zone, policy, position
    FROM json_to_recordset(%s) AS announced (
        code text, title text, description text, category text, venue text, time_zone text, policy jsonb,
        position bigint
    )
"""

CHANGE: LiteralString = """
    UPDATE {schema}.concerts AS concert
    SET policy = coalesce(change.policy, concert.policy),
        sales_open = coalesce(change.sales_open, concert.sales_open),
        first_date = least(change.first_date, concert.first_date),
        last_date = greatest(change.last_date, concert.last_date),
        changed_position = change.position
    FROM json_to_recordset(%s) AS change (
        code text, policy jsonb, sales_open boolean, first_date date, last_date date, position bigint
    )
    WHERE concert.code = change.code
"""


class _Announced(msgspec.Struct):
    code: ConcertCode
    title: str
    description: str
    category: str
    venue: str
    time_zone: str
    policy: Policy
    position: int


class _Change(msgspec.Struct):
    code: str
    position: int = 0
    policy: Policy | None = None
    sales_open: bool | None = None
    first_date: date | None = None
    last_date: date | None = None


class _Batch:
    def __init__(self) -> None:
        self._announced: list[_Announced] = []
        self._changes: dict[str, _Change] = {}

    def writes(self) -> Iterable[Write]:
        return (Write(ANNOUNCE, self._announced), Write(CHANGE, list(self._changes.values())))

    def announced(self, event: ConcertAnnounced, recorded: RecordedEvent) -> None:
        self._announced.append(
            _Announced(
                event.code, event.title, event.description, event.category, event.venue, event.time_zone,
                event.policy, recorded.position,
            )
        )  # fmt: skip

    def performance_scheduled(self, event: PerformanceScheduled, recorded: RecordedEvent) -> None:
        change = self._change(recorded)
        change.first_date = min(event.date, change.first_date or event.date)
        change.last_date = max(event.date, change.last_date or event.date)

    def policy_changed(self, event: PolicyChanged, recorded: RecordedEvent) -> None:
        self._change(recorded).policy = event.policy

    def sales_opened(self, _event: SalesOpened, recorded: RecordedEvent) -> None:
        self._change(recorded).sales_open = True

    def sales_closed(self, _event: SalesClosed, recorded: RecordedEvent) -> None:
        self._change(recorded).sales_open = False

    def _change(self, recorded: RecordedEvent) -> _Change:
        code = recorded.partition_key
        change = self._changes.setdefault(code, _Change(code))
        change.position = recorded.position
        return change


PROJECTION = Projection(
    "concerts",
    1,
    TABLES,
    _Batch,
    {
        ConcertAnnounced: _Batch.announced,
        PerformanceScheduled: _Batch.performance_scheduled,
        PolicyChanged: _Batch.policy_changed,
        SalesOpened: _Batch.sales_opened,
        SalesClosed: _Batch.sales_closed,
    },
)


class ConcertFound(msgspec.Struct, frozen=True):
    """A concert as it is listed. Its sales times stand in its policy."""

    code: ConcertCode
    title: str
    description: str
    category: str
    venue: str
    time_zone: str
    policy: Policy
    sales_open: bool
    first_date: date | None
    """None until a performance is scheduled."""
    last_date: date | None
    changed_position: int

    @property
    def sales_open_at(self) -> datetime | None:
        """When the timer opens the sale, None for by hand."""
        return self.policy.sales_open_at

    @property
    def sales_close_at(self) -> datetime | None:
        """When the timer closes the sale, None for by hand."""
        return self.policy.sales_close_at


FIND: LiteralString = """
    SELECT code, title, description, category, venue, time_zone, policy, sales_open, first_date,
           last_date, changed_position
    FROM {schema}.concerts
    WHERE code = %(code)s
"""

LIST: LiteralString = """
    SELECT code, title, description, category, venue, time_zone, policy, sales_open, first_date,
           last_date, changed_position
    FROM {schema}.concerts
    WHERE code > %(after)s AND (%(category)s::text IS NULL OR category = %(category)s)
    ORDER BY code
    LIMIT %(limit)s
"""

CHANGED: LiteralString = """
    SELECT code, title, description, category, venue, time_zone, policy, sales_open, first_date,
           last_date, changed_position
    FROM {schema}.concerts
    WHERE changed_position > %(position)s
    ORDER BY changed_position
"""


def _code(concert: ConcertFound) -> str:
    return concert.code


async def find(connection: AsyncConnection[Any], code: str) -> Found[ConcertFound | None]:
    """Return the concert known by `code`, None where there is none."""
    return await find_one(connection, PROJECTION, FIND, {"code": code}, ConcertFound, _code)


async def list_page(
    connection: AsyncConnection[Any], *, category: str | None = None, after: str | None = None, limit: int
) -> Found[Page[ConcertFound, str]]:
    """Return up to `limit` concerts by code, those after the code `after`, of one category or of all."""
    parameters = {"category": category, "after": after or "", "limit": limit + 1}
    found = await find_all(connection, PROJECTION, LIST, parameters, ConcertFound)
    return page(found, limit, lambda concert: concert.code)


async def changed_since(connection: AsyncConnection[Any], position: int) -> Found[Sequence[ConcertFound]]:
    """Return the concerts that changed after this log position, in that order; after 0, all."""
    return await find_all(connection, PROJECTION, CHANGED, {"position": position}, ConcertFound)
