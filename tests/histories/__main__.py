"""Play a history against a service of its own, and see whether the rules explain it.

Exits with 1 where they do not; then the history, the event log and what the processes said are kept.
"""

import argparse
import asyncio
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Coroutine
from pathlib import Path

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from infrastructure import schema
from infrastructure.embedded_postgres import EmbeddedPostgres
from tests.histories import History, Recorder, Violation, check, event_log, run_load
from tests.histories.load import BUYERS
from tests.histories.service import audit, running_processes

VIOLATIONS_SHOWN_MAX = 10
LOOK_EVERY_S = 0.5


def main() -> int:
    """Play, check, compare, audit, and say what came of it."""
    asked = _asked()
    folder = Path(tempfile.mkdtemp(prefix="ticketing-histories-"))
    folder.chmod(0o711)  # root has PostgreSQL run by another account
    console = Console(soft_wrap=True, highlight=False)
    violations, history = _play(asked, folder, console)
    _show(history, console)
    for violation in violations[:VIOLATIONS_SHOWN_MAX]:
        console.print(str(violation), markup=False, style="red")
    console.print(f"seed {asked.seed}: {len(history.calls)} calls, {len(violations)} violations")
    if violations:
        console.print(f"history.jsonl, the event log (postgres/) and what was said: {folder}")
        return 1
    shutil.rmtree(folder)
    return 0


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.histories", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60, help="how long to play (default: 60)")
    parser.add_argument("--seed", type=int, default=1, help="what the clients do (default: 1)")
    parser.add_argument("--buyers", type=int, default=BUYERS, help=f"at once (default: {BUYERS})")
    parser.add_argument("--api-processes", type=int, default=2, help="each with its port (default: 2)")
    return parser.parse_args()


def _play(asked: argparse.Namespace, folder: Path, console: Console) -> tuple[list[Violation], History]:
    with EmbeddedPostgres(folder / "postgres", folder / "postgres.log") as postgres:
        schema.migrate(postgres.dsn)
        recording = Recorder(folder / "history.jsonl")
        processes = running_processes(postgres.dsn, folder, api_processes=asked.api_processes)
        with recording as recorder, processes as target:
            load = run_load(
                target, seed=asked.seed, seconds=asked.seconds, recorder=recorder, buyers=asked.buyers
            )
            asyncio.run(_shown(load, recorder, asked.seconds))
        return _checked(recorder.history, postgres.dsn, console), recorder.history


async def _shown(load: Coroutine[None, None, None], recorder: Recorder, seconds: float) -> None:
    """Play, and show how far it has come."""
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        shown = progress.add_task("")
        playing = asyncio.ensure_future(load)
        while not playing.done():
            lost = sum(count for (_, outcome), count in recorder.counts.items() if outcome == "lost")
            told = f"{len(recorder.calls):>8} calls, {lost} without an answer, {seconds:g} s to play"
            progress.update(shown, description=told)
            await asyncio.wait({playing}, timeout=LOOK_EVERY_S)
        playing.result()


def _checked(history: History, dsn: str, console: Console) -> list[Violation]:
    began_at = time.monotonic()
    violations = check(history)
    console.print(f"checked in {time.monotonic() - began_at:.1f} s: {len(violations)} violations")
    events = event_log.read(dsn)
    compared = event_log.compare(history, events)
    console.print(f"compared with {len(events)} events: {len(compared)} differences")
    audited = audit(dsn)
    console.print(f"ticketing audit: {'clean' if audited.returncode == 0 else 'not clean'}")
    if audited.returncode != 0:
        compared.append(Violation("A1", f"ticketing audit found\n{audited.stdout}{audited.stderr}"))
    return violations + compared


def _show(history: History, console: Console) -> None:
    table = Table("call", "attempts", "outcomes", box=None)
    outcomes: dict[str, Counter[str]] = {}
    for call in history.calls:
        outcomes.setdefault(call.kind, Counter())[call.outcome] += 1
    for kind, counts in sorted(outcomes.items()):
        told = ", ".join(f"{outcome} {count}" for outcome, count in counts.most_common())
        table.add_row(kind, str(counts.total()), told)
    console.print(table)


if __name__ == "__main__":
    sys.exit(main())
