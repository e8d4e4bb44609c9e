"""The log as a feed, read from PostgreSQL: followed by polling, in order, without missing an event."""

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import Any, LiteralString

from psycopg import AsyncConnection

from aggregates.event import RecordedEvent
from infrastructure import codec

APPEND_LOOK_S, APPEND_LOOKS_MAX = 0.002, 50
"""How long, and how often, to wait for an append that is under way: most take a few ms."""

CONNECT_TIMEOUT_S = 3

Row = tuple[Any, ...]

READ: LiteralString = """
    SELECT notification_id, originator_version, topic, state
    FROM ticketing.ticketing_events
    WHERE notification_id > %s
    ORDER BY notification_id
    LIMIT %s
"""

LAST_POSITION: LiteralString = """
    SELECT coalesce(max(notification_id), 0) FROM ticketing.ticketing_events
"""

WRITERS: LiteralString = """
    SELECT virtualtransaction
    FROM pg_locks
    WHERE locktype = 'relation'
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
        AND relation = 'ticketing.ticketing_events'::regclass
        AND mode IN ('RowExclusiveLock', 'ExclusiveLock', 'ShareRowExclusiveLock', 'AccessExclusiveLock')
        AND granted
"""


class PostgresFeed:
    """The events of the log, through one connection of its own that is made anew when it is lost."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._connection: AsyncConnection[Row] | None = None

    async def read(self, after: int, limit: int) -> Sequence[RecordedEvent]:
        """Return up to `limit` events that follow `after`: whole appends, if more than one fits.

        A position that is missing may be one that an append still under way has taken. What stands behind it
        is returned when no such append is left: so nothing is missed of writers that take no lock, either.
        """
        rows = await self._fetch(READ, after, limit)
        cut = len(rows) == limit
        if rows and rows[-1][0] - after > len(rows):
            seen_until = rows[-1][0]
            if await self._appends_have_ended():
                rows = [row for row in await self._fetch(READ, after, limit) if row[0] <= seen_until]
            else:
                rows, cut = _before_gap(after, rows), True
        events = [codec.decode(*row) for row in rows]
        return _whole_appends(events) if events and cut else events

    async def last_position(self) -> int:
        """Return the position of the last event, 0 where there is none."""
        ((position,),) = await self._fetch(LAST_POSITION)
        return int(position)

    async def close(self) -> None:
        """Close the connection."""
        self._lose_connection()

    def _lose_connection(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.pgconn.finish()

    async def _appends_have_ended(self) -> bool:
        """Wait a while for every transaction that is appending now to commit or roll back."""
        appending = set(await self._fetch(WRITERS))
        for _ in range(APPEND_LOOKS_MAX):
            if not appending:
                return True
            await asyncio.sleep(APPEND_LOOK_S)
            appending &= set(await self._fetch(WRITERS))
        return not appending

    async def _fetch(self, query: LiteralString, *parameters: int) -> Sequence[Row]:
        try:
            cursor = await (await self._connected()).execute(query, parameters, binary=True)
            return await cursor.fetchall()
        except BaseException:
            self._lose_connection()
            raise

    async def _connected(self) -> AsyncConnection[Row]:
        if self._connection is None:
            self._connection = await AsyncConnection.connect(
                self._dsn,
                autocommit=True,
                prepare_threshold=0,
                connect_timeout=CONNECT_TIMEOUT_S,
                application_name="ticketing-feed",
            )
        return self._connection


def _before_gap(after: int, rows: Sequence[Row]) -> Sequence[Row]:
    return [row for position, row in enumerate(rows, start=after + 1) if row[0] == position]


def _whole_appends(events: Sequence[RecordedEvent]) -> Sequence[RecordedEvent]:
    """Leave out the last append, which may go on behind the last event, unless it is all there is."""
    last: datetime = events[-1].recorded_at
    end = len(events)
    while end and events[end - 1].recorded_at == last:
        end -= 1
    return events[:end] or events
