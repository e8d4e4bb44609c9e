"""Two API processes, two projectors and two timers on one PostgreSQL: the same result as with one of each."""

import json
import os
import socket
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.request import urlopen

import psycopg
import pytest

from tests.cli.running_service import TICKETING, wait_until

ADMIN_KEY = "two-of-everything"
BUYERS, SEATS = 300, 40

CONCERT = f"""
concerts:
  - code: CROWDED
    title: A small hall and a large crowd
    venue: Small Hall
    sales: open
    policy: {{max_active: 25, max_seats_per_user: 1}}
    seats: [{{first: 1, last: {SEATS}, type: STANDARD, price: 50000}}]
    performances: [{{date: {{in_days: 9}}, start_time: "19:00"}}]
"""

pytestmark = pytest.mark.xdist_group("up")


@pytest.fixture
def surroundings(dsn: str) -> Mapping[str, str]:
    ours = {name: value for name, value in os.environ.items() if not name.startswith("TICKETING_")}
    return {
        **ours,
        "DATABASE_URL": dsn,
        "TICKETING_ADMIN_KEY": ADMIN_KEY,
        "TICKETING_TOKEN_SECRET": "two of everything and one secret for all of them",
    }


@contextmanager
def process(*words: str, env: Mapping[str, str], fds: tuple[int, ...] = ()) -> Iterator[None]:
    running = subprocess.Popen(
        [*TICKETING, *words], env=env, pass_fds=fds, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield
    finally:
        running.terminate()
        assert running.wait(10) == 0, words


@pytest.fixture
def url(surroundings: Mapping[str, str]) -> Iterator[str]:
    """Two of each process; the API's share one listening socket."""
    with socket.create_server(("127.0.0.1", 0), backlog=512) as listener, ExitStack() as stack:
        fd = listener.fileno()
        for _ in range(2):
            stack.enter_context(process("api", "--fd", str(fd), env=surroundings, fds=(fd,)))
            stack.enter_context(process("project", env=surroundings))
            stack.enter_context(process("timer", env=surroundings))
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        wait_until(lambda: _answers(f"{address}/readyz"), "ready", within_s=30)
        yield address


def test_q1_s1_w1_a_crowd_of_300_on_40_seats(
    url: str, dsn: str, surroundings: Mapping[str, str], tmp_path: Path
) -> None:
    catalogue, report_file = tmp_path / "crowded.yaml", tmp_path / "rush.json"
    catalogue.write_text(CONCERT)
    _ticketing("catalogue", "load", str(catalogue), env=surroundings)
    rush = ["rush", "--buyers", str(BUYERS), "--concert", "CROWDED", "--url", url, "--poll-every", "200"]
    _ticketing(*rush, "--json", str(report_file), env=surroundings)

    report = json.loads(report_file.read_text())
    assert report["seats_bought"] == SEATS
    assert report["audit"]["ok"] is True, report["audit"]["breaches"]
    assert report["audit"]["read_models"]["different"] == 0
    with psycopg.connect(dsn) as connection:
        numbers = _payloads(connection, "token.issued", "queue_number")
        assert sorted(int(number) for number in numbers) == list(range(1, BUYERS + 1))
        sold = connection.execute(
            "SELECT count(*), count(DISTINCT originator_id) FROM ticketing.ticketing_events"
            " WHERE topic = 'seat.sold'"
        ).fetchone()
        assert sold == (SEATS, SEATS)
        debited = _payloads(connection, "wallet.debited", "amount")
        assert sum(int(amount) for amount in debited) == report["won_paid"] == SEATS * 50_000


def _ticketing(*words: str, env: Mapping[str, str]) -> None:
    ended = subprocess.run(
        [*TICKETING, *words], env=env, capture_output=True, text=True, timeout=50, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr


def _payloads(connection: psycopg.Connection[tuple[str]], topic: str, field: str) -> list[str]:
    query = (
        "SELECT convert_from(state, 'UTF8')::jsonb -> 'payload' ->> %s"
        " FROM ticketing.ticketing_events WHERE topic = %s ORDER BY notification_id"
    )
    return [value for (value,) in connection.execute(query, [field, topic]).fetchall()]


def _answers(address: str) -> bool:
    try:
        with urlopen(address, timeout=2) as answer:  # noqa: S310 (our own address)
            return bool(answer.status == 200)
    except OSError:
        return False
