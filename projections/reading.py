"""Reading the read models: plain SQL, and with each answer the log position that it reflects.

A query and the position of its projection are read in one statement, so from one snapshot: the answer is what
the log up to that very position says.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, Generic, LiteralString, TypeVar

import msgspec
from psycopg import AsyncConnection
from psycopg.rows import dict_row

from projections.projection import Projection, in_schema

T = TypeVar("T")
C = TypeVar("C")
R = TypeVar("R", bound=msgspec.Struct)

AT_POSITION: LiteralString = """
    SELECT checkpoint.log_position, answer.*
    FROM (
        SELECT coalesce(min(position), 0) AS log_position
        FROM ticketing.checkpoint_positions
        WHERE projection = %(projection)s AND version = %(version)s
    ) AS checkpoint
    LEFT JOIN (
        SELECT row_number() OVER () AS place, wanted.*
        FROM ({query}) AS wanted
    ) AS answer ON true
    ORDER BY answer.place
"""

LOCK_VERSIONS: LiteralString = "LOCK TABLE ticketing.projection_schemas IN ACCESS SHARE MODE"


class Found(msgspec.Struct, Generic[T], frozen=True):
    """What a read model says, and the log position that it reflects."""

    position: int
    value: T


class Page(msgspec.Struct, Generic[T, C], frozen=True):
    """Some of a long list, and what to continue after; `next` is None on the last page."""

    items: Sequence[T]
    next: C | None


async def find_all(
    connection: AsyncConnection[Any],
    projection: Projection[Any],
    query: LiteralString,
    parameters: Mapping[str, Any],
    row_type: type[R],
) -> Found[Sequence[R]]:
    """Return every row of the query, in its order. Its columns are named as the fields of `row_type`."""
    cursor = connection.cursor(binary=True, row_factory=dict_row)
    names = {"projection": projection.name, "version": projection.version}
    await cursor.execute(_at_position(query, projection.schema), {**parameters, **names})
    rows = await cursor.fetchall()
    found = [msgspec.convert(row, row_type) for row in rows if row["place"] is not None]
    return Found(rows[0]["log_position"], found)


async def find_one(
    connection: AsyncConnection[Any],
    projection: Projection[Any],
    query: LiteralString,
    parameters: Mapping[str, Any],
    row_type: type[R],
) -> Found[R | None]:
    """Return the query's only row, None where there is none."""
    found = await find_all(connection, projection, query, parameters, row_type)
    return Found(found.position, found.value[0] if found.value else None)


async def lock_versions(connection: AsyncConnection[Any]) -> None:
    """Have no rebuilt read model take its place before the transaction ends.

    To be called first in a transaction of one snapshot, which would otherwise look up the new tables, and not
    see the latest rows in them.
    """
    await connection.execute(LOCK_VERSIONS)


def page(found: Found[Sequence[T]], limit: int, key: Callable[[T], C]) -> Found[Page[T, C]]:
    """Cut a page of `limit` from an answer that was asked for one row more."""
    items = found.value[:limit]
    more = len(found.value) > limit
    return Found(found.position, Page(items, key(items[-1]) if more else None))


@cache
def _at_position(query: LiteralString, schema: str) -> bytes:
    return AT_POSITION.replace("{query}", in_schema(query, schema)).encode()
