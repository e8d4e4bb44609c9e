"""Two API processes, two projectors and two timers on one PostgreSQL: the same result as with one of each."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest

from tests.end_to_end import processes

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
def env(dsn: str) -> Mapping[str, str]:
    return processes.surroundings(dsn)


@pytest.fixture
def url(env: Mapping[str, str]) -> Iterator[str]:
    """Two of each process; the API's share one listening socket."""
    with ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(processes.process("project", env=env))
            stack.enter_context(processes.process("timer", env=env))
        yield stack.enter_context(processes.api(env, 2))


def test_q1_s1_w1_a_crowd_of_300_on_40_seats(
    url: str, dsn: str, env: Mapping[str, str], tmp_path: Path
) -> None:
    processes.load_catalogue(CONCERT, tmp_path, env)
    rush = ["rush", "--buyers", str(BUYERS), "--concert", "CROWDED", "--url", url, "--poll-every", "200"]
    processes.ticketing(*rush, "--json", str(tmp_path / "rush.json"), env=env)

    report = processes.report(tmp_path / "rush.json")
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


def _payloads(connection: psycopg.Connection[tuple[str]], topic: str, field: str) -> list[str]:
    query = (
        "SELECT convert_from(state, 'UTF8')::jsonb -> 'payload' ->> %s"
        " FROM ticketing.ticketing_events WHERE topic = %s ORDER BY notification_id"
    )
    return [value for (value,) in connection.execute(query, [field, topic]).fetchall()]
