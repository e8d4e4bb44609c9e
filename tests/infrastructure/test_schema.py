"""The schema: what migrations make of a database, once, whoever asks and however many at a time."""

import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any, LiteralString
from uuid import uuid4

import psycopg
import pytest
from eventsourcing.persistence import StoredEvent
from eventsourcing.postgres import PostgresApplicationRecorder, PostgresDatastore
from psycopg.conninfo import conninfo_to_dict

from infrastructure.event_log import APPEND_LOCK
from infrastructure.recorder import EVENTS_TABLE, log_recorder
from infrastructure.schema import (
    Migration,
    SchemaError,
    SchemaNotCurrent,
    check,
    load_migrations,
    migrate,
)
from projections.registry import PROJECTIONS

COLUMNS: LiteralString = """
    SELECT table_name, column_name, data_type, is_nullable, column_default
    FROM information_schema.columns
    WHERE table_schema = %s
    ORDER BY table_name, ordinal_position
"""

INDEXES: LiteralString = "SELECT indexdef FROM pg_indexes WHERE schemaname = %s ORDER BY indexname"

CONSTRAINTS: LiteralString = """
    SELECT conrelid::regclass::text, pg_get_constraintdef(oid)
    FROM pg_constraint
    WHERE connamespace = %s::regnamespace
    ORDER BY 1, 2
"""

OPTIONS: LiteralString = """
    SELECT relname, relkind::text, reloptions
    FROM pg_class
    WHERE relnamespace = %s::regnamespace
    ORDER BY relname
"""


def rows(dsn: str, query: LiteralString, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
    with psycopg.connect(dsn) as connection:
        return connection.execute(query, parameters).fetchall()


def execute(dsn: str, statement: LiteralString, parameters: Sequence[Any] = ()) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(statement, parameters)


def described(dsn: str, schema: str) -> list[list[tuple[Any, ...]]]:
    """Describe all that a schema is made of, so that two can be compared."""
    return [rows(dsn, query, [schema]) for query in (COLUMNS, INDEXES, CONSTRAINTS, OPTIONS)]


def test_a_database_that_was_migrated_is_current(empty_dsn: str) -> None:
    lacked = migrate(empty_dsn)
    assert lacked == [
        *(migration.name for migration in load_migrations()),
        *(projection.schema for projection in PROJECTIONS),
    ]
    check(empty_dsn)


def test_migrating_again_changes_nothing(dsn: str) -> None:
    before = described(dsn, "ticketing")
    epoch = rows(dsn, "SELECT epoch FROM ticketing.log_epochs")
    assert migrate(dsn) == []
    assert described(dsn, "ticketing") == before
    assert rows(dsn, "SELECT epoch FROM ticketing.log_epochs") == epoch


def test_step_by_step_gives_the_same_as_all_at_once(empty_dsn: str, dsn: str) -> None:
    migrations = load_migrations()
    execute(empty_dsn, "CREATE SCHEMA ticketing")
    for count in range(2, len(migrations) + 1):  # the second brings what the projections are entered in
        migrate(empty_dsn, migrations[:count], projections=())
    assert described(empty_dsn, "ticketing") == described(dsn, "ticketing")


def test_processes_that_migrate_at_once_do_it_once(empty_dsn: str) -> None:
    with ProcessPoolExecutor(3, mp_context=multiprocessing.get_context("spawn")) as processes:
        lacked = list(processes.map(migrate, [empty_dsn] * 6))
    assert sorted(map(len, lacked)) == [0, 0, 0, 0, 0, len(load_migrations()) + len(PROJECTIONS)]
    check(empty_dsn)


def test_every_projection_starts_before_the_first_event(dsn: str) -> None:
    checkpoints = rows(
        dsn, "SELECT projection, version, partition, position FROM ticketing.projection_checkpoints"
    )
    assert sorted(checkpoints) == sorted((each.name, each.version, 0, 0) for each in PROJECTIONS)


def test_every_table_beside_the_log_says_what_it_is_for(dsn: str) -> None:
    silent = rows(
        dsn,
        """
        SELECT relname
        FROM pg_class
        WHERE relnamespace = 'ticketing'::regnamespace AND relkind = 'r'
          AND relname <> 'ticketing_events' AND obj_description(oid, 'pg_class') IS NULL
        """,
    )
    assert silent == []


def test_migrations_are_numbered_without_gaps_so_that_none_is_overlooked() -> None:
    assert [migration.number for migration in load_migrations()] == list(range(1, len(load_migrations()) + 1))


def test_a_step_that_fails_leaves_nothing_of_itself(empty_dsn: str) -> None:
    migrations = load_migrations()
    broken = Migration(len(migrations) + 1, "broken", "CREATE TABLE ticketing.half (); SELECT 1 / 0;")
    with pytest.raises(psycopg.errors.DivisionByZero):
        migrate(empty_dsn, [*migrations, broken])
    assert rows(empty_dsn, "SELECT to_regclass('ticketing.half')") == [(None,)]
    migrate(empty_dsn)
    check(empty_dsn)


def test_an_empty_database_is_not_current(empty_dsn: str) -> None:
    with pytest.raises(SchemaNotCurrent, match=r"^the database has no schema yet: run `ticketing migrate`$"):
        check(empty_dsn)


def test_an_older_schema_is_not_current(dsn: str) -> None:
    execute(dsn, "ALTER TABLE ticketing.migrations ADD COLUMN touched int")  # has the database replaced
    execute(dsn, "DELETE FROM ticketing.migrations WHERE number = 3")
    with pytest.raises(SchemaNotCurrent, match=r"^the schema lacks 0003_audits: run `ticketing migrate`$"):
        check(dsn)


def test_a_schema_without_a_projections_tables_is_not_current(empty_dsn: str) -> None:
    migrate(empty_dsn)
    execute(empty_dsn, "DROP SCHEMA deadlines_v2 CASCADE")
    execute(empty_dsn, "DELETE FROM ticketing.projection_schemas WHERE projection = 'deadlines'")
    with pytest.raises(SchemaNotCurrent, match=r"^the schema lacks deadlines_v2: run `ticketing migrate`$"):
        check(empty_dsn)
    assert migrate(empty_dsn) == ["deadlines_v2"]
    check(empty_dsn)


@pytest.mark.parametrize("use", [check, migrate])
@pytest.mark.parametrize(
    ("tampering", "line"),
    [
        (
            "INSERT INTO ticketing.migrations (number, name, checksum) VALUES (9999, '9999_later', '')",
            "the schema is newer than this program: it has the migration 9999_later",
        ),
        (
            "UPDATE ticketing.migrations SET checksum = '' WHERE number = 1",
            "the migration 0001_beside_the_log was changed after it had been applied",
        ),
        (
            "UPDATE ticketing.projection_schemas SET checksum = '' WHERE projection = 'queue'",
            "the tables of queue_v2 were changed: they need a new version",
        ),
    ],
)
def test_a_schema_of_another_program_is_refused(
    empty_dsn: str, use: Any, tampering: LiteralString, line: str
) -> None:
    migrate(empty_dsn)
    execute(empty_dsn, tampering)
    with pytest.raises(SchemaError) as refused:
        use(empty_dsn)
    assert str(refused.value) == line


def test_the_log_is_the_very_table_that_the_library_makes(dsn: str, empty_dsn: str) -> None:
    where = conninfo_to_dict(empty_dsn)
    execute(empty_dsn, "CREATE SCHEMA ticketing")
    with PostgresDatastore(
        str(where["dbname"]), str(where["host"]), 5432, "postgres", "", schema="ticketing"
    ) as datastore:
        PostgresApplicationRecorder(datastore, events_table_name=EVENTS_TABLE).create_table()
    theirs = described(empty_dsn, "ticketing")
    ours = [
        [row for row in part if any(EVENTS_TABLE in str(column) for column in row)]
        for part in described(dsn, "ticketing")
    ]
    types = [row for row in theirs[3] if row[1] == "c"]
    assert types == [("stored_event_uuid", "c", None)]
    theirs[3] = [row for row in theirs[3] if row[1] != "c"]
    assert theirs == ours


def test_any_application_of_the_library_can_follow_our_log(dsn: str) -> None:
    stream_id = uuid4()
    execute(
        dsn,
        """
        INSERT INTO ticketing.ticketing_events (originator_id, originator_version, topic, state)
        VALUES (%s, 1, 'wallet.opened', '{"payload": {}}')
        """,
        [stream_id],
    )
    where = conninfo_to_dict(dsn)
    with PostgresDatastore(
        str(where["dbname"]), str(where["host"]), 5432, "postgres", "", schema="ticketing"
    ) as datastore:
        reader = PostgresApplicationRecorder(datastore, events_table_name=EVENTS_TABLE)
        (found,) = reader.select_notifications(start=1, limit=10)
        assert (found.id, found.originator_id, found.originator_version) == (1, stream_id, 1)
        assert (found.topic, found.state) == ("wallet.opened", b'{"payload": {}}')
        assert reader.max_notification_id() == 1


def test_a_writer_of_the_library_waits_for_the_append_lock(dsn: str) -> None:
    event = StoredEvent(uuid4(), 1, "wallet.opened", b"{}")
    with log_recorder(dsn) as recorder, psycopg.connect(dsn) as appending:
        appending.execute("SELECT pg_advisory_xact_lock(%s)", [APPEND_LOCK])
        with recorder.datastore.transaction() as cursor:
            cursor.execute("SET LOCAL lock_timeout = '50ms'")
            with pytest.raises(psycopg.errors.LockNotAvailable):
                recorder._insert_stored_events(cursor, [event])
        appending.rollback()
        assert recorder.insert_events([event]) is not None
        assert recorder.max_notification_id() is not None
