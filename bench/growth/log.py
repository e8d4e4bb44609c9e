"""How a command costs with an ever longer log behind it.

The log grows by wallets that were charged once, and the commands are for users from all over it: the longer
it is, the less of what they need is in any cache.
"""

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

CHARGED_MAX = 100_000
JOINS = 4_000
"""In one round, at a concert of its own; there are wallets of so many in the short log."""


class Behind(NamedTuple):
    """What was found with so many events in the log."""

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
    paces = {"charge": [one.charge for one in found], "issue": [one.issue for one in found]}
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
    charged = charges(user(1 + random.randrange(wallets)) for _ in range(CHARGED_MAX))
    charge = of_rounds(lambda: pace(port, charged, seconds=seconds, expected=201))
    rounds = iter(range(ROUNDS))

    def join() -> Pace:
        sale = Sale(port, f"LOG-{size}-{next(rounds)}", ALL_WAIT)
        joining = [user(1 + number) for number in random.sample(range(wallets), JOINS)]
        return pace(port, sale.joins(joining), seconds=60, expected=201)

    issue = of_rounds(join)
    return Behind(charge, issue, max(Roles().memory_mib()["api"]))
