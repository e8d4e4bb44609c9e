"""A pytest plugin: a real PostgreSQL for the tests, and a clean database for each that asks for one.

One server serves all processes of a test run. It starts when the first test asks for it (about a second),
works like the product's own, with `fsync` on, and ends with the run (see `tests.shared_server`). Each of the
processes has a database, a copy of a migrated template, and clears it between tests: that takes 15 ms, a new
one takes five times as long. After a test that changed the schema, the next one gets a new one.
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import IO, Any, LiteralString

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict
from psycopg.sql import SQL, Identifier

from infrastructure.embedded_postgres import SOCKET_LOCK, EmbeddedPostgres
from infrastructure.postgres_processes import stop_leftovers
from tests.postgres_guard import TEMPLATE, database_dsn
from tests.shared_server import begin_run, end_run, whereabouts

FOLDER = "TICKETING_TEST_POSTGRES_FOLDER"
"""Environment variable: tells the processes of a test run where its server is."""

START_DEADLINE_S = 45.0

END_OTHERS: LiteralString = """
    SELECT pg_terminate_backend(pid)
    FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
"""

SHAPE: LiteralString = """
    SELECT
        (
            SELECT sum(hashtextextended(concat_ws('.', classid, objid, objsubid, refobjid, refobjsubid), 0))
            FROM pg_depend
            WHERE objid >= 16384
        ),
        (
            SELECT sum(hashtextextended(concat_ws('.', attrelid, attnum, attname, attnotnull), 0))
            FROM pg_attribute
            WHERE attrelid >= 16384
        )
"""
"""Two numbers that change with every object that is made, changed or dropped."""

CLEAR: LiteralString = """
    DO $$
    DECLARE
        place text;
        is_filled boolean;
        filled text[] := '{}';
    BEGIN
        FOR place IN
            SELECT format('%I.%I', schemaname, tablename)
            FROM pg_tables
            WHERE schemaname NOT IN ('information_schema', 'pg_catalog')
              AND tablename NOT IN ('log_epochs', 'migrations')
              AND tablename NOT IN ('projection_checkpoints', 'projection_schemas')
        LOOP
            EXECUTE format('SELECT EXISTS (SELECT FROM %s)', place) INTO is_filled;
            IF is_filled THEN
                filled := filled || place;
            END IF;
        END LOOP;
        IF filled <> '{}' THEN
            EXECUTE 'TRUNCATE ' || array_to_string(filled, ', ');
        END IF;
    END
    $$;
    SELECT setval('ticketing.ticketing_events_notification_id_seq', 1, false);
    DELETE FROM ticketing.log_epochs WHERE number > 1;
    UPDATE ticketing.log_epochs SET whereabouts = '{}';
    DELETE FROM ticketing.projection_checkpoints;
    INSERT INTO ticketing.projection_checkpoints (projection, version, partition, position)
    SELECT projection, version, 0, 0 FROM ticketing.projection_schemas;
"""

MakeServer = Callable[[Path], EmbeddedPostgres]

_run = pytest.StashKey[IO[str] | None]()


def pytest_configure(config: pytest.Config) -> None:
    """Prepare for a server that the whole run shares."""
    config.stash[_run] = begin_run(FOLDER)


def pytest_unconfigure(config: pytest.Config) -> None:
    """End it with the run."""
    end_run(FOLDER, config.stash.get(_run, None))


class Databases:
    """The databases of one process of a test run."""

    def __init__(self, server_dsn: str) -> None:
        self._server_dsn = server_dsn
        self._connection = psycopg.connect(server_dsn, autocommit=True)
        self._numbers = count(1)
        self._used: tuple[str, object] | None = None

    def take(self) -> str:
        """Return the connection string of a migrated database with nothing in it."""
        if self._used is not None:
            dsn, shape = self._used
            if _cleared(dsn, shape):
                return dsn
            self.drop(dsn)
        dsn = self.create(TEMPLATE)
        with psycopg.connect(dsn) as connection:
            self._used = dsn, _shape(connection)
        return dsn

    def create(self, template: str) -> str:
        """Make a database. FILE_COPY takes half the time of WAL_LOG, as little else is being written."""
        name = f"test_{os.getpid()}_{next(self._numbers)}"
        self._connection.execute(
            SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY file_copy").format(
                Identifier(name), Identifier(template)
            )
        )
        return database_dsn(self._server_dsn, name)

    def drop(self, dsn: str) -> None:
        """Drop a database, with whoever is still connected."""
        name = conninfo_to_dict(dsn)["dbname"]
        self._connection.execute(SQL("DROP DATABASE {} WITH (FORCE)").format(Identifier(str(name))))

    def close(self) -> None:
        """Close the connection; the databases end with the run."""
        self._connection.close()


@pytest.fixture(scope="session")
def databases() -> Iterator[Databases]:
    """The server of the test run, started by the first who asks."""
    databases = Databases(whereabouts(FOLDER, "tests.postgres_guard", START_DEADLINE_S))
    yield databases
    databases.close()


@pytest.fixture
def dsn(databases: Databases) -> str:
    """A database with the whole schema, and nothing in it."""
    return databases.take()


@pytest.fixture
def connection(dsn: str) -> Iterator[psycopg.Connection[Any]]:
    """A connection to that database, each statement a transaction."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        yield connection


@pytest.fixture
def empty_dsn(databases: Databases) -> Iterator[str]:
    """A new database, without any schema."""
    dsn = databases.create("template1")
    yield dsn
    databases.drop(dsn)


@pytest.fixture
def postgres_folder() -> Iterator[Path]:
    """A folder in which an embedded PostgreSQL can be started, by root as well."""
    yield from _folder()


@pytest.fixture(scope="session")
def initialised_cluster() -> Iterator[Path]:
    """The folder of an empty cluster, to be copied, since making one takes half a second."""
    for folder in _folder():
        postgres = EmbeddedPostgres(folder / "postgres", folder / "postgres.log")
        postgres.initialise()
        yield postgres.folder


@pytest.fixture
def make_server(initialised_cluster: Path) -> MakeServer:
    """Makes a server of the test's own in a folder, not yet started. It has no schema."""

    def make(folder: Path) -> EmbeddedPostgres:
        subprocess.run(["cp", "-a", initialised_cluster, folder / "postgres"], check=True)
        return EmbeddedPostgres(folder / "postgres", folder / "logs" / "postgres.log")

    return make


@pytest.fixture
def own_postgres(postgres_folder: Path, make_server: MakeServer) -> Iterator[EmbeddedPostgres]:
    """A running server of the test's own, which it may stop and kill. It has no schema."""
    with make_server(postgres_folder) as postgres:
        yield postgres


def _folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="ticketing-test-"))
    folder.chmod(0o711)  # root has PostgreSQL run by another account
    yield folder
    for lock_file in folder.glob("**/postmaster.pid"):
        stop_leftovers(lock_file.parent, lock_file.with_name(SOCKET_LOCK))
    shutil.rmtree(folder)


def _shape(connection: psycopg.Connection) -> object:
    return connection.execute(SHAPE).fetchone()


def _cleared(dsn: str, shape: object) -> bool:
    """Make a used database as good as new; return whether that can be done."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(END_OTHERS)
        if _shape(connection) != shape:
            return False
        connection.execute(CLEAR)
    return True
