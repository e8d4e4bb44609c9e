"""What a second API process brings, or costs, where it shares two cores with all the rest."""

from collections.abc import Mapping
from statistics import median

from bench.curve import Curve, Line
from bench.growth.figure import Growth, Tell, at_least, told
from bench.growth.running import Pace
from bench.growth.visits import medians_of, paces
from bench.service import embedded, service

COUNTS = (1, 2)
ROUNDS, SHORT_ROUNDS = 3, 1
RATIO_MIN = 0.95


def measure(tell: Tell, *, short: bool) -> Growth:
    """Measure with one and with two, by turns."""
    rounds: dict[int, list[Mapping[str, Pace]]] = {count: [] for count in COUNTS}
    for number in range(SHORT_ROUNDS if short else ROUNDS):
        for count in COUNTS:
            tell(f"round {number + 1}, {count} API processes")
            with embedded() as (dsn, _), service(dsn, api_processes=count) as port:
                rounds[count].append(paces(dsn, port, short=short))
    one, two = (medians_of(rounds[count], median) for count in COUNTS)
    figures = [told(f"{name} with two API processes", two[name], "1/s") for name in two]
    figures += [
        at_least(f"{name} with two API processes, of one", two[name] / one[name], "×", RATIO_MIN)
        for name in two
    ]
    curve = Curve(
        "One API process and two, on two cores",
        "API processes",
        [str(count) for count in COUNTS],
        "requests/s",
        [Line(name, [one[name], two[name]]) for name in one],
    )
    return Growth(curve, figures)
