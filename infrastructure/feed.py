"""The log as a feed, read from PostgreSQL: followed by polling, in order, without missing an event."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, LiteralString
from uuid import UUID

from psycopg import AsyncConnection

from aggregates.event import RecordedEvent
from infrastructure import codec
from projections.feed import Unreadable

APPEND_LOOK_S, APPEND_LOOKS_MAX = 0.002, 50
"""How long, and how often, to wait for an append that is under way: most take a few ms."""

CONNECT_TIMEOUT_S = 3

Row = tuple[Any, ...]
"""An event as it is stored: its position, its version, its topic and its state."""

STATE = 3

READ: LiteralString = """
    SELECT notification_id, originator_version, topic, state
    FROM ticketing.ticketing_events
    WHERE notification_id > %s
    ORDER BY notification_id
    LIMIT %s
"""

READ_AT: LiteralString = """
    SELECT notification_id, originator_version, topic, state
    FROM ticketing.ticketing_events
    WHERE notification_id = ANY(%s)
    ORDER BY notification_id
"""

STREAM_IDS: LiteralString = """
    SELECT notification_id, originator_id
    FROM ticketing.ticketing_events
    WHERE notification_id = ANY(%s)
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
        """Return up to `limit` events that follow `after`: whole appends, if more than one fits."""
        return await self._decoded(await self.read_rows(after, limit))

    async def read_rows(self, after: int, limit: int) -> Sequence[Row]:
        """Return up to `limit` events that follow `after` as they are stored, likewise.

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
        return _whole_appends(rows) if cut else rows

    async def read_at(self, positions: Sequence[int]) -> Sequence[RecordedEvent]:
        """Return the events at these positions, in order."""
        return await self._decoded(await self._fetch(READ_AT, list(positions)))

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

    async def _decoded(self, rows: Sequence[Row]) -> Sequence[RecordedEvent]:
        try:
            return [codec.decode(*row) for row in rows]
        except Exception:  # noqa: BLE001 (what is wrong is kept with each event that it is wrong with)
            found = await self._fetch(STREAM_IDS, [row[0] for row in rows])
            return _decoded_one_by_one(rows, dict(found))

    async def _fetch(self, query: LiteralString, *parameters: int | list[int]) -> Sequence[Row]:
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


def _decoded_one_by_one(rows: Sequence[Row], stream_ids: Mapping[int, UUID]) -> Sequence[RecordedEvent]:
    events: list[RecordedEvent] = []
    for row in rows:
        try:
            events.append(codec.decode(*row))
        except Exception as error:  # noqa: BLE001 (whatever an upcast makes of what was never an event)
            beside = events[-1].recorded_at if events else datetime.now(UTC)
            events.append(_unreadable(row, stream_ids[row[0]], error, beside))
    return events


def _unreadable(row: Row, stream_id: UUID, error: Exception, beside: datetime) -> RecordedEvent:
    position, version, topic, state = row
    event = Unreadable(topic, codec.meant_by(topic), stream_id, f"{type(error).__name__}: {error}")
    form = codec.find_form(state)
    if form is None:
        return RecordedEvent(
            position, str(stream_id), version, event, "", beside, stream_id, stream_id, stream_id
        )
    return RecordedEvent(
        position, form.stream, version, event, form.partition_key, form.recorded_at, form.command_id,
        form.correlation_id, form.causation_id,
    )  # fmt: skip


def _before_gap(after: int, rows: Sequence[Row]) -> Sequence[Row]:
    return [row for position, row in enumerate(rows, start=after + 1) if row[0] == position]


def _whole_appends(rows: Sequence[Row]) -> Sequence[Row]:
    """Leave out the last append, which may go on behind the last event, unless it is all there is.

    What cannot be read counts as part of the append before it.
    """
    last: datetime | None = None
    end = len(rows)
    for index in reversed(range(len(rows))):
        form = codec.find_form(rows[index][STATE])
        if form is not None and form.recorded_at != (last or form.recorded_at):
            break
        if form is not None:
            last, end = form.recorded_at, index
    return rows[:end] or rows
