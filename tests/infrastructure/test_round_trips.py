"""Statements in one message: what they come to, and what becomes of the connection when they do not."""

import asyncio
from datetime import UTC, datetime
from uuid import UUID

import psycopg
import pytest
from psycopg import AsyncConnection

from infrastructure.round_trips import RoundTrips
from tests.asynchronous import asynchronous

ADD = "SELECT $1::bigint + $2"
ECHO = "SELECT item FROM unnest($1::uuid[], $2::bytea[], $3::text[], $4::timestamptz[]) AS item (a, b, c, d)"
FAIL = "SELECT 1 / $1::int"
LATER = "SELECT 'later'"
MARK = "CREATE TABLE mark ()"
MARKED = "SELECT to_regclass('mark') IS NOT NULL"


async def trips_on(dsn: str) -> RoundTrips:
    return RoundTrips(await AsyncConnection.connect(dsn, autocommit=True))


@asynchronous
async def test_each_statement_has_its_rows_in_the_types_of_its_values(empty_dsn: str) -> None:
    trips = await trips_on(empty_dsn)
    values = [[UUID(int=7)], [b"\x00\xff"], ["공연"], [datetime(2026, 3, 2, tzinfo=UTC)]]
    for number in (3, 70_000, 2**40):  # each is another type to PostgreSQL
        rows = await trips.ask({ADD: [number, 4], ECHO: values, LATER: ()})
        assert rows[ADD] == [(number + 4,)]
        assert rows[ECHO] == [((UUID(int=7), b"\x00\xff", "공연", datetime(2026, 3, 2, tzinfo=UTC)),)]
        assert list(rows) == [ADD, ECHO, LATER]
    await trips.connection.close()


@asynchronous
async def test_after_a_statement_that_failed_none_is_executed(empty_dsn: str) -> None:
    trips = await trips_on(empty_dsn)
    with pytest.raises(psycopg.errors.DivisionByZero):
        await trips.ask({ADD: [1, 1], FAIL: [0], MARK: ()})
    assert (await trips.ask({MARKED: ()}))[MARKED] == [(False,)], "and the connection serves on"
    assert (await trips.ask({FAIL: [1]}))[FAIL] == [(1,)]
    await trips.connection.close()


@asynchronous
async def test_a_statement_that_cannot_be_prepared_takes_no_name_from_another(empty_dsn: str) -> None:
    trips = await trips_on(empty_dsn)
    for _ in range(2):
        with pytest.raises(psycopg.errors.UndefinedTable):
            await trips.ask({ADD: [1, 1], LATER: (), "SELECT FROM nowhere": ()})
    assert (await trips.ask({ADD: [1, 1], LATER: ()}))[ADD] == [(2,)]
    await trips.connection.close()


@asynchronous
async def test_more_than_the_socket_holds_goes_both_ways(empty_dsn: str) -> None:
    trips = await trips_on(empty_dsn)
    much = [b"x" * 1_000] * 5_000
    rows = await trips.ask(
        {"SELECT unnest($1::bytea[])": [much], "SELECT length($1::bytea)": [b"".join(much)]}
    )
    assert [len(found) for found in rows.values()] == [5_000, 1]
    await trips.connection.close()


@asynchronous
async def test_whoever_stops_waiting_closes_the_connection(empty_dsn: str) -> None:
    trips = await trips_on(empty_dsn)
    waiting = asyncio.create_task(trips.ask({"SELECT pg_sleep($1)": [30]}))
    await asyncio.wait([waiting], timeout=0.1)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert trips.connection.closed
    with pytest.raises(psycopg.OperationalError):
        await trips.ask({LATER: ()})
