"""Reading one stream of the log, as it is stored."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, LiteralString
from uuid import UUID

import msgspec
from psycopg import AsyncConnection

from infrastructure import codec

STREAM: LiteralString = """
    SELECT notification_id, originator_version, topic, state
    FROM ticketing.ticketing_events
    WHERE originator_id = %s AND originator_version > %s
    ORDER BY originator_version
    LIMIT %s
"""

LAST_POSITION: LiteralString = "SELECT coalesce(max(notification_id), 0) FROM ticketing.ticketing_events"


class StoredEvent(msgspec.Struct, frozen=True):
    """An event as it is stored, its payload not interpreted."""

    position: int
    version: int
    topic: str
    recorded_at: datetime | None
    """None, and so the ids, for what is no event; the payload is then all that is stored, as text."""
    command_id: UUID | None
    correlation_id: UUID | None
    payload: msgspec.Raw


async def read_stream(
    connection: AsyncConnection[Any], stream_id: UUID, *, after: int, limit: int
) -> Sequence[StoredEvent]:
    """Return up to `limit` events of a stream that follow its version `after`."""
    cursor = connection.cursor(binary=True)
    await cursor.execute(STREAM, [stream_id, after, limit])
    return [_stored(*row) for row in await cursor.fetchall()]


async def last_position(connection: AsyncConnection[Any]) -> int:
    """Return the position of the last event, 0 in an empty log."""
    cursor = await connection.execute(LAST_POSITION)
    row = await cursor.fetchone()
    return 0 if row is None else row[0]


def _stored(position: int, version: int, topic: str, state: bytes) -> StoredEvent:
    form = codec.find_form(state)
    if form is None:
        text = msgspec.json.encode(state.decode(errors="replace"))
        return StoredEvent(position, version, topic, None, None, None, msgspec.Raw(text))
    return StoredEvent(
        position, version, topic, form.recorded_at, form.command_id, form.correlation_id, form.payload
    )
