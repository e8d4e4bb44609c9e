"""`python -m tests.mutants [MODULE …]`: a mutation run over the decisions, and what became of it.

Fails where a mutant survives that is not in survivors.toml, where one of those that are there survives no
longer, and where fewer than nine in ten are gone.
"""

import argparse
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.mutants import results
from tests.mutants.results import Module, Mutant

PACKAGES = ("aggregates", "commands")
GONE_PERCENT_MIN = 90
COLUMNS = ("made", "killed", "timeout", "survived", "no tests")

console = Console(width=None if sys.stdout.isatty() else 110, highlight=False)


def main() -> int:
    """Run the mutants of some modules, or of all, and say whether the tests are as strong as they were."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("modules", nargs="*", help="aggregates/seat.py …; all of them unless said otherwise")
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    asked = parser.parse_args()
    paths = asked.modules or _all_modules()
    started = time.monotonic()
    _run(paths, asked.processes)
    modules = results.read(paths)
    console.print(_table(modules))
    console.print(f"{time.monotonic() - started:.0f} s")
    return _judge(modules)


def _all_modules() -> list[str]:
    return sorted(str(path) for package in PACKAGES for path in Path(package).glob("*.py"))


def _run(paths: Sequence[str], processes: int) -> None:
    """Have mutmut work from scratch: it does not notice all that changes in tests."""
    shutil.rmtree(results.MUTANTS, ignore_errors=True)
    results.MUTANTS.mkdir()
    names = [f"{path.removesuffix('.py').replace('/', '.')}.*" for path in paths]
    command = [sys.executable, "-m", "tests.mutants.run", str(processes), *names]
    # Hypothesis finds the same examples every time, and makes none of them smaller: nobody reads them.
    output = results.MUTANTS / "output.txt"
    with output.open("wb") as file:
        ran = subprocess.run(
            command,
            env={**os.environ, "CI": "true", "HYPOTHESIS_PROFILE": "mutants"},
            stdout=None if sys.stdout.isatty() else file,
            stderr=subprocess.STDOUT,
            check=False,
        )
    if ran.returncode:
        sys.exit(f"The run failed; {output} says why")


def _table(modules: Sequence[Module]) -> Table:
    table = Table("module", *COLUMNS)
    for module in modules:
        if module.made:
            table.add_row(module.path, *_figures([module]))
    table.add_row("all", *_figures(modules))
    return table


def _figures(modules: Sequence[Module]) -> list[str]:
    made = sum(module.made for module in modules)
    return [str(made), *(str(sum(module.counts[status] for module in modules)) for status in COLUMNS[1:])]


def _judge(modules: Sequence[Module]) -> int:
    survivors = {mutant for module in modules for mutant in module.survivors}
    known = {each.mutant for each in results.known(module.path for module in modules)}
    _name("A new survivor", survivors - known)
    _name("Listed, but gone", known - survivors)
    made = sum(module.made for module in modules)
    gone = sum(module.gone for module in modules)
    console.print(f"{gone} of {made} mutants are gone: {100 * gone / max(made, 1):.1f} %")
    return int(survivors != known or 100 * gone < GONE_PERCENT_MIN * made)


def _name(what: str, mutants: Iterable[Mutant]) -> None:
    for mutant in sorted(mutants):
        console.print(f"{what}:\n{results.as_toml(mutant)}\n", markup=False, soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
