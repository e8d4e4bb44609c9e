"""Reading the read models: plain SQL, and with each answer the log position that it reflects.

A query and the position of its projection are read in one statement, so from one snapshot: the answer is what
the log up to that very position says. Partitions of the log are applied side by side. Where all that is asked
for belongs to one partition key, its partition's position counts, else that which all of them have reached.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, Generic, LiteralString, TypeVar

import msgspec
from psycopg import AsyncConnection
from psycopg.rows import dict_row

from projections.partitions import partition_of
from projections.projection import Projection, in_schema

LOOKED_UP_BY_KEYS = " ".join(
    f"-c {option}"
    for option in (
        "plan_cache_mode=force_generic_plan",
        "enable_seqscan=off",
        "enable_hashjoin=off",
        "enable_mergejoin=off",
    )
)
"""Options of a session whose statements find their rows by keys, whatever the statistics say of a table.

Those of a young table say that it is empty, or full of tokens that wait: plans made by them scan all of it as
long as they are kept. And plans are kept: to make one takes longer than to execute it.
"""

T = TypeVar("T")
C = TypeVar("C")
R = TypeVar("R", bound=msgspec.Struct)

AT_POSITION: LiteralString = """
    SELECT reached.log_positions, answer.*
    FROM (
        SELECT coalesce(min(position), 0) AS log_position,
               coalesce(array_agg(position ORDER BY partition), '{0}') AS log_positions
        FROM ticketing.projection_checkpoints
        WHERE projection = %(projection)s AND version = %(version)s
    ) AS reached
    LEFT JOIN LATERAL (
        SELECT row_number() OVER () AS place, wanted.*
        FROM ({query}) AS wanted
    ) AS answer ON true
    ORDER BY answer.place
"""
"""A query may end at `reached.log_position`, which all partitions have reached."""

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
    key: str | None = None,
) -> Found[Sequence[R]]:
    """Return every row of the query, in its order. Its columns are named as the fields of `row_type`.

    `key` is the partition key of all that is asked for, None where that is of several.
    """
    positions, found = await _find(connection, projection, query, parameters, row_type)
    return Found(position_of(positions, key), found)


async def find_one(
    connection: AsyncConnection[Any],
    projection: Projection[Any],
    query: LiteralString,
    parameters: Mapping[str, Any],
    row_type: type[R],
    key_of: Callable[[R], str],
) -> Found[R | None]:
    """Return the query's only row, None where there is none; `key_of` says what its partition key is."""
    positions, found = await _find(connection, projection, query, parameters, row_type)
    row = found[0] if found else None
    return Found(position_of(positions, None if row is None else key_of(row)), row)


async def _find(
    connection: AsyncConnection[Any],
    projection: Projection[Any],
    query: LiteralString,
    parameters: Mapping[str, Any],
    row_type: type[R],
) -> tuple[Sequence[int], Sequence[R]]:
    """Return the rows, and up to where they show each partition of the log."""
    cursor = connection.cursor(binary=True, row_factory=dict_row)
    names = {"projection": projection.name, "version": projection.version}
    await cursor.execute(_at_position(query, projection.schema), {**parameters, **names})
    rows = await cursor.fetchall()
    found = [msgspec.convert(row, row_type) for row in rows if row["place"] is not None]
    return rows[0]["log_positions"], found


def position_of(positions: Sequence[int], key: str | None = None) -> int:
    """Pick the position of a key's partition, or what all partitions have reached."""
    return min(positions) if key is None else positions[partition_of(key, len(positions))]


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
