"""Measures how the service grows: prints each curve, draws it, and keeps the figures.

`python -m bench.growth` goes through all of them, `python -m bench.growth waiting` through one.
"""

import argparse
import importlib
import sys
import time

from rich.console import Console
from rich.table import Table

from bench import curve
from bench.curve import Curve
from bench.growth import figure
from bench.growth.figure import RESULTS, Figure, Growth

NAMES = ("startup", "audit", "feed", "processes", "lag", "kafka", "waiting", "log")
"""The short ones first."""

WIDTH = 120


def main() -> int:
    """Measure what was named. Exits 1 if a limit was missed."""
    parser = argparse.ArgumentParser(prog="bench.growth", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)} (all)")
    parser.add_argument("--short", action="store_true", help="with little, to see that they work")
    options = parser.parse_args()
    if unknown := set(options.names) - set(NAMES):
        parser.error(f"there is no {', '.join(sorted(unknown))}")
    missed = [
        one
        for name in options.names or NAMES
        for one in _measured(name, short=options.short)
        if _is_missed(one)
    ]
    return 1 if missed else 0


def _measured(name: str, *, short: bool) -> list[Figure]:
    """Run the module of that name. What was measured in short is shown, and not kept."""
    console, progress = Console(width=WIDTH), Console(stderr=True)
    began = time.monotonic()
    with progress.status(name) as status:
        growth: Growth = importlib.import_module(f"bench.growth.{name}").measure(
            lambda words: status.update(f"{name}: {words}"), short=short
        )
    console.print(table_of(growth.curve), figure.table(growth.figures))
    progress.print(f"{name} took {time.monotonic() - began:.0f} s")
    if not short:
        figure.keep(growth.figures)
        curve.keep(growth.curve, RESULTS / f"{name}.svg")
    return list(growth.figures)


def table_of(drawn: Curve) -> Table:
    """The curve's values."""
    shown = Table(drawn.x, *[line.name for line in drawn.lines], title=f"{drawn.title} ({drawn.y})")
    for index, place in enumerate(drawn.places):
        values = [line.values[index] for line in drawn.lines]
        shown.add_row(place, *["" if value is None else f"{value:,.4g}" for value in values])
    return shown


def _is_missed(one: Figure) -> bool:
    return one.reached is False


if __name__ == "__main__":
    sys.exit(main())
