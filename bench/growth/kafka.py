"""What Kafka between the log and the read models costs, on the same two cores."""

from collections.abc import Iterator
from contextlib import contextmanager

from bench.growth.figure import Growth, Tell
from bench.growth.turns import by_turns
from bench.service import embedded, service
from bench.topic import over_kafka

RATIO_MIN = 0.6


def measure(tell: Tell, *, short: bool) -> Growth:
    """Measure without and with, by turns."""
    return by_turns(
        tell,
        {"nothing": _without, "Kafka": _with},
        title="With nothing and with Kafka between log and read models",
        axis="between log and read models",
        ratio_min=RATIO_MIN,
        short=short,
    )


@contextmanager
def _without() -> Iterator[tuple[str, int]]:
    with embedded() as (dsn, _), service(dsn) as port:
        yield dsn, port


@contextmanager
def _with() -> Iterator[tuple[str, int]]:
    with over_kafka() as (dsn, settings), service(dsn, told=settings) as port:
        yield dsn, port
