"""Who stands in line with a number, as the log itself tells it: for a number that the read model lacks.

The queue's stream says in which append a number was issued, and the token was issued in that same append. The
stream is long, so it is searched by halves: a few short queries, however many numbers there are.
"""

from collections.abc import Sequence
from typing import Any, LiteralString

from psycopg import AsyncConnection

from aggregates import queue
from aggregates.event import RecordedEvent
from aggregates.ids import ConcertCode, UserId
from aggregates.queue import NumbersIssued
from aggregates.stream import Stream
from aggregates.token import TokenIssued
from infrastructure import codec

APPEND_PAGE = 500
"""How many events of an append are read at once."""

LAST_VERSION: LiteralString = """
    SELECT coalesce(max(originator_version), 0)
    FROM ticketing.ticketing_events
    WHERE originator_id = %s
"""

NEXT_ISSUE: LiteralString = """
    SELECT notification_id, originator_version, topic, state
    FROM ticketing.ticketing_events
    WHERE originator_id = %s AND originator_version >= %s AND topic = %s
    ORDER BY originator_version
    LIMIT 1
"""

EVENTS_BEFORE: LiteralString = """
    SELECT notification_id, originator_version, topic, state
    FROM ticketing.ticketing_events
    WHERE notification_id < %s
    ORDER BY notification_id DESC
    LIMIT %s
"""

Connection = AsyncConnection[Any]

Row = tuple[Any, ...]


async def find_owner(connection: Connection, code: ConcertCode, queue_number: int) -> UserId | None:
    """Return the user to whose token the number was issued, None where the log knows no such number."""
    issued = await _find_issue(connection, queue.stream(code), queue_number)
    if issued is None:
        return None
    before = issued.position
    while rows := await _rows_before(connection, before):
        for recorded in filter(None, map(_readable, rows)):
            if recorded.recorded_at != issued.recorded_at:
                return None
            match recorded.event:
                case TokenIssued(code=issued_for, queue_number=number, user_id=user_id):
                    if (issued_for, number) == (code, queue_number):
                        return user_id
        before = rows[-1][0]
    return None


async def _find_issue(connection: Connection, stream: Stream[Any], queue_number: int) -> RecordedEvent | None:
    """Find the first `queue.numbers_issued` that reaches the number."""
    low, high = 1, await _last_version(connection, stream) + 1
    found = None
    while low < high:
        middle = (low + high) // 2
        issued = await _next_issue(connection, stream, middle)
        if issued is not None and not _reaches(issued, queue_number):
            low = issued.version + 1
        else:
            found, high = issued or found, middle
    return found


def _reaches(issued: RecordedEvent, queue_number: int) -> bool:
    match issued.event:
        case NumbersIssued(last=last):
            return last >= queue_number
    return False


async def _last_version(connection: Connection, stream: Stream[Any]) -> int:
    rows = await (await connection.execute(LAST_VERSION, [stream.id])).fetchall()
    return int(rows[0][0])


async def _next_issue(connection: Connection, stream: Stream[Any], version: int) -> RecordedEvent | None:
    cursor = connection.cursor(binary=True)
    await cursor.execute(NEXT_ISSUE, [stream.id, version, NumbersIssued.topic])
    row = await cursor.fetchone()
    return None if row is None else _readable(row)


async def _rows_before(connection: Connection, position: int) -> Sequence[Row]:
    cursor = connection.cursor(binary=True)
    await cursor.execute(EVENTS_BEFORE, [position, APPEND_PAGE])
    return await cursor.fetchall()


def _readable(row: Row) -> RecordedEvent | None:
    """An event that cannot be read tells nobody's number."""
    try:
        return codec.decode(*row)
    except Exception:  # noqa: BLE001 (whatever is wrong with it)
        return None
