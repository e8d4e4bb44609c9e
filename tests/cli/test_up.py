"""`ticketing up`, with real processes. Those that share a service run in one process of the test run."""

import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import psutil
import psycopg
import pytest

from cli.catalogue_file import SAMPLE
from cli.console import ExitCode
from infrastructure.data_folder import DataFolder
from infrastructure.embedded_postgres import EmbeddedPostgres
from tests.cli.running_service import (
    READY_WITHIN_S,
    STOPS_WITHIN_S,
    RunningService,
    free_port,
    has_ended,
    running_service,
    starting_service,
    ticketing,
    wait_until,
)

ENDS_ALONE_WITHIN_S = 10.0

pytestmark = pytest.mark.xdist_group("up")


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A folder in which root, too, can run a PostgreSQL."""
    path = Path(tempfile.mkdtemp(prefix="ticketing-up-"))
    path.chmod(0o711)
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="module")
def service(folder: Path) -> Iterator[RunningService]:
    """One service for all tests that only look, or leave it as they found it."""
    with running_service(folder / "shared", free_port()) as running:
        yield running


def one_line(refused: "subprocess.CompletedProcess[str]", exit_code: ExitCode) -> str:
    assert refused.returncode == exit_code, refused.stderr
    assert refused.stdout == ""
    lines = refused.stderr.splitlines()
    assert len(lines) == 1, refused.stderr
    return lines[0]


def test_it_says_where_to_look(service: RunningService) -> None:
    url = f"http://127.0.0.1:{service.port}"
    assert url in service.said
    assert f"{url}/docs" in service.said
    assert str(service.data_folder / "secrets.json") in service.said
    assert str(service.data_folder / "logs") in service.said
    assert "ticketing rush --buyers 1000 --concert FIVE-NIGHTS" in service.said
    assert service.answer("/healthz") == {"status": "alive"}


def test_an_empty_log_gets_the_sample_catalogue(service: RunningService) -> None:
    concerts = service.answer("/api/v1/concerts")["items"]
    assert {concert["code"]: concert["sales"] for concert in concerts} == {
        "FIVE-NIGHTS": "OPEN",
        "THEATRE": "OPEN",
        "ARENA": "CLOSED",
    }


def test_read_models_are_rebuilt_while_it_runs(service: RunningService) -> None:
    done = ticketing("rebuild", "concerts", "seat_map", data_folder=service.data_folder, port=service.port)
    assert done.returncode == ExitCode.DONE, done.stderr
    assert re.findall(r"^(\w+ v1): in place at position", done.stdout, re.MULTILINE) == [
        "concerts v1",
        "seat_map v1",
    ]
    assert "building concerts, seat_map" in done.stderr
    assert {concert["code"] for concert in service.answer("/api/v1/concerts")["items"]} == {
        "FIVE-NIGHTS",
        "THEATRE",
        "ARENA",
    }


SEAT_MAP_OF_OLDER_SOFTWARE = """
    ALTER SCHEMA seat_map_v1 RENAME TO seat_map_v0;
    UPDATE ticketing.projection_schemas SET version = 0 WHERE projection = 'seat_map';
    UPDATE ticketing.projection_checkpoints SET version = 0 WHERE projection = 'seat_map';
"""

SEAT_MAPS = "SELECT nspname FROM pg_namespace WHERE nspname LIKE 'seat\\_map\\_%'"


def test_after_an_upgrade_it_builds_the_new_read_models_itself(folder: Path) -> None:
    data_folder, port = folder / "upgraded", free_port()
    with running_service(data_folder, port) as before, psycopg.connect(dsn_of(before)) as connection:
        connection.execute(SEAT_MAP_OF_OLDER_SOFTWARE)
        connection.commit()
    with running_service(data_folder, port) as after, psycopg.connect(dsn_of(after)) as connection:
        assert "seat_map v1: in place at position" in after.said
        assert "removed seat_map_v0" in after.said
        assert connection.execute(SEAT_MAPS).fetchall() == [("seat_map_v1",)]
        dates = after.answer("/api/v1/concerts/FIVE-NIGHTS")
        assert dates["code"] == "FIVE-NIGHTS"


def dsn_of(service: RunningService) -> str:
    """Where its PostgreSQL listens."""
    data_folder = DataFolder(service.data_folder)
    return EmbeddedPostgres(data_folder.postgres, data_folder.postgres_log).dsn


def test_the_generated_key_opens_the_admin_calls_and_is_shown_to_a_terminal_only(
    service: RunningService,
) -> None:
    admin_key = service.secrets["admin_key"]
    stats = service.answer("/api/v1/admin/concerts/ARENA/stats", token=admin_key)
    assert stats["seats"]["available"] == 15_000
    assert admin_key not in service.said


def test_secrets_stand_in_no_argument(service: RunningService) -> None:
    supervisor = psutil.Process(service.process.pid)
    arguments = [process.cmdline() for process in (supervisor, *supervisor.children(recursive=True))]
    assert len(arguments) >= 5
    for secret in service.secrets.values():
        assert not any(secret in argument for one in arguments for argument in one)


def test_every_child_has_a_session_of_its_own(service: RunningService) -> None:
    children = service.children()
    assert children.keys() == {"api", "project", "timer", "postgres"}
    assert all(os.getsid(child.pid) == child.pid for child in children.values())


def test_a_taken_port_is_one_line_and_nothing_was_started(service: RunningService, folder: Path) -> None:
    refused = ticketing("up", data_folder=folder / "other", port=service.port)
    assert f"port {service.port} of 127.0.0.1 is taken" in one_line(refused, ExitCode.NOT_AVAILABLE)
    assert not (folder / "other").exists()


def test_a_data_folder_in_use_is_one_line(service: RunningService) -> None:
    refused = ticketing("up", data_folder=service.data_folder, port=free_port())
    assert f"is in use by process {service.process.pid}" in one_line(refused, ExitCode.NOT_AVAILABLE)
    assert service.is_ready()


def test_the_catalogue_is_loaded_into_the_running_service(service: RunningService, folder: Path) -> None:
    season = folder / "season.yaml"
    season.write_text(SAMPLE.read_text().replace("FIVE-NIGHTS", "SIX-NIGHTS"))
    loaded = ticketing("catalogue", "load", str(season), data_folder=service.data_folder, port=service.port)
    assert loaded.returncode == 0, loaded.stderr
    assert "SIX-NIGHTS: announced, 5 performances added, sales opened" in loaded.stdout
    assert "ARENA: already there" in loaded.stdout
    wait_until(lambda: "SIX-NIGHTS" in json.dumps(service.answer("/api/v1/concerts")), "listed")


def test_a_crowd_buys_what_there_is_and_the_audit_finds_every_rule_kept(
    service: RunningService, folder: Path
) -> None:
    """Three hundred buyers want 250 seats: the whole way, over HTTP, by the installed command."""
    kept = folder / "rush.json"
    arguments = ["rush", "--buyers", "300", "--concert", "FIVE-NIGHTS", "--poll-every", "200"]
    rushed = ticketing(*arguments, "--json", str(kept), data_folder=service.data_folder, port=service.port)
    assert rushed.returncode == 0, rushed.stdout + rushed.stderr
    report = json.loads(kept.read_text())
    assert report["ends"] == {"bought": 250, "sold out": 50}
    assert (report["seats_bought"], report["won_paid"]) == (250, 25_000_000)
    assert report["contradictions"] == []
    assert report["audit"]["ok"] is True
    assert report["audit"]["payments"]["completed"] == 250
    assert sorted(visit["queue_number"] for visit in report["visits"]) == list(range(1, 301))
    assert "Every rule was kept." in rushed.stdout


def test_a_rush_for_what_is_not_there_or_not_on_sale_is_one_line(service: RunningService) -> None:
    for concert, complaint, exit_code in (
        ("NOWHERE", "there is no NOWHERE", ExitCode.WRONG_INPUT),
        ("ARENA", "ARENA is not on sale", ExitCode.NOT_AVAILABLE),
    ):
        arguments = ["rush", "--buyers", "1", "--concert", concert]
        refused = ticketing(*arguments, data_folder=service.data_folder, port=service.port)
        assert complaint in one_line(refused, exit_code)


@pytest.mark.parametrize("name", ["timer", "api", "postgres"])
def test_a_child_that_dies_is_started_again(service: RunningService, name: str) -> None:
    killed = service.children()[name]
    killed.kill()

    def another_runs() -> bool:
        children = service.children()
        return name in children and children[name] != killed and service.is_ready()

    wait_until(another_runs, f"another {name}", within_s=25)
    words = {"postgres": "PostgreSQL"}.get(name, name)
    assert f"{words} was ended by SIGKILL" in service.said


def test_it_ends_cleanly_and_keeps_its_data_and_cleans_up_after_a_kill(folder: Path) -> None:
    """Ctrl-C, then a kill -9, on one folder: three starts, and what was acknowledged is there in the last."""
    data_folder, user_id = folder / "kept", str(uuid4())
    with running_service(data_folder, free_port(), "--no-sample") as first:
        first.answer("/api/v1/users", {"user_id": user_id})
        first.answer(f"/api/v1/users/{user_id}/wallet/charges", {"amount": 7_000})
        children = psutil.Process(first.process.pid).children()
        assert first.stop(signal.SIGINT) < STOPS_WITHIN_S
        assert first.process.returncode == 0
        assert all(has_ended(child) for child in children)
        assert "ticketing catalogue load FILE" in first.said
    assert "database system is shut down" in (data_folder / "logs" / "postgres.log").read_text()

    with running_service(data_folder, free_port(), "--no-sample", "--api-processes", "2") as second:
        children = psutil.Process(second.process.pid).children()
        assert len(children) == 5
        second.process.kill()
        second.process.wait()
        (postgres,) = (child for child in children if child.name().startswith("postgres"))
        orphans = [child for child in children if child != postgres]
        wait_until(lambda: all(has_ended(orphan) for orphan in orphans), "gone", ENDS_ALONE_WITHIN_S)

    with running_service(data_folder, second.port, "--no-sample") as third:
        assert has_ended(postgres)
        wallet = third.answer(f"/api/v1/users/{user_id}/wallet")
        assert wallet["balance"] == 7_000


@pytest.mark.parametrize("log", ["postgres", "api"])
def test_it_stops_in_the_middle_of_its_start(folder: Path, log: str) -> None:
    """SIGTERM while PostgreSQL makes its folder, and while the API starts: nothing stays behind."""
    data_folder = folder / f"hasty-{log}"
    begun = data_folder / "logs" / f"{log}.log"
    with starting_service(data_folder, free_port(), "--no-sample") as starting:
        wait_until(begun.exists, f"{begun} is there", READY_WITHIN_S)
        assert starting.stop(signal.SIGTERM) < STOPS_WITHIN_S
        assert starting.process.returncode == 0
    assert "Ready after" not in starting.said
    assert not [process for process in psutil.process_iter() if str(data_folder) in _arguments(process)]


def _arguments(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""
