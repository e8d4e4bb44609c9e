"""The whole service as real processes on a PostgreSQL of its own, for as long as a benchmark runs."""

import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.sql import SQL, Identifier

from infrastructure import schema
from infrastructure.embedded_postgres import EmbeddedPostgres

ADMIN_KEY = "bench-" + secrets.token_hex(8)
TICKETING = str(Path(sys.executable).parent / "ticketing")
READY_WITHIN_S = 30
STOPS_WITHIN_S = 10


def _end_in_order_when_told_to() -> None:
    """Have SIGTERM end a benchmark as Ctrl-C does: with everything that it has started."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))


@contextmanager
def database() -> Iterator[str]:
    """Run a PostgreSQL in a temporary folder, and yield how to connect to it."""
    _end_in_order_when_told_to()
    with tempfile.TemporaryDirectory(prefix="ticketing-bench-") as folder:
        Path(folder).chmod(0o755)  # PostgreSQL may have to run under another account
        with EmbeddedPostgres(Path(folder) / "postgres", Path(folder) / "postgres.log") as postgres:
            schema.migrate(postgres.dsn)
            yield postgres.dsn


@contextmanager
def embedded() -> Iterator[tuple[str, Mapping[str, str]]]:
    """Run a database, and yield how to connect to it and what the service is told besides: nothing."""
    with database() as dsn:
        yield dsn, {}


@contextmanager
def service(
    dsn: str, *, api_processes: int = 1, projectors: int = 1, told: Mapping[str, str] | None = None
) -> Iterator[int]:
    """Run APIs, projectors, a timer and, if it is told of a Kafka, a relay; yield the port."""
    with ExitStack() as stack:
        listener = stack.enter_context(listening_socket())
        port = listener.getsockname()[1]
        secret = {
            "TICKETING_ADMIN_KEY": ADMIN_KEY,
            "TICKETING_TOKEN_SECRET": secrets.token_hex(32),
            "TICKETING_PORT": str(port),
            **(told or {}),
        }
        api = ["api", "--fd", str(listener.fileno())]
        stack.enter_context(processes(dsn, secret, *[api] * api_processes, descriptors=[listener.fileno()]))
        workers = [["project"]] * projectors + [["timer"]] + ([["relay"]] if told else [])
        stack.enter_context(processes(dsn, told or {}, *workers))
        wait_until_ready(f"http://127.0.0.1:{port}/readyz")
        yield port


@contextmanager
def plain(dsn: str) -> Iterator[int]:
    """Run the plain service on a database of its own, of the same server; yield the port."""
    told = {"TICKETING_ADMIN_KEY": ADMIN_KEY, "TICKETING_TOKEN_SECRET": secrets.token_hex(32)}
    with _database_beside(dsn) as its_dsn, listening_socket() as listener:
        fd, port = listener.fileno(), listener.getsockname()[1]
        environment = _environment(its_dsn, told)
        command = [sys.executable, "-m", "bench.plain", str(fd)]
        with _running(command, environment, [fd]):
            wait_until_ready(f"http://127.0.0.1:{port}/openapi.json")
            yield port


@contextmanager
def _database_beside(dsn: str) -> Iterator[str]:
    name = f"{conninfo_to_dict(dsn)['dbname']}_plain"
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(SQL("CREATE DATABASE {}").format(Identifier(name)))
        try:
            yield make_conninfo(dsn, dbname=name)
        finally:
            connection.execute(SQL("DROP DATABASE {} WITH (FORCE)").format(Identifier(name)))


@contextmanager
def bare(*routes: str) -> Iterator[int]:
    """Serve constants as `bench.ceiling` has it; yield the port."""
    with listening_socket() as listener:
        fd, port = listener.fileno(), listener.getsockname()[1]
        command = [sys.executable, "-m", "bench.ceiling", str(fd), *routes, "GET:/ready:200:0"]
        with _running(command, os.environ, [fd]):
            wait_until_ready(f"http://127.0.0.1:{port}/ready")
            yield port


def migrate(dsn: str, told: Mapping[str, str]) -> None:
    """Bring the schema up to date as `ticketing migrate` does."""
    subprocess.run([TICKETING, "migrate"], env=_environment(dsn, told), check=True, stdout=subprocess.DEVNULL)


@contextmanager
def processes(
    dsn: str, told: Mapping[str, str], *commands: Sequence[str], descriptors: Sequence[int] = ()
) -> Iterator[Sequence[subprocess.Popen[bytes]]]:
    """Run these commands of `ticketing`, each in a process, and stop them in the end."""
    with ExitStack() as stack:
        yield [
            stack.enter_context(_running([TICKETING, *command], _environment(dsn, told), descriptors))
            for command in commands
        ]


def _environment(dsn: str, told: Mapping[str, str]) -> Mapping[str, str]:
    return {**os.environ, "DATABASE_URL": dsn, "TICKETING_LOG_LEVEL": "warning", **told}


@contextmanager
def listening_socket() -> Iterator[socket.socket]:
    """Listen on a free port of this machine."""
    with socket.create_server(("127.0.0.1", 0), backlog=2_048) as listener:
        listener.set_inheritable(True)
        yield listener


def wait_until_ready(url: str) -> None:
    """Ask until the answer is good."""
    deadline = time.monotonic() + READY_WITHIN_S
    while True:
        try:
            with urllib.request.urlopen(url, timeout=1) as answer:  # noqa: S310 (our own address)
                if answer.status == 200:
                    return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


@contextmanager
def _running(
    command: Sequence[str], environment: Mapping[str, str], descriptors: Sequence[int]
) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(command, env=environment, pass_fds=descriptors)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOPS_WITHIN_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
