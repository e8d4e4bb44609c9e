"""`ticketing rebuild`: what it says, and how it ends."""

import logging
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import structlog
from psycopg import Connection
from rich.console import Console
from typer.testing import CliRunner, Result

from aggregates.seat import SeatSold
from cli.console import ExitCode
from cli.main import app
from cli.rebuild_progress import progress
from projections import registry, seat_map
from projections.rebuild import Step
from tests.audit.database import project, store
from tests.audit.sales import a_sale_of_all_kinds

NAMES = "concerts, seat_map, queue, reservations, payments, wallet_entries, deadlines"

SEAT_MAP_IS_MISSING = """
    DROP SCHEMA seat_map_v1 CASCADE;
    DELETE FROM ticketing.projection_schemas WHERE projection = 'seat_map';
"""

SECRET = "the secret that signs the tokens of these tests"

NOT_BUILT = "the read model seat_map v1 has not been built: run `ticketing rebuild seat_map`"


@pytest.fixture(autouse=True)
def surroundings_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No settings but those of the test, and its log goes with it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DATABASE_URL", raising=False)
    handlers, level = list(logging.root.handlers), logging.root.level
    heard = logging.getLogger("kafka").propagate
    yield
    structlog.reset_defaults()
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)
    logging.getLogger("kafka").propagate = heard


@pytest.fixture
def projected(dsn: str) -> str:
    """A database in which a sale is projected."""
    store(dsn, a_sale_of_all_kinds().rows())
    project(dsn)
    return dsn


def run(*arguments: str, **environment: str) -> Result:
    return CliRunner().invoke(app, arguments, env=environment)


def test_it_takes_names_or_says_which_there_are() -> None:
    for arguments, complaint in (
        ([], f"name a read model ({NAMES}), or say --all or --missing"),
        (["seatmap"], f"there is no read model seatmap, but these: {NAMES}"),
    ):
        result = run("rebuild", *arguments)
        assert result.exit_code == ExitCode.WRONG_INPUT
        assert result.stderr == f"ticketing: {complaint}\n"


def test_where_no_postgresql_runs_it_says_what_to_do() -> None:
    result = run("rebuild", "--all")
    assert result.exit_code == ExitCode.NOT_AVAILABLE
    assert "start `ticketing up`, or say in DATABASE_URL where another one is" in result.stderr


def test_it_says_what_was_wrong_with_the_one_before(projected: str, connection: Connection[Any]) -> None:
    connection.execute("UPDATE seat_map_v1.seats SET status = 'HELD'")
    result = run("rebuild", "seat_map", "deadlines", DATABASE_URL=projected)
    assert result.exit_code == ExitCode.DONE, result.stderr
    seats, deadlines = result.stdout.splitlines()
    assert "seat_map v1: in place at position " in seats
    assert seats.endswith("rows as the log says; of the one before, 3 differed")
    assert deadlines.endswith("rows as the log says, as before")


def test_one_that_is_not_what_the_log_says_ends_like_a_broken_rule(
    projected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    handlers = {**seat_map.PROJECTION.handlers}
    del handlers[SeatSold]
    forgetful = seat_map.PROJECTION._replace(handlers=handlers)
    monkeypatch.setattr(registry, "PROJECTIONS", [forgetful])
    result = run("rebuild", "seat_map", DATABASE_URL=projected)
    assert result.exit_code == ExitCode.RULE_BROKEN
    assert result.stdout == ""
    assert "seat_map.seats GALA 2026-05-01T19:30 1: status is HELD, not SOLD" in result.stderr
    assert "seat_map v1 was not put in place: " in result.stderr
    assert "it is kept as seat_map_next_v1 until the next rebuild" in result.stderr
    assert result.stderr.endswith("ticketing: not put in place: seat_map\n")


@pytest.mark.parametrize("command", ["api", "project", "timer"])
def test_a_process_that_lacks_a_read_model_says_what_to_run(
    projected: str, connection: Connection[Any], command: str
) -> None:
    connection.execute(SEAT_MAP_IS_MISSING)
    result = run(command, DATABASE_URL=projected, TICKETING_TOKEN_SECRET=SECRET)
    assert result.exit_code == ExitCode.NOT_AVAILABLE
    assert result.stderr == f"ticketing: {NOT_BUILT}\n"


def test_migrate_tells_of_it_and_missing_ones_are_built_at_once(
    projected: str, connection: Connection[Any]
) -> None:
    connection.execute(SEAT_MAP_IS_MISSING)
    result = run("migrate", DATABASE_URL=projected)
    assert result.exit_code == ExitCode.DONE
    assert result.stdout.splitlines()[-1] == NOT_BUILT

    result = run("rebuild", "--missing", DATABASE_URL=projected)
    assert result.exit_code == ExitCode.DONE, result.stderr
    assert result.stdout.startswith("seat_map v1: in place at position ")
    assert run("rebuild", "--missing", DATABASE_URL=projected).stdout == "No read model is missing.\n"


def test_old_versions_are_removed_when_asked_to(projected: str, connection: Connection[Any]) -> None:
    connection.execute("CREATE SCHEMA seat_map_v0")
    connection.execute("INSERT INTO ticketing.projection_schemas VALUES ('seat_map', 0, '')")
    result = run("rebuild", "--remove-old", DATABASE_URL=projected)
    assert result.exit_code == ExitCode.DONE, result.stderr
    assert result.stdout == "removed seat_map_v0\n"
    assert connection.execute("SELECT to_regnamespace('seat_map_v0')").fetchone() == (None,)
    assert run("rebuild", "--remove-old", DATABASE_URL=projected).stdout == ""


def test_on_a_terminal_a_bar_tells_speed_and_the_time_left() -> None:
    shown = StringIO()
    with progress(Console(file=shown, force_terminal=True, width=120)) as tell:
        tell(Step.SWITCH, "queue")
        for done in range(0, 1_001, 250):
            tell(Step.BUILD, "seat_map", done, 1_000)
    assert "building seat_map" in shown.getvalue()
    assert "1000/1000" in shown.getvalue()
    assert "events/s" in shown.getvalue()


def test_elsewhere_lines_tell_it_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cli.rebuild_progress.LINE_EVERY_S", 0.0)
    shown = StringIO()
    with progress(Console(file=shown, soft_wrap=True)) as tell:
        tell(Step.BUILD, "seat_map", 0, 1_000)
        tell(Step.BUILD, "seat_map", 400, 1_000)
        tell(Step.WAIT, "ticketing audit (process 1 of PostgreSQL)")
    first, second, third = shown.getvalue().splitlines()
    assert first == "building seat_map"
    assert second.startswith("building seat_map: 400 of 1,000 events, ")
    assert second.endswith(" s left")
    assert third == "waiting for ticketing audit (process 1 of PostgreSQL)"
