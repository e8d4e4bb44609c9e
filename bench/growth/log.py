"""How a command costs with an ever longer log behind it.

The log grows by wallets that were charged once. The commands are for as many users each time, from all over
the log: first each of them charges for the first time that this service knows of, then again and again, then
all of them join.

After each checkpoint PostgreSQL writes whole pages when they change for the first time, and a longer log has
more of them: that is over before the measuring begins, as it is in a service that has run for a while.
"""

from collections.abc import Iterator
from itertools import count, cycle, islice
from random import Random
from typing import Any, NamedTuple

from psycopg import Connection

from bench.growth import costs
from bench.growth.figure import Growth, Tell, told
from bench.growth.history import History
from bench.growth.running import ROUNDS, Pace, Roles, catch_up, connect, of_rounds, pace, settle
from bench.growth.sale import ALL_WAIT, Sale, charges, user, users
from bench.service import embedded, service

SIZES, SHORT_SIZES = (10_000, 500_000, 5_000_000), (10_000, 50_000)
SECONDS, SHORT_SECONDS = 4.0, 1.0

EVENTS_PER_WALLET = 2
WALLETS_AT_ONCE = 50_000
"""Between two looks at how far the read models have come."""

USERS = 4_500
"""Who act: nearly all that the short log has."""

WARM_UP_SHARE = 0.02
"""Of the log's events, as charges by others: enough for nearly all pages of its indexes."""


class Behind(NamedTuple):
    """What was found with so many events in the log."""

    first_charge: Pace
    charge: Pace
    issue: Pace
    memory_mib: float


def measure(tell: Tell, *, short: bool) -> Growth:
    """Measure with a log that grows under one and the same service."""
    sizes, seconds = (SHORT_SIZES, SHORT_SECONDS) if short else (SIZES, SECONDS)
    with embedded() as (dsn, _), service(dsn) as port, connect(dsn) as connection:
        history = History(connection)
        wallets = 0
        found: list[Behind] = []
        for size in sizes:
            wallets = _grow(history, connection, tell, wallets, size // EVENTS_PER_WALLET)
            settle(connection)
            tell(f"measuring with {size:,} events")
            found.append(_measure(port, size, wallets, seconds))
    memory = told(f"API process with {sizes[-1]:,} events", found[-1].memory_mib, "MiB")
    paces = {
        "first charge": [one.first_charge for one in found],
        "charge": [one.charge for one in found],
        "issue": [one.issue for one in found],
    }
    return costs.growth("Commands as the log grows", "events", sizes, paces, memory)


def _grow(history: History, connection: Connection[Any], tell: Tell, wallets: int, wanted: int) -> int:
    while wallets < wanted:
        more = min(WALLETS_AT_ONCE, wanted - wallets)
        history.open_wallets(users(1 + wallets, more), charges=EVENTS_PER_WALLET - 1)
        wallets += more
        catch_up(connection, tell)
    return wallets


def _measure(port: int, size: int, wallets: int, seconds: float) -> Behind:
    random = Random(size)
    acting = [user(1 + number) for number in random.sample(range(wallets), USERS)]
    others = [user(1 + number) for number in random.choices(range(wallets), k=int(size * WARM_UP_SHARE))]
    pace(port, charges(others), seconds=60, expected=201)
    first = _in_rounds(charges(acting))
    again = charges(cycle(acting))
    concerts = (Sale(port, f"LOG-{size}-{number}", ALL_WAIT) for number in count())
    return Behind(
        of_rounds(lambda: pace(port, next(first), seconds=60, expected=201)),
        of_rounds(lambda: pace(port, again, seconds=seconds, expected=201)),
        of_rounds(lambda: pace(port, next(concerts).joins(acting), seconds=60, expected=201)),
        max(Roles().memory_mib()["api"]),
    )


def _in_rounds(requests: Iterator[bytes]) -> Iterator[Iterator[bytes]]:
    """As many in each round."""
    while True:
        yield islice(requests, USERS // ROUNDS)
