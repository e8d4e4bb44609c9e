"""The PostgreSQL of the tests themselves: clean for each test, and gone with the run, however that ends."""

import os
import time
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from tests.postgres_fixtures import FOLDER, Databases

DEADLINE_S = 20.0

WRITE: bytes = b"""
    INSERT INTO ticketing.ticketing_events (originator_id, originator_version, topic, state)
    VALUES (gen_random_uuid(), 1, 'test', '{}');
    INSERT INTO ticketing.users (user_id, name) VALUES (gen_random_uuid(), 'Ann');
    UPDATE ticketing.projection_checkpoints SET position = 7;
"""

RUN_OF_ONE_TEST = """
    import os
    import signal

    import psycopg

    def test_that_ends_its_run(dsn):
        with psycopg.connect(dsn) as connection:
            connection.execute("SELECT 1")
        print("server in", os.environ["TICKETING_TEST_POSTGRES_FOLDER"], flush=True)
        os.kill(os.getpid(), signal.{ending})
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


@pytest.mark.parametrize("ending", ["SIGINT", "SIGKILL"])
def test_nothing_is_left_of_a_run_that_was_cut_short(
    ending: str, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(FOLDER)
    pytester.makepyfile(RUN_OF_ONE_TEST.format(ending=ending))
    result = pytester.runpytest_subprocess("-p", "tests.postgres_fixtures", "-s")
    (folder,) = (Path(line.rpartition("server in ")[2]) for line in result.outlines if "server in " in line)
    deadline = time.monotonic() + DEADLINE_S
    while folder.exists() or any(_mentions(folder, line) for line in Path("/proc").glob("[0-9]*/cmdline")):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _mentions(folder: Path, command_line: Path) -> bool:
    try:
        return os.fsencode(folder) in command_line.read_bytes()
    except OSError:
        return False
