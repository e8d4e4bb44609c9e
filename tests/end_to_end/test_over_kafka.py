"""A large sale with Kafka between the log and the read models: two relays, a topic, two projectors."""

import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, LiteralString

import msgspec
import psycopg
import pytest

from tests.cli.running_service import wait_until
from tests.end_to_end import processes
from tests.kafka.topic_check import check_found, read_log, read_topic

BUYERS, SEATS = 1_000, 300
PARTITIONS = 6

TAKEN_OVER_WITHIN_S = 5.0
"""The promise, for relays and for partitions."""

RUSH_ENDS_WITHIN_S = 90.0

CONCERT = f"""
concerts:
  - code: CROWDED
    title: A hall for a third of the crowd
    venue: Large Hall
    sales: open
    policy: {{max_active: 150, max_seats_per_user: 1}}
    seats: [{{first: 1, last: {SEATS}, type: STANDARD, price: 50000}}]
    performances: [{{date: {{in_days: 9}}, start_time: "19:00"}}]
"""

LEADER: LiteralString = """
    SELECT process_id FROM ticketing.worker_status
    WHERE role = 'relay' AND (facts ->> 'leads')::boolean AND beat_at > clock_timestamp() - interval '1.5 s'
    ORDER BY beat_at DESC
    LIMIT 1
"""

PROJECTORS: LiteralString = """
    SELECT facts -> 'partitions', facts ->> 'reads'
    FROM ticketing.worker_status
    WHERE role = 'projector' AND beat_at > clock_timestamp() - interval '1.5 s'
"""

SOLD: LiteralString = "SELECT count(*) FROM ticketing.ticketing_events WHERE topic = 'seat.sold'"

SEATS_SOLD: LiteralString = """
    SELECT count(*), count(DISTINCT originator_id) FROM ticketing.ticketing_events WHERE topic = 'seat.sold'
"""

TOPIC_POSITION: LiteralString = "SELECT position FROM ticketing.topic"

IS_PUBLISHED: LiteralString = """
    SELECT (SELECT position FROM ticketing.topic)
        = (SELECT max(notification_id) FROM ticketing.ticketing_events)
"""

ARE_UP_TO_DATE: LiteralString = """
    SELECT (SELECT min(position) FROM ticketing.projection_checkpoints)
        = (SELECT max(notification_id) FROM ticketing.ticketing_events)
"""

pytestmark = pytest.mark.xdist_group("up")


@pytest.mark.timeout(180)
def test_q1_s1_w1_a_crowd_of_1000_buys_through_relay_topic_and_two_projectors(
    dsn: str, kafka: str, topic_name: str, tmp_path: Path
) -> None:
    env = processes.surroundings(dsn, TICKETING_KAFKA=kafka, TICKETING_KAFKA_TOPIC=topic_name)
    processes.ticketing("migrate", env=env)
    processes.load_catalogue(CONCERT, tmp_path, env)
    with ExitStack() as stack:
        connection = stack.enter_context(psycopg.connect(dsn, autocommit=True))
        relay = stack.enter_context(processes.process("relay", env=env))
        projector, _ = (stack.enter_context(processes.process("project", env=env)) for _ in range(2))
        stack.enter_context(processes.process("timer", env=env))
        url = stack.enter_context(processes.api(env, 1))
        wait_until(lambda: _first(connection, LEADER) is not None, "a relay leads")
        stack.enter_context(processes.process("relay", env=env))
        wait_until(lambda: len(_shares(connection)) == 2, "projectors share the partitions")

        rush = stack.enter_context(_rush(url, tmp_path / "rush.json", env))
        wait_until(lambda: _first(connection, SOLD) > 0, "the sale is under way", within_s=60)
        leader = _first(connection, LEADER)
        relay.kill()
        wait_until(
            lambda: _first(connection, LEADER) not in {leader, None}, "the other leads", TAKEN_OVER_WITHIN_S
        )
        assert rush.wait(RUSH_ENDS_WITHIN_S) == 0
        wait_until(lambda: _first(connection, IS_PUBLISHED), "all is on the topic")
        wait_until(lambda: _first(connection, ARE_UP_TO_DATE), "read models are up to date")

        projector.terminate()
        wait_until(
            lambda: _shares(connection) == [list(range(PARTITIONS))], "the other has all", TAKEN_OVER_WITHIN_S
        )

        report = processes.report(tmp_path / "rush.json")
        assert report["seats_bought"] == SEATS
        assert connection.execute(SEATS_SOLD).fetchone() == (SEATS, SEATS)
        audit = msgspec.json.decode(processes.ticketing("audit", "--json", env=env))
        assert audit["ok"] is True, audit["breaches"]
        assert audit["read_models"]["different"] == 0
        position = _first(connection, TOPIC_POSITION)
        found = read_topic(kafka, topic_name)
        assert check_found(kafka, topic_name, found, read_log(dsn), range(1, position + 1)) == []


@contextmanager
def _rush(url: str, report: Path, env: Mapping[str, str]) -> Iterator["subprocess.Popen[bytes]"]:
    words = ["rush", "--buyers", str(BUYERS), "--concert", "CROWDED", "--url", url, "--json", str(report)]
    with processes.process(*words, env=env) as running:
        yield running


def _first(connection: psycopg.Connection[Any], query: LiteralString) -> Any:
    row = connection.execute(query).fetchone()
    return None if row is None else row[0]


def _shares(connection: psycopg.Connection[Any]) -> Sequence[Sequence[int]]:
    """The partitions of each projector, once all are shared by those that follow the topic."""
    told = connection.execute(PROJECTORS).fetchall()
    shares = [sorted(partitions) for partitions, reads in told if partitions and reads == "topic"]
    everything = sorted(partition for share in shares for partition in share)
    return shares if everything == list(range(PARTITIONS)) else []
