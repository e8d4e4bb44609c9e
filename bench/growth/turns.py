"""One service beside another that has more to it, measured by turns: noise that lasts meets both."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from statistics import median

from bench.curve import Curve, Line
from bench.growth.figure import Growth, Tell, at_least, told
from bench.growth.running import Pace
from bench.growth.visits import medians_of, paces

ROUNDS, SHORT_ROUNDS = 3, 1

Serve = Callable[[], AbstractContextManager[tuple[str, int]]]
"""Runs a service, and gives its database and its port."""


def by_turns(
    tell: Tell, services: Mapping[str, Serve], *, title: str, axis: str, ratio_min: float, short: bool
) -> Growth:
    """Measure two services call by call; the second is to be `ratio_min` times as fast as the first."""
    rounds: dict[str, list[Mapping[str, Pace]]] = {name: [] for name in services}
    for number in range(SHORT_ROUNDS if short else ROUNDS):
        for name, serve in services.items():
            tell(f"round {number + 1}, {name} {axis}")
            with serve() as (dsn, port):
                rounds[name].append(paces(dsn, port, short=short))
    first, second = (medians_of(rounds[name], median) for name in services)
    before, after = services
    figures = [told(f"{call}, {after} {axis}", second[call], "1/s") for call in second]
    figures += [
        at_least(f"{call}, {after} {axis}, of {before}", second[call] / first[call], "×", ratio_min)
        for call in second
    ]
    lines = [Line(call, [first[call], second[call]]) for call in first]
    return Growth(Curve(title, axis, list(services), "requests/s", lines), figures)
