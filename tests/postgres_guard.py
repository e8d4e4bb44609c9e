"""Runs the PostgreSQL of a test run, while that run lives: `python -m tests.postgres_guard FOLDER`."""

import os
import signal
import sys
from pathlib import Path

import psycopg

from infrastructure.embedded_postgres import EmbeddedPostgres
from infrastructure.schema import migrate
from tests.shared_server import guarded, serve_until_the_end

TEMPLATE = "migrated"
"""The database that the tests' databases are copies of."""


def guard(folder: Path) -> None:
    """Start the server, say where it listens, and stop it when the run has ended."""
    with guarded(folder), EmbeddedPostgres(folder / "postgres", folder / "postgres.log") as postgres:
        _make_template(postgres.dsn)
        serve_until_the_end(folder, postgres.dsn)
        if postgres.pid is not None:
            os.kill(postgres.pid, signal.SIGQUIT)  # a stop would first write what is thrown away


def database_dsn(dsn: str, name: str) -> str:
    """Name another database of the same server."""
    return dsn.replace("@/postgres?", f"@/{name}?", 1)


def _make_template(dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {TEMPLATE}")
        migrate(database_dsn(dsn, TEMPLATE))
        connection.execute(f"ALTER DATABASE {TEMPLATE} WITH IS_TEMPLATE true ALLOW_CONNECTIONS false")


if __name__ == "__main__":
    guard(Path(sys.argv[1]))
