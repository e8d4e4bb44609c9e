"""`ticketing audit`: replays the log and holds it against the rules."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.console import ExitCode, Failure, err, out

if TYPE_CHECKING:
    from audit import CsvLedger, Progress

HELP = """Replay the log, and nothing but the log, and find every breach of a rule.

Adds up wallets, payments and concerts, and compares the read models with the replay. \
Exits 1 if a rule was broken or a read model differs.

\b
Examples:
  ticketing audit
  ticketing audit --json | jq .breaches
  ticketing audit --csv books/ --at 2027-05-01T00:00:00Z
"""


def command(
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the report as JSON, as the API has it.")
    ] = False,
    csv: Annotated[
        Path | None,
        typer.Option(help="Write payments.csv and wallets.csv into this folder.", metavar="FOLDER"),
    ] = None,
    at: Annotated[
        str | None,
        typer.Option(help="Replay up to the first event recorded after this RFC 3339 time.", metavar="TIME"),
    ] = None,
    compare: Annotated[
        bool, typer.Option("--compare/--no-compare", help="Compare the read models with the replay.")
    ] = True,
) -> None:
    """Replay, and print what was found as a table or as JSON."""
    import msgspec

    from audit import Difference, run
    from cli.audit_report import SHOWN_MAX, show
    from cli.environment import database_failures, database_url, settings_or_fail

    settings = settings_or_fail()
    moment = None if at is None else _moment(at)
    differences: list[Difference] = []

    def note(difference: Difference) -> None:
        if len(differences) < SHOWN_MAX:
            differences.append(difference)

    with _ledger(csv) as ledger, _progress() as progress, database_failures(settings):
        report = run(
            database_url(settings),
            at=moment,
            compare=compare and moment is None,
            progress=progress,
            ledger=None if ledger is None else ledger.write,
            on_difference=note,
        )
    if as_json:
        out.print(msgspec.json.format(msgspec.json.encode(report)).decode(), markup=False)
    else:
        show(report, out, differences)
    if not report.ok:
        raise typer.Exit(ExitCode.RULE_BROKEN)


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise Failure(
            f"--at: {text} is not an RFC 3339 time like 2027-05-01T09:00:00Z", ExitCode.WRONG_INPUT
        ) from None
    if moment.tzinfo is None:
        raise Failure(f"--at: {text} needs an offset, like Z or +09:00", ExitCode.WRONG_INPUT)
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise Failure(f"--at: {text} is out of range", ExitCode.WRONG_INPUT) from None


def _ledger(folder: Path | None) -> "AbstractContextManager[CsvLedger | None]":
    from audit import CsvLedger

    if folder is None:
        return nullcontext()
    try:
        return CsvLedger(folder)
    except OSError as error:
        raise Failure(
            f"--csv: {folder}: {(error.strerror or str(error)).lower()}", ExitCode.WRONG_INPUT
        ) from None


@contextmanager
def _progress() -> "Iterator[Progress | None]":
    """A bar on standard error, where that is a terminal; it is gone when the replay has ended."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    if not err.is_terminal:
        yield None
        return
    columns: list[Any] = [TextColumn("replaying"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()]
    with Progress(*columns, console=err, transient=True) as bar:
        task = bar.add_task("replaying", total=None)
        yield lambda position, last: bar.update(task, completed=position, total=max(last, 1))
