"""The status tells of everything that runs, and of what is wrong."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg import Connection
from psycopg.types.json import Jsonb
from typer.testing import CliRunner, Result

from aggregates.event import RecordedEvent
from cli.console import ExitCode
from cli.main import app
from projections.registry import PROJECTIONS
from tests.aggregates.given import ANN, BEN
from tests.commands.sale import Sale
from tests.commands.steps import on_sale, registered
from tests.projections.partitioned import PARTITIONS, last_positions, project_to, publish, register, settle
from tests.projections.read_models import project
from tests.projections.tables import write_log

WORKER = """
    INSERT INTO ticketing.worker_status (role, process_id, beat_at, facts)
    VALUES (%s, %s, clock_timestamp() - make_interval(secs => %s), %s)
"""

API = """
    INSERT INTO ticketing.hearing (process_id, since, beat_at)
    VALUES (%s, clock_timestamp(), clock_timestamp() - make_interval(secs => %s))
"""

PARK = """
    INSERT INTO ticketing.dead_letters (projection, position, stream_id, stream, version, topic, error, tries)
    VALUES ('seat_map', 1, gen_random_uuid(), 'seat/A/B/7', 1, 'seat.held', 'why', 3)
"""


SILENCE_RELAYS = """
    UPDATE ticketing.worker_status SET beat_at = beat_at - interval '30 s' WHERE role = 'relay'
"""


@pytest.fixture(autouse=True)
def folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for setting in ("DATABASE_URL", "TICKETING_KAFKA"):
        monkeypatch.delenv(setting, raising=False)


def run(dsn: str, *options: str, **settings: str) -> Result:
    return CliRunner().invoke(app, ["status", *options], env={"DATABASE_URL": dsn, **settings})


def execute(dsn: str, statement: Any, *parameters: Any) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(statement, parameters)


def running(dsn: str, *, leads: bool = True, silent_s: float = 0.0) -> None:
    """Have one of each process tell of itself."""
    execute(dsn, WORKER, "projector", uuid4(), 0, Jsonb({"position": 0}))
    execute(dsn, WORKER, "timer", uuid4(), silent_s, Jsonb({"leads": leads}))
    execute(dsn, API, uuid4(), 0)


def wrong(dsn: str, **settings: str) -> Sequence[str]:
    result = run(dsn, "--json", **settings)
    told: Sequence[str] = json.loads(result.stdout)["wrong"]
    assert result.exit_code == (ExitCode.RULE_BROKEN if told else 0)
    return told


def test_all_is_well_while_everything_runs(dsn: str) -> None:
    running(dsn)
    assert wrong(dsn) == []
    shown = run(dsn)
    assert shown.exit_code == 0
    assert "All is well." in shown.stdout
    assert all(projection.name in shown.stdout for projection in PROJECTIONS)
    assert all(role in shown.stdout for role in ("api", "projector", "timer"))


def test_what_does_not_run_is_wrong(dsn: str) -> None:
    assert wrong(dsn) == ["no api is running", "no projector is running", "no timer is running"]
    running(dsn, leads=False)
    assert wrong(dsn) == ["no timer leads"]


def test_a_process_that_went_silent_is_wrong(dsn: str) -> None:
    running(dsn, silent_s=30)
    no_timer, silent = wrong(dsn)
    assert no_timer == "no timer is running"
    assert silent.startswith("timer ")
    assert "has been silent for 30 s" in silent


def test_parked_events_are_wrong(dsn: str) -> None:
    running(dsn)
    execute(dsn, PARK)
    assert wrong(dsn) == ["seat_map has parked 1 events of 1 streams: see `ticketing dead-letters`"]
    assert "seat_map has parked" in run(dsn).stdout


def test_a_read_model_that_is_behind_is_told_in_events_and_seconds(dsn: str) -> None:
    """The events of the test were recorded long ago, so they are old at once."""
    running(dsn)
    sale = Sale()
    sale.done(registered(ANN, balance=10))
    with psycopg.connect(dsn, autocommit=True) as connection:
        write_log(connection, sale.log.events)
    told = json.loads(run(dsn, "--json").stdout)
    assert told["log"]["position"] == 2
    assert {one["behind_events"] for one in told["read_models"]} == {2}
    assert len(told["wrong"]) == len(PROJECTIONS)

    project(dsn, sale.log.events)

    assert wrong(dsn) == []


def recorded(dsn: str) -> Sequence[RecordedEvent]:
    """Some events of different partitions, recorded long ago."""
    sale = Sale()
    sale.done(on_sale(), registered(ANN, balance=10), registered(BEN, balance=20))
    with psycopg.connect(dsn, autocommit=True) as connection:
        write_log(connection, sale.log.events)
    return sale.log.events


def relay(dsn: str, *, leads: bool, error: str = "") -> None:
    execute(dsn, WORKER, "relay", uuid4(), 0, Jsonb({"leads": leads, "position": 0, "error": error}))


def test_the_topic_is_shown_and_how_far_behind_it_is(dsn: str, connection: Connection[Any]) -> None:
    running(dsn)
    relay(dsn, leads=True)
    relay(dsn, leads=False)
    events = recorded(dsn)
    register(connection)
    project_to(dsn, [events[-1].position] * PARTITIONS)
    publish(connection, events[-3].position)

    told = json.loads(run(dsn, "--json").stdout)

    topic = told["topic"]
    behind_s = topic.pop("behind_s")
    assert topic == {
        "name": "ticketing.test",
        "partitions": PARTITIONS,
        "position": events[-3].position,
        "behind_events": 2,
    }
    assert behind_s > 10
    assert {one["behind_events"] for one in told["read_models"]} == {0}
    assert told["wrong"] == [f"the relay is {behind_s:,.0f} s behind: is Kafka out of reach? its log says"]
    shown = run(dsn).stdout
    assert f"The topic ticketing.test (4 partitions) has it up to position {events[-3].position}" in shown
    assert "2 events, " in shown
    assert "stands by" in shown

    publish(connection, events[-1].position)

    assert wrong(dsn) == []


def test_a_relay_that_is_behind_says_why(dsn: str, connection: Connection[Any]) -> None:
    running(dsn)
    relay(dsn, leads=False, error="nothing of now")
    relay(dsn, leads=True, error="NoBrokersAvailable: NoBrokersAvailable")
    last = recorded(dsn)[-1].position
    register(connection)
    project_to(dsn, [last] * PARTITIONS)
    (line,) = wrong(dsn)
    assert line.endswith(" s behind: is Kafka out of reach? it says NoBrokersAvailable: NoBrokersAvailable")


def test_read_models_that_stand_at_different_positions_tell_them_by_partition(
    dsn: str, connection: Connection[Any]
) -> None:
    running(dsn)
    last = recorded(dsn)[-1].position
    register(connection)
    project_to(dsn, [last] * PARTITIONS)
    assert "by partition" not in run(dsn).stdout
    execute(dsn, "UPDATE ticketing.projection_checkpoints SET position = 3 WHERE partition = 1")
    told = json.loads(run(dsn, "--json").stdout)
    assert {tuple(one["checkpoints"]) for one in told["read_models"]} == {(last, 3, last, last)}
    assert {one["position"] for one in told["read_models"]} == {3}
    assert {one["behind_events"] for one in told["read_models"]} == {last - 3}
    assert f"queue by partition: 0 at {last}, 1 at 3, 2 at {last}, 3 at {last}" in run(dsn).stdout


def test_a_quiet_partition_is_not_behind(dsn: str, connection: Connection[Any]) -> None:
    running(dsn)
    relay(dsn, leads=True)
    events = recorded(dsn)
    register(connection)
    project_to(dsn, last_positions(events))
    publish(connection, events[-1].position)
    settle(dsn)
    assert wrong(dsn) == []
    assert {one["behind_events"] for one in json.loads(run(dsn, "--json").stdout)["read_models"]} == {0}


def test_a_topic_needs_a_relay_that_leads(dsn: str, connection: Connection[Any]) -> None:
    kafka = {"TICKETING_KAFKA": "localhost:9092"}
    running(dsn)
    register(connection)
    assert wrong(dsn) == [], "Kafka is not in use"
    assert wrong(dsn, **kafka) == ["no relay is running"]
    execute(dsn, WORKER, "projector", uuid4(), 0, Jsonb({"partitions": []}))
    assert wrong(dsn) == ["no relay is running"], "a projector would follow it"
    relay(dsn, leads=False)
    assert wrong(dsn) == wrong(dsn, **kafka) == ["no relay leads"]
    relay(dsn, leads=True)
    assert wrong(dsn, **kafka) == []
    execute(
        dsn, "UPDATE ticketing.worker_status SET beat_at = beat_at - interval '30 s' WHERE role = 'relay'"
    )
    first, silent, also_silent = sorted(wrong(dsn))
    assert first == "no relay is running"
    assert silent.startswith("relay ")
    assert also_silent.startswith("relay ")


def test_it_shows_who_follows_which_partitions_and_who_reads_the_log(dsn: str) -> None:
    running(dsn)
    assert "follows" not in run(dsn).stdout
    for partitions, reads in (([4, 0, 1, 2], "topic"), ([3], "log"), ([], "topic")):
        execute(dsn, WORKER, "projector", uuid4(), 0, Jsonb({"partitions": partitions, "reads": reads}))
    projectors = [line for line in run(dsn).stdout.splitlines() if line.startswith("projector")]
    shown = {line.partition(" ago")[2].strip() for line in projectors}
    assert shown == {"", "0-2, 4", "3, from the log", "no partition"}


def test_an_audit_that_is_running_is_shown(dsn: str) -> None:
    running(dsn)
    execute(
        dsn,
        """
        INSERT INTO ticketing.audits (audit_id, requested_at, status, progress)
        VALUES (gen_random_uuid(), clock_timestamp(), 'RUNNING', 0.25)
        """,
    )
    assert "An audit is running" in run(dsn).stdout
    assert json.loads(run(dsn, "--json").stdout)["audits"][0]["progress"] == 0.25
