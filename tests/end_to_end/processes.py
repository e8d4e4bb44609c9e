"""The service's processes, each as it is started in production, on a PostgreSQL of the test's own."""

import json
import os
import socket
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from tests.cli.running_service import TICKETING, wait_until

ENDS_WITHIN_S = 10
COMMAND_ENDS_WITHIN_S = 90


def surroundings(dsn: str, **settings: str) -> Mapping[str, str]:
    """Return the environment that all of them share, and nothing of whoever runs the tests."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("TICKETING_")}
    return {
        **ours,
        "DATABASE_URL": dsn,
        "TICKETING_ADMIN_KEY": "the-admin-key-of-several-processes",
        "TICKETING_TOKEN_SECRET": "two of everything and one secret for all of them",
        **settings,
    }


@contextmanager
def process(
    *words: str, env: Mapping[str, str], fds: tuple[int, ...] = ()
) -> Iterator["subprocess.Popen[bytes]"]:
    """Run `ticketing` with these words until the block ends; it ends cleanly, unless it was killed."""
    running = subprocess.Popen(
        [*TICKETING, *words], env=env, pass_fds=fds, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield running
    finally:
        stop(running)


def stop(running: "subprocess.Popen[bytes]") -> None:
    """Have it end cleanly, unless it was killed."""
    running.terminate()
    assert running.wait(ENDS_WITHIN_S) in {0, -9}, running.args


@contextmanager
def api(env: Mapping[str, str], processes: int) -> Iterator[str]:
    """Run so many API processes, which share one listening socket; yield their address once they answer."""
    with socket.create_server(("127.0.0.1", 0), backlog=2_048) as listener, ExitStack() as stack:
        fd = listener.fileno()
        for _ in range(processes):
            stack.enter_context(process("api", "--fd", str(fd), env=env, fds=(fd,)))
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        wait_until(lambda: _answers(f"{address}/readyz"), "ready", within_s=30)
        yield address


def ticketing(*words: str, env: Mapping[str, str]) -> str:
    """Run a command to its good end, and return what it printed."""
    ended = subprocess.run(
        [*TICKETING, *words],
        env=env,
        capture_output=True,
        text=True,
        timeout=COMMAND_ENDS_WITHIN_S,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def load_catalogue(catalogue: str, folder: Path, env: Mapping[str, str]) -> None:
    """Announce what stands in a catalogue."""
    file = folder / "catalogue.yaml"
    file.write_text(catalogue)
    ticketing("catalogue", "load", str(file), env=env)


def report(file: Path) -> Any:
    """Read what a command has written as JSON."""
    return json.loads(file.read_text())


def _answers(address: str) -> bool:
    try:
        with urlopen(address, timeout=2) as answer:  # noqa: S310 (our own address)
            return bool(answer.status == 200)
    except OSError:
        return False
