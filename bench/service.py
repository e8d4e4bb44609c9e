"""The whole service as real processes on a PostgreSQL of its own, for as long as a benchmark runs."""

import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from infrastructure import schema
from infrastructure.embedded_postgres import EmbeddedPostgres

ADMIN_KEY = "bench-" + secrets.token_hex(8)
READY_WITHIN_S = 30
STOPS_WITHIN_S = 10


@contextmanager
def database() -> Iterator[str]:
    """Run a PostgreSQL in a temporary folder, and yield how to connect to it."""
    with tempfile.TemporaryDirectory(prefix="ticketing-bench-") as folder:
        Path(folder).chmod(0o755)  # PostgreSQL may have to run under another account
        with EmbeddedPostgres(Path(folder) / "postgres", Path(folder) / "postgres.log") as postgres:
            schema.migrate(postgres.dsn)
            yield postgres.dsn


@contextmanager
def service(dsn: str, *, api_processes: int = 1) -> Iterator[int]:
    """Run API, projector and timer, and yield the port."""
    with ExitStack() as stack:
        listener = stack.enter_context(listening_socket())
        port = listener.getsockname()[1]
        environment = {
            **os.environ,
            "DATABASE_URL": dsn,
            "TICKETING_ADMIN_KEY": ADMIN_KEY,
            "TICKETING_TOKEN_SECRET": secrets.token_hex(32),
            "TICKETING_LOG_LEVEL": "warning",
            "TICKETING_PORT": str(port),
        }
        for _ in range(api_processes):
            stack.enter_context(
                _process("api", "--fd", str(listener.fileno()), env=environment, fds=[listener])
            )
        stack.enter_context(_process("project", env=environment))
        stack.enter_context(_process("timer", env=environment))
        wait_until_ready(f"http://127.0.0.1:{port}/readyz")
        yield port


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
def _process(*words: str, env: Mapping[str, str], fds: list[socket.socket] | None = None) -> Iterator[None]:
    command = [str(Path(sys.executable).parent / "ticketing"), *words]
    process = subprocess.Popen(command, env=env, pass_fds=[fd.fileno() for fd in fds or []])
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOPS_WITHIN_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
