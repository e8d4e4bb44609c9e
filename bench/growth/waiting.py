"""How a poll and a joining cost with ever more people waiting, and what an API process has in memory then."""

from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

from bench.growth import costs
from bench.growth.figure import Growth, Tell, at_most
from bench.growth.history import History
from bench.growth.running import ROUNDS, Pace, Roles, catch_up, connect, of_rounds, pace, settle
from bench.growth.sale import ALL_WAIT, Sale, users
from bench.service import embedded, service

SIZES, SHORT_SIZES = (100, 10_000, 1_000_000), (100, 1_000, 20_000)
SECONDS, SHORT_SECONDS = 4.0, 1.0

POLLING_MAX = 20_000
"""So many different tokens are polled, from all over the line."""

JOINS = 2_000
"""In one round: few enough for the short line not to be a long one after them."""

MEMORY_MIB_MAX = 500


class Waiting(NamedTuple):
    """What was found with so many in line."""

    poll: Pace
    issue: Pace
    memory_mib: float


def measure(tell: Tell, *, short: bool) -> Growth:
    """Measure with lines that grow in one and the same service, each at a concert of its own."""
    sizes, seconds = (SHORT_SIZES, SHORT_SECONDS) if short else (SIZES, SECONDS)
    with embedded() as (dsn, _), service(dsn) as port, connect(dsn) as connection:
        history = History(connection)
        registered = 0
        found: list[Waiting] = []
        for size in sizes:
            wanted = 1 + size + ROUNDS * JOINS
            history.open_wallets(users(1 + registered, wanted - registered))
            registered = wanted
            sale = _line(port, size)
            history.join(sale.code, users(2, size), issued=1)
            catch_up(connection, tell)
            settle(connection)
            tell(f"measuring with {size:,} waiting")
            found.append(_measure(sale, size, seconds))
    memory = at_most(f"API process with {sizes[-1]:,} waiting", found[-1].memory_mib, "MiB", MEMORY_MIB_MAX)
    paces = {"poll": [one.poll for one in found], "issue": [one.issue for one in found]}
    return costs.growth("Polling and joining as the line grows", "waiting", sizes, paces, memory)


def _line(port: int, size: int) -> Sale:
    """A line at whose head somebody was let in already, so that everyone else waits."""
    sale = Sale(port, f"LINE-{size}", ALL_WAIT)
    sale.schedule(0, 50)
    sale.join(users(1, 1))
    sale.until(lambda stats: stats["active"] == 1)
    return sale


def _measure(sale: Sale, size: int, seconds: float) -> Waiting:
    polls = sale.polls(sale.join(users(2, size)[:: max(1, size // POLLING_MAX)]))
    joins = sale.joins(users(2 + size, ROUNDS * JOINS))
    poll = of_rounds(lambda: pace(sale.port, polls, seconds=seconds, expected=200))
    issue = of_rounds(lambda: pace(sale.port, _some(joins), seconds=60, expected=201))
    return Waiting(poll, issue, max(Roles().memory_mib()["api"]))


def _some(joins: Iterator[bytes]) -> Iterator[bytes]:
    return islice(joins, JOINS)
