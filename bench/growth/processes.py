"""What a second API process brings, or costs, where it shares two cores with all the rest."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from bench.growth.figure import Growth, Tell
from bench.growth.turns import by_turns
from bench.service import embedded, service

RATIO_MIN = 0.95


def measure(tell: Tell, *, short: bool) -> Growth:
    """Measure with one and with two, by turns."""
    return by_turns(
        tell,
        {str(count): partial(_serve, count) for count in (1, 2)},
        title="One API process and two, on two cores",
        axis="API processes",
        ratio_min=RATIO_MIN,
        short=short,
    )


@contextmanager
def _serve(api_processes: int) -> Iterator[tuple[str, int]]:
    with embedded() as (dsn, _), service(dsn, api_processes=api_processes) as port:
        yield dsn, port
