"""What Kafka between the log and the read models costs, on the same two cores."""

from collections.abc import Mapping
from statistics import median

from bench.curve import Curve, Line
from bench.growth.figure import Growth, Tell, at_least, told
from bench.growth.running import Pace
from bench.growth.visits import medians_of, paces
from bench.service import embedded, service
from bench.topic import over_kafka

BETWEEN = {"nothing": embedded, "Kafka": over_kafka}
ROUNDS, SHORT_ROUNDS = 3, 1
RATIO_MIN = 0.6


def measure(tell: Tell, *, short: bool) -> Growth:
    """Measure without and with, by turns."""
    rounds: dict[str, list[Mapping[str, Pace]]] = {between: [] for between in BETWEEN}
    for number in range(SHORT_ROUNDS if short else ROUNDS):
        for between, store in BETWEEN.items():
            tell(f"round {number + 1}, {between} between")
            with store() as (dsn, settings), service(dsn, told=settings) as port:
                rounds[between].append(paces(dsn, port, short=short))
    without, with_kafka = (medians_of(rounds[between], median) for between in BETWEEN)
    figures = [told(f"{name} with Kafka", with_kafka[name], "1/s") for name in with_kafka]
    figures += [
        at_least(f"{name} with Kafka, of without", with_kafka[name] / without[name], "×", RATIO_MIN)
        for name in with_kafka
    ]
    curve = Curve(
        "With nothing and with Kafka between log and read models",
        "between log and read models",
        list(BETWEEN),
        "requests/s",
        [Line(name, [without[name], with_kafka[name]]) for name in without],
    )
    return Growth(curve, figures)
