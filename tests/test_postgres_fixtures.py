"""The PostgreSQL of the tests themselves: clean for each test."""

from contextlib import closing

import psycopg
import pytest

from tests.postgres_fixtures import Databases

WRITE: bytes = b"""
    INSERT INTO ticketing.ticketing_events (originator_id, originator_version, topic, state)
    VALUES (gen_random_uuid(), 1, 'test', '{}');
    INSERT INTO ticketing.users (user_id, name) VALUES (gen_random_uuid(), 'Ann');
    UPDATE ticketing.projection_checkpoints SET position = 7;
"""


def test_a_used_database_is_clean_for_the_next_test(databases: Databases) -> None:
    dsn = databases.take()
    with psycopg.connect(dsn) as connection:
        connection.execute(WRITE)
    assert databases.take() == dsn
    with psycopg.connect(dsn) as connection:
        (filled,) = connection.execute(
            """
            SELECT (SELECT count(*) FROM ticketing.ticketing_events)
                 + (SELECT count(*) FROM ticketing.users)
                 + (SELECT max(position) FROM ticketing.projection_checkpoints)
            """
        ).fetchone() or (None,)
        assert filled == 0
        assert connection.execute(
            "SELECT nextval('ticketing.ticketing_events_notification_id_seq')"
        ).fetchone() == (1,)


def test_whoever_a_test_left_connected_is_disconnected(databases: Databases) -> None:
    with closing(psycopg.connect(databases.take())) as left:
        left.execute("LOCK TABLE ticketing.users")
        databases.take()
        with pytest.raises(psycopg.OperationalError):
            left.execute("SELECT 1")


@pytest.mark.parametrize(
    "change",
    [
        b"CREATE TABLE public.left_behind ()",
        b"ALTER TABLE ticketing.users ADD COLUMN left_behind int",
        b"ALTER TABLE ticketing.users ALTER COLUMN name SET NOT NULL",
        b"DROP TABLE ticketing.heard",
        b"DROP INDEX ticketing.command_outcomes_by_age",
    ],
)
def test_a_database_whose_schema_was_changed_is_not_used_again(databases: Databases, change: bytes) -> None:
    dsn = databases.take()
    with psycopg.connect(dsn) as connection:
        connection.execute(change)
    assert databases.take() != dsn
