"""Connections to the database, and its tables."""

from pathlib import Path
from typing import Annotated, Any, TypeAlias

import psycopg
from fastapi import Depends, Request
from psycopg import AsyncConnection
from psycopg.rows import namedtuple_row
from psycopg_pool import AsyncConnectionPool

CONNECTIONS = 16

Connection: TypeAlias = AsyncConnection[Any]
Pool: TypeAlias = AsyncConnectionPool[Connection]


def create_tables(dsn: str) -> None:
    """Make the tables in an empty database."""
    statements = Path(__file__).with_name("schema.sql").read_bytes()
    with psycopg.connect(dsn) as connection:
        connection.execute(statements)


def pool(dsn: str) -> Pool:
    """Sixteen connections, to be opened. Each prepares a statement when it meets it for the fifth time.

    A statement is a transaction of its own unless it stands in one: so a read is one round trip.
    """
    options = {"autocommit": True, "row_factory": namedtuple_row}
    return AsyncConnectionPool(dsn, min_size=CONNECTIONS, max_size=CONNECTIONS, kwargs=options, open=False)


def _pool(request: Request) -> Pool:
    found: Pool = request.app.state.pool
    return found


async def _pool_of_request(request: Request) -> Pool:
    return _pool(request)


Database = Annotated[Pool, Depends(_pool_of_request)]
