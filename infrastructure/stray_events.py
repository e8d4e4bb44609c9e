"""Where stored events belong whose envelope cannot be read, so that nobody sees their stream or their key."""

from collections.abc import Mapping, Sequence
from typing import Any, LiteralString

from psycopg import AsyncConnection
from psycopg.rows import tuple_row

from infrastructure import codec
from infrastructure.messages import Whose

BESIDE: LiteralString = """
    SELECT stray.notification_id, stray.originator_id, beside.state
    FROM ticketing.ticketing_events AS stray
    LEFT JOIN LATERAL (
        SELECT other.originator_version, other.state
        FROM ticketing.ticketing_events AS other
        WHERE other.originator_id = stray.originator_id AND other.notification_id <> stray.notification_id
        ORDER BY other.originator_version
        LIMIT 100
    ) AS beside ON true
    WHERE stray.notification_id = ANY(%s)
    ORDER BY stray.notification_id, beside.originator_version DESC
"""


async def find(connection: AsyncConnection[Any], positions: Sequence[int]) -> Mapping[int, Whose]:
    """Return whose these events are: they go by the key of what stands first in their stream.

    The key is empty where nothing else of the stream can be read.
    """
    cursor = connection.cursor(row_factory=tuple_row, binary=True)
    await cursor.execute(BESIDE, [list(positions)])
    found: dict[int, Whose] = {}
    for position, stream_id, state in await cursor.fetchall():
        form = None if state is None else codec.find_form(state)
        if form is not None:
            found[position] = Whose(stream_id, form.partition_key)
        found.setdefault(position, Whose(stream_id, ""))
    return found
