"""Runs the PostgreSQL of a test run, for as long as that run lives: `python -m tests.postgres_guard FOLDER`.

The run holds a lock on the folder's file `run`. When the lock is free the run has ended, in whatever way: the
server is stopped then, and the folder removed. So nothing is left behind, also by a run that was killed.
"""

import fcntl
import os
import shutil
import signal
import sys
from pathlib import Path

import psycopg

from infrastructure.embedded_postgres import EmbeddedPostgres
from infrastructure.schema import migrate

RUN = "run"
SAID = "guard.log"
READY = "dsn"
FAILED = "failed"

TEMPLATE = "migrated"
"""The database that the tests' databases are copies of."""


def guard(folder: Path) -> None:
    """Start the server, say where it listens, and stop it when the run has ended."""
    try:
        with EmbeddedPostgres(folder / "postgres", folder / "postgres.log") as postgres:
            _make_template(postgres.dsn)
            _tell(folder / READY, postgres.dsn)
            _wait_for_the_end(folder / RUN)
            if postgres.pid is not None:
                os.kill(postgres.pid, signal.SIGQUIT)  # a stop would first write what is thrown away
    except BaseException as error:
        _tell(folder / FAILED, f"{type(error).__name__}: {error}")
        _wait_for_the_end(folder / RUN)
        raise
    finally:
        shutil.rmtree(folder)


def database_dsn(dsn: str, name: str) -> str:
    """Name another database of the same server."""
    return dsn.replace("@/postgres?", f"@/{name}?", 1)


def _make_template(dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {TEMPLATE}")
        migrate(database_dsn(dsn, TEMPLATE))
        connection.execute(f"ALTER DATABASE {TEMPLATE} WITH IS_TEMPLATE true ALLOW_CONNECTIONS false")


def _tell(file: Path, words: str) -> None:
    """Write the file at once: whoever sees it sees all of it."""
    unfinished = file.with_suffix(".new")
    unfinished.write_text(words)
    unfinished.replace(file)


def _wait_for_the_end(lock_file: Path) -> None:
    with lock_file.open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)


if __name__ == "__main__":
    os.setsid()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    guard(Path(sys.argv[1]))
