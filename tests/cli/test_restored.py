"""What the command line says and does when the log was restored."""

import subprocess
from pathlib import Path

import psycopg
import pytest
from typer.testing import CliRunner, Result

from cli.console import ExitCode
from cli.main import app
from infrastructure.epochs import settle
from tests.cli.running_service import TICKETING, environment, free_port, wait_until

SECRET = "a secret that is long enough to sign tokens with"
ENDS_WITHIN_S = 20


@pytest.fixture(autouse=True)
def folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No settings but those of the test, and no `.env`."""
    monkeypatch.chdir(tmp_path)


def run(dsn: str, *arguments: str) -> Result:
    return CliRunner().invoke(app, arguments, env={"DATABASE_URL": dsn})


def move(dsn: str) -> None:
    """Have the log find itself in another cluster than it was in."""
    settle(dsn)
    with psycopg.connect(dsn) as connection:
        connection.execute("""UPDATE ticketing.log_epochs SET whereabouts = '{"cluster": "another"}'""")


def test_migrating_begins_an_epoch_where_the_log_has_moved_and_says_so(dsn: str) -> None:
    move(dsn)
    said = run(dsn, "migrate")
    assert said.exit_code == ExitCode.DONE
    assert "epoch 2 begins after position 0 of what is left, which is empty" in said.stderr
    assert run(dsn, "migrate").stderr == ""


def test_an_operator_says_what_the_database_does_not_show(dsn: str) -> None:
    for number in (2, 3):
        said = run(dsn, "restored")
        assert said.exit_code == ExitCode.DONE
        assert f"epoch {number} begins" in said.stderr


def test_the_programs_of_postgresql_are_told_where_the_database_is(
    dsn: str, capfd: pytest.CaptureFixture[str]
) -> None:
    asked = run(dsn, "postgres", "psql", "--tuples-only", "--command", "SELECT current_database()")
    assert asked.exit_code == ExitCode.DONE
    assert capfd.readouterr().out.strip() in dsn
    assert run(dsn, "postgres", "psql", "--command", "no SQL").exit_code == 1
    assert run(dsn, "postgres", "../bin/psql").exit_code == ExitCode.WRONG_INPUT


def test_a_process_under_which_an_epoch_begins_ends_with_one_line(dsn: str, tmp_path: Path) -> None:
    port = free_port()
    settings = {"DATABASE_URL": dsn, "TICKETING_TOKEN_SECRET": SECRET, "TICKETING_LOG_LEVEL": "error"}
    api = subprocess.Popen(
        [*TICKETING, "api"],
        env={**environment(tmp_path, port), **settings},
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        wait_until(lambda: "ticketing-board" in connected(dsn), "the API reads", ENDS_WITHIN_S)
        settle(dsn, restored=True)
        _, said = api.communicate(timeout=ENDS_WITHIN_S)
    finally:
        api.kill()
    assert api.returncode == ExitCode.NOT_AVAILABLE
    assert said.splitlines() == [
        "ticketing: the log was restored or has failed over beneath this process, which begins anew"
    ]


def connected(dsn: str) -> set[str]:
    """Who has a connection."""
    with psycopg.connect(dsn) as connection:
        rows = connection.execute(
            "SELECT application_name FROM pg_stat_activity WHERE datname = current_database()"
        ).fetchall()
    return {name for (name,) in rows}
