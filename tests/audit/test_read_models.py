"""Every read model is compared, row by row and column by column, with the log, at its checkpoint."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, LiteralString

import psycopg
import pytest
from psycopg import Connection
from psycopg.sql import SQL, Identifier

import audit
from audit import Difference
from audit.read_models.comparison import READ_MODELS
from audit.read_models.table import Table
from projections.registry import PROJECTIONS
from tests.audit.database import project, store
from tests.audit.forgeries.forgery import ANN, BEN, GALA, let_in, on_sale
from tests.audit.log_builder import SHOW_STARTS_AT
from tests.audit.sales import a_sale_of_all_kinds
from tests.projections.tables import OF_BATCHES

TABLES = [table for read_model in READ_MODELS.values() for table in read_model.tables]

OTHERWISE: dict[str, LiteralString] = {
    "text": "{column} || '2'",
    "bigint": "{column} + 1",
    "integer": "{column} + 1",
    "boolean": "NOT {column}",
    "uuid": "gen_random_uuid()",
    "timestamp with time zone": "{column} + interval '1 microsecond'",
    "date": "{column} + 1",
    "jsonb": "'[]'",
    "ARRAY": "{column} || 1",
}
"""Another value, by the type of the column."""

OTHER_STATUS: dict[str, LiteralString] = {
    "seat_map.seats": "CASE {column} WHEN 'HELD' THEN 'SOLD' ELSE 'HELD' END",
    "queue.tokens": "CASE {column} WHEN 'WAITING' THEN 'ACTIVE' ELSE 'WAITING' END",
    "reservations.reservations": "CASE {column} WHEN 'OPEN' THEN 'EXPIRED' ELSE 'OPEN' END",
    "payments.payments": "CASE {column} WHEN 'FAILED' THEN 'COMPLETED' ELSE 'FAILED' END",
    "wallet_entries.entries": "CASE {column} WHEN 'CHARGED' THEN 'REFUNDED' ELSE 'CHARGED' END",
}
"""Likewise for the columns that take only some values."""


@pytest.fixture
def projected(dsn: str) -> str:
    """A database in which that sale is projected."""
    store(dsn, a_sale_of_all_kinds().rows())
    project(dsn)
    return dsn


def differences(dsn: str) -> list[Difference]:
    found: list[Difference] = []
    report = audit.run(dsn, on_difference=found.append)
    assert report.breaches == []
    assert report.read_models is not None
    assert report.read_models.different == len(found)
    assert report.ok == (not found)
    return found


def name_of(table: Table) -> Identifier:
    return Identifier(f"{table.projection}_v{READ_MODELS[table.projection].version}", table.name)


def columns_of(connection: Connection[Any], schema: str, table: str) -> dict[str, str]:
    rows = connection.execute(
        """
        SELECT column_name, data_type
        FROM information_schema.columns
        WHERE table_schema = %s AND table_name = %s AND is_generated = 'NEVER'
        """,
        (schema, table),
    )
    return dict(rows.fetchall())


def test_a1_read_models_that_follow_the_log_do_not_differ(projected: str) -> None:
    assert differences(projected) == []


def test_a1_every_projection_every_table_and_every_column_is_compared(connection: Connection[Any]) -> None:
    assert {name: model.version for name, model in READ_MODELS.items()} == {
        projection.name: projection.version for projection in PROJECTIONS
    }
    schemas = [projection.schema for projection in PROJECTIONS]
    there = connection.execute(
        """
        SELECT table_schema, table_name, column_name
        FROM information_schema.columns
        WHERE table_schema = ANY (%s) AND table_name <> %s
        """,
        (schemas, OF_BATCHES),
    ).fetchall()
    compared = {
        (f"{table.projection}_v{READ_MODELS[table.projection].version}", table.name, column)
        for table in TABLES
        for column in table.row.__struct_fields__
    }
    assert compared == set(there)


@pytest.mark.parametrize("table", TABLES, ids=[table.title for table in TABLES])
def test_a1_a_row_that_differs_in_any_column_is_found(
    projected: str, connection: Connection[Any], table: Table
) -> None:
    schema = f"{table.projection}_v{READ_MODELS[table.projection].version}"
    columns = columns_of(connection, schema, table.name)
    for column, data_type in columns.items():
        is_key = column in table.row.__struct_fields__[: table.key_length]
        other = OTHERWISE[data_type]
        if column in ("status", "type"):
            other = OTHER_STATUS[table.title]
        with tampered(connection, table, columns, column, other):
            found = differences(projected)
        assert {difference.read_model for difference in found} == {table.title}, column
        if is_key:
            assert sorted(difference.detail for difference in found) == [
                "the row is missing",
                "the row is surplus",
            ]
        else:
            (difference,) = found
            assert f"{column} is " in difference.detail
    assert differences(projected) == []


@pytest.mark.parametrize("table", TABLES, ids=[table.title for table in TABLES])
def test_a1_rows_that_are_missing_are_counted(
    projected: str, connection: Connection[Any], table: Table
) -> None:
    rows = connection.execute(SQL("DELETE FROM {}").format(name_of(table))).rowcount
    assert rows > 0
    before = audit.run(projected).read_models
    found = differences(projected)
    assert [difference.detail for difference in found] == ["the row is missing"] * rows
    assert {difference.read_model for difference in found} == {table.title}
    assert before is not None
    assert before.compared > before.different == rows


@contextmanager
def tampered(
    connection: Connection[Any], table: Table, columns: Iterable[str], column: str, other: LiteralString
) -> Iterator[None]:
    """Within it one row has another value in a column."""
    name, one = name_of(table), Identifier(column)
    connection.execute(SQL("CREATE TEMPORARY TABLE kept AS TABLE {}").format(name))
    change = SQL(
        """
        UPDATE {table} SET {column} = {other}
        WHERE ctid = (SELECT ctid FROM {table} WHERE {column} IS NOT NULL ORDER BY {column} DESC LIMIT 1)
        """
    )
    changed = connection.execute(
        change.format(table=name, column=one, other=SQL(other).format(column=one))
    ).rowcount
    assert changed == 1, column
    yield
    listed = SQL(", ").join(map(Identifier, columns))
    connection.execute(SQL("TRUNCATE {}").format(name))
    connection.execute(SQL("INSERT INTO {} ({}) SELECT {} FROM kept").format(name, listed, listed))
    connection.execute("DROP TABLE kept")


def test_a1_read_models_that_lag_are_compared_at_their_checkpoints(dsn: str) -> None:
    log = a_sale_of_all_kinds()
    events = log.events
    cut = len(events) // 2
    store(dsn, [event.row() for event in events[:cut]])
    project(dsn, PROJECTIONS[:4])
    store(dsn, [event.row() for event in events[cut:]])
    project(dsn, PROJECTIONS[:2])
    assert differences(dsn) == []
    project(dsn)
    assert differences(dsn) == []


def test_a1_a_read_model_that_never_ran_has_nothing_to_be_compared(dsn: str) -> None:
    log = on_sale()
    store(dsn, log.rows())
    with psycopg.connect(dsn) as connection:
        connection.execute("DELETE FROM ticketing.projection_checkpoints")
    report = audit.run(dsn)
    assert report.ok
    assert report.read_models == audit.Compared(compared=0, different=0)


def test_a1_an_event_that_a_read_model_passed_over_is_found(dsn: str, connection: Connection[Any]) -> None:
    log = on_sale()
    store(dsn, log.rows())
    project(dsn)
    log.events.clear()
    log.charge(ANN, 1)
    store(dsn, log.rows())
    connection.execute("UPDATE ticketing.projection_checkpoints SET position = %s", (log.position,))
    found = differences(dsn)
    assert sorted((difference.read_model, difference.detail) for difference in found) == [
        ("wallet_entries.entries", "the row is missing"),
        ("wallet_entries.wallets", "balance is 500000, not 500001"),
    ]


def test_a1_a_performance_that_is_over_is_compared_too(dsn: str, connection: Connection[Any]) -> None:
    log = on_sale()
    let_in(log, ANN, BEN)
    paid, open_still = log.reserve(GALA, ANN, 7), log.reserve(GALA, BEN, 8)
    log.pay(paid)
    log.release(open_still)
    log.now = SHOW_STARTS_AT
    log.withdraw(GALA)
    store(dsn, log.rows())
    project(dsn)
    assert differences(dsn) == []
    connection.execute("UPDATE seat_map_v1.seats SET status = 'AVAILABLE' WHERE seat_number = 7")
    connection.execute("UPDATE payments_v1.payments SET balance = balance + 1")
    connection.execute("UPDATE reservations_v2.reservations SET payment_id = NULL WHERE status = 'CONFIRMED'")
    assert {difference.read_model for difference in differences(dsn)} == {
        "seat_map.seats",
        "payments.payments",
        "reservations.reservations",
    }
