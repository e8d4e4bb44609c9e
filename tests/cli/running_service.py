"""`ticketing up` as a process of its own, as a person starts it."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from tests.free_ports import OF_SERVICES, free_ports

READY_WITHIN_S = 30.0
"""A second or two on an idle machine; tests share theirs."""

STOPS_WITHIN_S = 10.0

WITHIN_S = 20.0
"""Nothing here takes so long; where much else runs, the start of a process alone takes most of it."""

TICKETING = [sys.executable, "-P", "-m", "cli.main"]


def wait_until(condition: Callable[[], bool], what: str, within_s: float = WITHIN_S) -> None:
    """Poll until it is so; fail at the deadline."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {within_s} s: {what}"
        time.sleep(0.02)


def free_port() -> int:
    """Return a port on which nobody listens now."""
    return next(free_ports(OF_SERVICES))


def environment(data_folder: Path, port: int) -> dict[str, str]:
    """The settings of a service of the test's own, and nothing of whoever runs the tests."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("TICKETING_")}
    ours.pop("DATABASE_URL", None)
    return {**ours, "TICKETING_DATA_DIR": str(data_folder), "TICKETING_PORT": str(port)}


def ticketing(
    *arguments: str, data_folder: Path, port: int, within_s: float = 40.0
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(
        [*TICKETING, *arguments],
        env=environment(data_folder, port),
        cwd=data_folder.parent,
        capture_output=True,
        text=True,
        timeout=within_s,
        check=False,
    )


class RunningService:
    """A running `ticketing up`."""

    def __init__(self, process: "subprocess.Popen[str]", data_folder: Path, port: int, said: Path) -> None:
        self.process = process
        self.data_folder = data_folder
        self.port = port
        self._said = said

    @property
    def said(self) -> str:
        """What it has printed so far."""
        return self._said.read_text()

    @property
    def secrets(self) -> Mapping[str, str]:
        """What it made up for itself."""
        known: Mapping[str, str] = json.loads((self.data_folder / "secrets.json").read_text())
        return known

    def wait_until_ready(self) -> None:
        """Wait until it says so."""

        def ready_or_ended() -> bool:
            assert self.process.poll() is None, self.said
            return "Ready after" in self.said

        wait_until(ready_or_ended, f"ready, but: {self.said}", READY_WITHIN_S)

    def answer(self, path: str, body: Mapping[str, Any] | None = None, token: str | None = None) -> Any:
        """Ask the API."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}",
            data=None if body is None else json.dumps(body).encode(),
            headers={} if token is None else {"Authorization": f"Bearer {token}"},
        )
        with urllib.request.urlopen(request, timeout=10) as response:  # noqa: S310 (likewise)
            return json.load(response)

    def is_ready(self) -> bool:
        """Whether /readyz says so."""
        try:
            self.answer("/readyz")
        except OSError:
            return False
        return True

    def children(self) -> dict[str, psutil.Process]:
        """Its processes, by their command: `api`, `project`, `timer`, `postgres`."""
        return dict(_named(psutil.Process(self.process.pid).children()))

    def stop(self, number: signal.Signals = signal.SIGINT) -> float:
        """Ask it to end, and return how long that took."""
        began_at = time.monotonic()
        self.process.send_signal(number)
        self.process.wait(timeout=STOPS_WITHIN_S + 5)
        return time.monotonic() - began_at


def has_ended(process: psutil.Process) -> bool:
    """Whether it runs no more; an orphan may wait for long until someone takes note of its end."""
    try:
        return not process.is_running() or bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def _named(processes: Sequence[psutil.Process]) -> Iterator[tuple[str, psutil.Process]]:
    for process in processes:
        with suppress(psutil.Error):
            arguments = " ".join(process.cmdline())
            command = re.search(r"cli\.main (\w+)|/(postgres) ", arguments)
            if command is not None:
                yield command[1] or command[2], process


@contextmanager
def running_service(data_folder: Path, port: int, *options: str, **settings: str) -> Iterator[RunningService]:
    """Run `ticketing up` with these settings, once it is ready, until the block ends."""
    with starting_service(data_folder, port, *options, **settings) as service:
        service.wait_until_ready()
        yield service


@contextmanager
def starting_service(
    data_folder: Path, port: int, *options: str, **settings: str
) -> Iterator[RunningService]:
    """Start `ticketing up`, and end it with the block, whatever happens in it."""
    said = data_folder.parent / f"said-{time.monotonic_ns()}"
    with said.open("w") as output:
        process = subprocess.Popen(
            [*TICKETING, "up", *options],
            env={**environment(data_folder, port), **settings},
            cwd=data_folder.parent,
            stdout=output,
            stderr=output,
            text=True,
            start_new_session=True,
        )
    service = RunningService(process, data_folder, port, said)
    try:
        yield service
    finally:
        if process.poll() is None:
            service.stop(signal.SIGTERM)
