"""What stands in the tables: to write a log into its own, and to compare all that projections made of it."""

from collections.abc import Mapping, Sequence
from typing import Any

import psycopg
from psycopg.sql import SQL, Identifier

from aggregates.event import RecordedEvent
from aggregates.stream import stream_id
from infrastructure import codec
from projections.projection import Projection
from projections.registry import PROJECTIONS

Rows = Sequence[str]

INSERT = """
    INSERT INTO ticketing.ticketing_events
        (originator_id, originator_version, topic, state, notification_id)
    VALUES (%s, %s, %s, %s, %s)
"""

TABLES = """
    SELECT table_schema, table_name
    FROM information_schema.tables
    WHERE table_schema = ANY(%s) AND table_name <> %s
    ORDER BY table_schema, table_name
"""

OF_BATCHES = "token_changes"
"""Shows how the log was cut into batches, and so is another each time."""


def write_log(connection: psycopg.Connection[Any], events: Sequence[RecordedEvent]) -> None:
    """Write events into the log, at their positions."""
    with connection.cursor() as cursor:
        cursor.executemany(
            INSERT,
            [
                (
                    stream_id(event.stream),
                    event.version,
                    event.event.topic,
                    stored_state(event),
                    event.position,
                )
                for event in events
            ],
        )


def projected(connection: psycopg.Connection[Any]) -> Mapping[str, Rows]:
    """Return the rows of every table of every projection, and the checkpoints, in an order of their own."""
    tables = [*of(connection, *PROJECTIONS), ("ticketing", "projection_checkpoints")]
    return {f"{schema}.{table}": _rows(connection, schema, table) for schema, table in tables}


def empty(connection: psycopg.Connection[Any]) -> None:
    """Forget everything that was projected, as before the first event."""
    for schema, table in of(connection, *PROJECTIONS):
        connection.execute(SQL("DELETE FROM {}").format(Identifier(schema, table)))
    connection.execute("UPDATE ticketing.projection_checkpoints SET position = 0")


def of(connection: psycopg.Connection[Any], *projections: Projection[Any]) -> Sequence[tuple[str, str]]:
    """Return schema and name of all tables of these projections that show the log."""
    schemas = [projection.schema for projection in projections]
    return connection.execute(TABLES, [schemas, OF_BATCHES]).fetchall()


def _rows(connection: psycopg.Connection[Any], schema: str, table: str) -> Rows:
    query = SQL("SELECT one::text FROM {} AS one").format(Identifier(schema, table))
    return sorted(row for (row,) in connection.execute(query))


def stored_state(event: RecordedEvent) -> bytes:
    """Return the event as the log stores it, but for what has a column of its own."""
    form = codec.StoredForm(
        event.stream,
        event.partition_key,
        event.recorded_at,
        event.command_id,
        event.correlation_id,
        event.causation_id,
        event.event,
    )
    return codec.encode(form)
