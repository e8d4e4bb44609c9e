"""Puts logs into a real database as they are stored, and lets the real projections follow them."""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

import psycopg

from infrastructure.feed import PostgresFeed
from projections.projection import Projection
from projections.projector import Projector
from projections.registry import PROJECTIONS
from tests.audit.log_builder import StoredRow


def store(dsn: str, rows: Iterable[StoredRow]) -> None:
    """Write events into the log's table, at the positions that they name."""
    with psycopg.connect(dsn) as connection, connection.cursor() as cursor:
        columns = "notification_id, originator_id, originator_version, topic, state"
        with cursor.copy(f"COPY ticketing.ticketing_events ({columns}) FROM STDIN (FORMAT BINARY)") as copy:
            copy.set_types(["int8", "uuid", "int8", "text", "bytea"])
            for position, id_, version, topic, state in rows:
                copy.write_row((position, UUID(bytes=id_), version, topic, state))


def project(dsn: str, projections: Sequence[Projection[Any]] = PROJECTIONS) -> None:
    """Let these projections catch up with the log."""

    async def catch_up() -> None:
        feed = PostgresFeed(dsn)
        projector = Projector(dsn, feed, projections)
        while await projector.advance():
            pass
        await projector.close()
        await feed.close()
        assert not any(standing.failures for standing in projector.standings.values())

    asyncio.run(catch_up())
