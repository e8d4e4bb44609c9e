"""A service of the load's own: several API processes, each with its port, two projectors and two timers."""

import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.request import urlopen

from tests.cli.running_service import TICKETING, free_port, wait_until
from tests.histories.client import Target

ADMIN_KEY = "histories"
SECRET = "one secret for all processes of a history"
READY_WITHIN_S = 120.0
"""A few seconds, where nothing else runs."""

STOPS_WITHIN_S = 15.0


@contextmanager
def running_processes(dsn: str, logs: Path, *, api_processes: int = 2) -> Iterator[Target]:
    """Run a service on this database, which has its schema, until the block ends."""
    with ExitStack() as stack:
        for number in range(2):
            for command in ("project", "timer"):
                stack.enter_context(_process(logs / f"{command}-{number}.log", _environment(dsn), command))
        urls = []
        for number in range(api_processes):
            port = free_port()
            environment = {**_environment(dsn), "TICKETING_PORT": str(port)}
            stack.enter_context(_process(logs / f"api-{number}.log", environment, "api"))
            urls.append(f"http://127.0.0.1:{port}")
        wait_until(lambda: all(map(_is_ready, urls)), "ready", READY_WITHIN_S)
        yield Target(urls, ADMIN_KEY)


def audit(dsn: str) -> subprocess.CompletedProcess[str]:
    """Run `ticketing audit` on the log."""
    return subprocess.run(
        [*TICKETING, "audit"], env=_environment(dsn), capture_output=True, text=True, timeout=300, check=False
    )


def _environment(dsn: str) -> dict[str, str]:
    ours = {name: value for name, value in os.environ.items() if not name.startswith("TICKETING_")}
    return {**ours, "DATABASE_URL": dsn, "TICKETING_ADMIN_KEY": ADMIN_KEY, "TICKETING_TOKEN_SECRET": SECRET}


@contextmanager
def _process(log_file: Path, environment: Mapping[str, str], *words: str) -> Iterator[None]:
    with log_file.open("ab") as said:
        running = subprocess.Popen([*TICKETING, *words], env=environment, stdout=said, stderr=said)
    try:
        yield
    finally:
        running.terminate()
        try:
            running.wait(STOPS_WITHIN_S)
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait()


def _is_ready(url: str) -> bool:
    try:
        with urlopen(f"{url}/readyz", timeout=2) as answer:  # noqa: S310 (our own address)
            return bool(answer.status == 200)
    except OSError:
        return False
