"""Reading the log from PostgreSQL: in order, in batches, all of it from one snapshot.

The reader takes the columns as they are (binary, the state as bytes), so that reading costs a tenth of
replaying. The snapshot is shared with what else is compared at the same position.
"""

from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import psycopg
from psycopg import Connection, IsolationLevel

from audit.replay import Row
from audit.stored import stream_id

FETCHED_ROWS: Final = 5_000
"""Fetched at a time: some 2 MB of events, and far more than what a round trip costs."""


@contextmanager
def snapshot(dsn: str) -> Generator[Connection[Any]]:
    """Open a transaction that sees the database as it is now, and changes nothing."""
    with psycopg.connect(dsn, application_name="ticketing audit") as connection:
        connection.isolation_level = IsolationLevel.REPEATABLE_READ
        connection.read_only = True
        # A long log takes as long as it takes, and is slow to read only if we are.
        connection.execute("SET LOCAL timezone = 'UTC'")
        connection.execute("SET LOCAL statement_timeout = 0")
        connection.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
        yield connection


def last_position(connection: Connection[Any]) -> int:
    """The position of the log's last event; 0 for an empty log."""
    row = connection.execute(
        """
        SELECT coalesce(max(notification_id), 0)
        FROM ticketing.ticketing_events
        """
    ).fetchone()
    return int(row[0]) if row else 0


def batches(connection: Connection[Any]) -> Iterator[list[Row]]:
    """All events in the order of the log."""
    with connection.cursor("audit_log", binary=True) as cursor:
        cursor.execute(
            """
            SELECT notification_id, uuid_send(originator_id), originator_version, topic, state
            FROM ticketing.ticketing_events
            ORDER BY notification_id
            """
        )
        while rows := cursor.fetchmany(FETCHED_ROWS):
            yield rows


def streams(connection: Connection[Any], names: Sequence[str]) -> list[Row]:
    """All events of the streams of these names, in the order of the log."""
    with connection.cursor(binary=True) as cursor:
        return cursor.execute(
            """
            SELECT notification_id, uuid_send(originator_id), originator_version, topic, state
            FROM ticketing.ticketing_events
            WHERE originator_id = ANY (
                SELECT encode(id, 'hex')::uuid
                FROM unnest(%s::bytea[]) AS id
            )
            ORDER BY notification_id
            """,
            ([stream_id(name) for name in names],),
        ).fetchall()
