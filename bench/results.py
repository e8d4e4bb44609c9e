"""From the figures of each round to the table and the file: medians, and ratios within a round.

Machines are noisy, and their noise comes and goes: so a ratio is one of two figures that were measured within
seconds of each other, and what is shown of the rounds' ratios is the median.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any, Final, NamedTuple

import msgspec

from bench.client import Result
from bench.operations import Operation

FOLDER: Final = Path(__file__).with_name("results")
LAST: Final = "last.json"
LAST_OVER_KAFKA: Final = "last_over_kafka.json"
GROWTH: Final = "growth.json"
"""Written by the benchmarks of growth, a list."""


class Figures(NamedTuple):
    """What one operation came to at one contestant in one round."""

    per_s: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    client_cpu: float
    """The share of one core that the client took."""


def figures(result: Result) -> Figures:
    """What there is to say of one measurement."""
    p50_ms, p95_ms, p99_ms = (result.percentile(percent) for percent in (50, 95, 99))
    return Figures(result.rate, p50_ms, p95_ms, p99_ms, result.client_cpu)


class Round(NamedTuple):
    """One operation, measured at all contestants, one after another."""

    product: Figures
    ceiling: Figures | None = None
    plain: Figures | None = None


class Row(NamedTuple):
    """One row of the table: medians over the rounds."""

    operation: Operation
    product: Figures
    ceiling: Figures | None
    plain: Figures | None
    of_ceiling: float | None
    times_plain: float | None
    client_cpu_max: float
    """Of all contestants and rounds: well below 1, or the client has slowed them down."""
    remark: str = ""

    @property
    def reached(self) -> bool | None:
        """Whether the target is; None where there is none, or it cannot be said."""
        target = self.operation.target
        if target is None or self.of_ceiling is None or self.times_plain is None:
            return None
        return self.of_ceiling >= target.of_ceiling and self.times_plain >= target.times_plain


def row(operation: Operation, rounds: Sequence[Round], remark: str = "") -> Row:
    """Sum up an operation's rounds."""
    measured = [one for each in rounds for one in each if one is not None]
    return Row(
        operation,
        _median([each.product for each in rounds]),
        _median_if_any([each.ceiling for each in rounds]),
        _median_if_any([each.plain for each in rounds]),
        _ratio(rounds, lambda each: each.ceiling),
        _ratio(rounds, lambda each: each.plain),
        max(one.client_cpu for one in measured),
        remark,
    )


def _median(of_rounds: Sequence[Figures]) -> Figures:
    return Figures(*map(median, zip(*of_rounds, strict=True)))


def _median_if_any(of_rounds: Sequence[Figures | None]) -> Figures | None:
    there = [one for one in of_rounds if one is not None]
    return _median(there) if there else None


def _ratio(rounds: Sequence[Round], other: Callable[[Round], Figures | None]) -> float | None:
    ratios = [each.product.per_s / against.per_s for each in rounds if (against := other(each)) is not None]
    return median(ratios) if ratios else None


def document(rows: Sequence[Row], growth: Sequence[Any], machine: Mapping[str, Any]) -> Mapping[str, Any]:
    """What `last.json` says: the operations that have a target, how things grow, and where that was."""
    operations = [_operation(one) for one in rows if one.operation.target is not None]
    return {"operations": operations, "growth": growth, "machine": machine}


def _operation(one: Row) -> Mapping[str, Any]:
    return {
        "name": one.operation.name,
        "per_s": round(one.product.per_s, 1),
        "p50_ms": round(one.product.p50_ms, 2),
        "p95_ms": round(one.product.p95_ms, 2),
        "p99_ms": round(one.product.p99_ms, 2),
        "of_ceiling": None if one.of_ceiling is None else round(one.of_ceiling, 3),
        "times_plain": None if one.times_plain is None else round(one.times_plain, 2),
    }


def keep(written: Mapping[str, Any], name: str, folder: Path = FOLDER) -> Path:
    """Write the file, in full or not at all."""
    folder.mkdir(exist_ok=True)
    path, unfinished = folder / name, folder / f"{name}.new"
    unfinished.write_bytes(msgspec.json.format(msgspec.json.encode(written)) + b"\n")
    return unfinished.replace(path)


def last_growth(folder: Path = FOLDER) -> Sequence[Any]:
    """What the benchmarks of growth wrote last; nothing where they have not."""
    path = folder / GROWTH
    return msgspec.json.decode(path.read_bytes(), type=list[Any]) if path.exists() else []


class _Kept(msgspec.Struct):
    name: str
    per_s: float


class _LastRun(msgspec.Struct):
    operations: list[_Kept]


def last_rates(folder: Path = FOLDER) -> Mapping[str, float]:
    """Requests per second by operation in the last run without Kafka; nothing where there was none."""
    path = folder / LAST
    if not path.exists():
        return {}
    last = msgspec.json.decode(path.read_bytes(), type=_LastRun)
    return {kept.name: kept.per_s for kept in last.operations}
