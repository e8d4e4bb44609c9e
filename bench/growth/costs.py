"""What an operation costs as something grows: the figures and the curve that such measurements share."""

from collections.abc import Iterator, Mapping, Sequence

from bench.curve import Curve, Line
from bench.growth.figure import Figure, Growth, at_most, told
from bench.growth.running import Pace

COSTS_MAX = 1.5
"""Times what it cost in the beginning."""


def growth(
    title: str, what: str, sizes: Sequence[int], paces: Mapping[str, Sequence[Pace]], memory: Figure
) -> Growth:
    """Of each operation its paces at these sizes, and of them all what an API process has in memory."""
    figures = [figure for name, each in paces.items() for figure in _figures(name, what, sizes, each)]
    lines = [Line(name, [one.per_s for one in each]) for name, each in paces.items()]
    curve = Curve(title, what, [f"{size:,}" for size in sizes], "requests/s", lines)
    return Growth(curve, [*figures, memory])


def _figures(name: str, what: str, sizes: Sequence[int], paces: Sequence[Pace]) -> Iterator[Figure]:
    for size, pace in zip(sizes, paces, strict=True):
        yield told(f"{name}, {size:,} {what}", pace.per_s, "1/s")
        yield told(f"{name}, {size:,} {what}: CPU of the API", pace.cpu_us, "µs")
    times = paces[0].per_s / paces[-1].per_s
    yield at_most(f"{name} costs with {sizes[-1]:,} {what}", times, "×", COSTS_MAX)
