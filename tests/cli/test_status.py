"""The status tells of everything that runs, and of what is wrong."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg.types.json import Jsonb
from typer.testing import CliRunner, Result

from cli.console import ExitCode
from cli.main import app
from projections.registry import PROJECTIONS
from tests.aggregates.given import ANN
from tests.commands.sale import Sale
from tests.commands.steps import registered
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


@pytest.fixture(autouse=True)
def folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DATABASE_URL", raising=False)


def run(dsn: str, *options: str) -> Result:
    return CliRunner().invoke(app, ["status", *options], env={"DATABASE_URL": dsn})


def execute(dsn: str, statement: Any, *parameters: Any) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(statement, parameters)


def running(dsn: str, *, leads: bool = True, silent_s: float = 0.0) -> None:
    """Have one of each process tell of itself."""
    execute(dsn, WORKER, "projector", uuid4(), 0, Jsonb({"position": 0}))
    execute(dsn, WORKER, "timer", uuid4(), silent_s, Jsonb({"leads": leads}))
    execute(dsn, API, uuid4(), 0)


def wrong(dsn: str) -> Sequence[str]:
    result = run(dsn, "--json")
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
