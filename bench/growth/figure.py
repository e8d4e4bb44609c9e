"""Figures: what was measured, beside its limit, kept in `bench/results/growth.json`."""

import operator
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import msgspec
from rich.table import Table

from bench.curve import Curve

RESULTS = Path("bench/results")
FILE = RESULTS / "growth.json"

Tell = Callable[[str], None]
"""Tells whoever waits how far a measurement has come."""


class Figure(msgspec.Struct, frozen=True):
    """One row."""

    name: str
    value: float
    unit: str
    limit: str | None
    """Such as `≤ 250`; None for what is only told."""
    reached: bool | None
    measured_at: str


class Growth(NamedTuple):
    """What one measurement came to."""

    curve: Curve
    figures: Sequence[Figure]


def told(name: str, value: float, unit: str) -> Figure:
    """A figure without a limit."""
    return _figure(name, value, unit, None, reached=None)


def at_most(name: str, value: float, unit: str, limit: float) -> Figure:
    """A figure that must not exceed its limit."""
    return _figure(name, value, unit, f"≤ {limit:,g}", reached=operator.le(value, limit))


def at_least(name: str, value: float, unit: str, limit: float) -> Figure:
    """A figure that must not fall short of its limit."""
    return _figure(name, value, unit, f"≥ {limit:,g}", reached=operator.ge(value, limit))


def _figure(name: str, value: float, unit: str, limit: str | None, *, reached: bool | None) -> Figure:
    measured_at = datetime.now(UTC).isoformat(timespec="seconds")
    return Figure(name, float(f"{value:.4g}"), unit, limit, reached, measured_at)


def keep(figures: Sequence[Figure], file: Path = FILE) -> None:
    """Put the figures in place of those of the same names."""
    named = {figure.name: figure for figure in [*kept(file), *figures]}
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(msgspec.json.format(msgspec.json.encode(list(named.values())), indent=2) + b"\n")


def kept(file: Path = FILE) -> Sequence[Figure]:
    """The figures of earlier measurements."""
    if not file.exists():
        return []
    return msgspec.json.decode(file.read_bytes(), type=list[Figure])


def table(figures: Sequence[Figure]) -> Table:
    """Each beside its limit."""
    shown = Table("figure", "value", "limit", "reached")
    for one in figures:
        reached = {None: "", True: "yes", False: "NO"}[one.reached]
        shown.add_row(one.name, f"{one.value:,.4g} {one.unit}", one.limit or "", reached)
    return shown
