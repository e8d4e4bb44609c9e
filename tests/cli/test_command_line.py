import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from cli.console import ExitCode
from cli.main import app

COMMANDS = [
    ["up"],
    ["rush"],
    ["audit"],
    ["status"],
    ["health"],
    ["dead-letters", "list"],
    ["dead-letters", "show"],
    ["dead-letters", "retry"],
    ["dead-letters", "drop"],
    ["migrate"],
    ["restored"],
    ["postgres"],
    ["rebuild"],
    ["api"],
    ["relay"],
    ["project"],
    ["timer"],
    ["catalogue", "load"],
    ["catalogue", "schema"],
    ["catalogue", "sample"],
    ["topic", "schema"],
]

RUSH = ["rush", "--buyers", "1", "--concert", "FIVE-NIGHTS"]

NOBODY_LISTENS = "postgresql://127.0.0.1:1/nothing"


@pytest.fixture(autouse=True)
def folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No settings but those of the test, and no `.env`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DATABASE_URL", raising=False)


def run(*arguments: str, **environment: str) -> Result:
    return CliRunner().invoke(app, arguments, env=environment)


def complaint_of(result: Result, exit_code: ExitCode) -> str:
    """What was said of something that went wrong: one line, and nothing else."""
    assert isinstance(result.exception, SystemExit), result.exception
    assert result.exit_code == exit_code
    assert result.stdout == ""
    lines = result.stderr.splitlines()
    assert len(lines) == 1, result.stderr
    return lines[0]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_explains_itself_with_an_example(command: list[str]) -> None:
    result = run(*command, "--help")
    assert result.exit_code == 0
    assert re.search(r"Examples?:\s+.*ticketing ", result.output, re.DOTALL)


def test_all_commands_are_known_to_these_tests() -> None:
    names = {command.name for command in app.registered_commands}
    groups = {group.name: group.typer_instance for group in app.registered_groups}
    for group, typer_instance in groups.items():
        assert typer_instance is not None
        names |= {f"{group} {command.name}" for command in typer_instance.registered_commands}
    assert names == {" ".join(command) for command in COMMANDS}


def test_without_a_command_it_shows_its_help_and_the_exit_codes() -> None:
    result = run()
    assert result.exit_code == 0
    assert "Commands" in result.output
    assert "Exit codes: 0 done; 1 a rule was broken" in result.output


def test_it_tells_its_version() -> None:
    assert re.fullmatch(r"ticketing \d+\.\d+\.\d+\n", run("--version").output)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["rsh"], "No such command 'rsh'. Did you mean 'rush'?"),
        (["rush", "--buyers", "5"], "Missing option '--concert'"),
        (["rush", "--buyers", "0", "--concert", "X"], "--buyers"),
        (["rush", "--buyers", "many", "--concert", "X"], "--buyers"),
        (["up", "--api-processes", "0"], "--api-processes"),
        (["up", "--nonsense"], "No such option"),
        (["audit", "--at"], "--at"),
        (["audit", "--at", "yesterday"], "yesterday is not an RFC 3339 time"),
        (["audit", "--at", "2027-01-01T00:00:00"], "needs an offset"),
        (["audit", "--at", "0001-01-01T00:00:00+09:00"], "is out of range"),
        (["audit", "--at", "9999-12-31T23:59:59-09:00"], "is out of range"),
        (["catalogue"], "Missing command"),
        (["catalogue", "load"], "Missing argument"),
        (["catalogue", "load", "nothing.yaml"], "nothing.yaml: no such file or directory"),
        (["catalogue", "load", "."], "is a directory"),
        ([*RUSH, "--over", "5"], "--over"),
        ([*RUSH, "--arrival", "nothing.csv"], "nothing.csv: no such file or directory"),
        ([*RUSH, "--url", "ftp://example.test"], "ftp://example.test is not an address"),
        ([*RUSH, "--url", "http://example.test:port"], "is not an address"),
        ([*RUSH, "--json", "nowhere/report.json"], "nowhere/report.json: no such file or directory"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_what_was_typed_wrongly_is_named_in_one_line(arguments: list[str], complaint: str) -> None:
    assert complaint in complaint_of(run(*arguments), ExitCode.WRONG_INPUT)


@pytest.mark.parametrize("command", ["up", "api", "relay", "project", "timer", "audit", "migrate"])
def test_a_wrong_setting_is_named_in_one_line(command: str) -> None:
    result = run(command, TICKETING_PORT="eighty")
    assert "TICKETING_PORT: must be a valid integer" in complaint_of(result, ExitCode.WRONG_INPUT)


@pytest.mark.parametrize("command", ["project", "timer"])
def test_a_process_for_production_needs_a_database(command: str) -> None:
    assert "DATABASE_URL: missing" in complaint_of(run(command), ExitCode.WRONG_INPUT)


def test_an_api_process_needs_a_token_secret() -> None:
    result = run("api", DATABASE_URL=NOBODY_LISTENS)
    assert "TICKETING_TOKEN_SECRET: missing" in complaint_of(result, ExitCode.WRONG_INPUT)


@pytest.mark.parametrize("command", ["project", "timer", "audit", "migrate"])
def test_a_database_out_of_reach_is_one_line(command: str) -> None:
    result = run(command, DATABASE_URL=NOBODY_LISTENS)
    assert "DATABASE_URL: the database cannot be reached" in complaint_of(result, ExitCode.NOT_AVAILABLE)


@pytest.mark.parametrize("command", ["audit", "migrate"])
def test_a_data_folder_where_nothing_runs_is_one_line(command: str) -> None:
    complaint = complaint_of(run(command), ExitCode.NOT_AVAILABLE)
    assert "no PostgreSQL runs in" in complaint
    assert "ticketing up" in complaint


@pytest.mark.parametrize("command", ["project", "timer", "audit"])
def test_a_database_without_our_schema_is_told_to_be_migrated(command: str, empty_dsn: str) -> None:
    result = run(command, DATABASE_URL=empty_dsn)
    assert "ticketing migrate" in complaint_of(result, ExitCode.NOT_AVAILABLE)


def test_migrate_says_what_it_applied_and_the_second_time_that_nothing_was_left(empty_dsn: str) -> None:
    first = run("migrate", DATABASE_URL=empty_dsn)
    assert first.exit_code == 0
    assert "applied 0001" in first.stdout
    assert run("migrate", DATABASE_URL=empty_dsn).stdout == "The schema is up to date.\n"


def test_a_descriptor_that_is_no_socket_is_refused(dsn: str) -> None:
    result = run("api", "--fd", "987", DATABASE_URL=dsn, TICKETING_TOKEN_SECRET="s" * 32)
    assert "987 is not an inherited socket" in complaint_of(result, ExitCode.WRONG_INPUT)


def test_a_rush_at_nobody_is_one_line() -> None:
    complaint = complaint_of(run(*RUSH, "--url", "http://127.0.0.1:1"), ExitCode.NOT_AVAILABLE)
    assert "no service answers at http://127.0.0.1:1" in complaint


def test_an_audit_of_an_empty_log_is_clean(dsn: str) -> None:
    result = run("audit", DATABASE_URL=dsn)
    assert result.exit_code == 0
    assert "Every rule was kept." in result.stdout


def test_an_audit_prints_the_report_as_json(dsn: str) -> None:
    report: dict[str, Any] = json.loads(run("audit", "--json", DATABASE_URL=dsn).stdout)
    assert report["ok"] is True
    assert report["events"] == 0
    assert report["read_models"] == {"compared": 0, "different": 0, "parked": {}}


def test_an_audit_keeps_its_books_as_csv(dsn: str, tmp_path: Path) -> None:
    books = tmp_path / "books"
    assert run("audit", "--csv", str(books), DATABASE_URL=dsn).exit_code == 0
    assert {file.name for file in books.iterdir()} == {"payments.csv", "wallets.csv"}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no disk that is always full")
def test_a_full_disk_is_one_line_and_no_broken_rule(dsn: str) -> None:
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(
            [sys.executable, "-m", "cli.main", "audit", "--json"],
            cwd=Path(__file__).parents[2],
            env={**os.environ, "DATABASE_URL": dsn},
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert ended.stderr == "ticketing: no space left on device\n"
    assert ended.returncode == ExitCode.NOT_AVAILABLE


def test_output_that_nobody_reads_is_no_broken_rule() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as closed:
        ended = subprocess.run(
            [sys.executable, "-m", "cli.main", "catalogue", "sample"],
            cwd=Path(__file__).parents[2],
            stdout=closed,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert ended.stderr == ""
    assert ended.returncode == ExitCode.NOBODY_READS


def test_books_that_cannot_be_written_are_one_line(dsn: str, tmp_path: Path) -> None:
    (tmp_path / "taken").touch()
    result = run("audit", "--csv", "taken", DATABASE_URL=dsn)
    assert "--csv: taken: file exists" in complaint_of(result, ExitCode.WRONG_INPUT)
