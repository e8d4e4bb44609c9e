"""How fast each call of a sale goes, with a service and a database that are new."""

from collections.abc import Callable, Iterator, Mapping

from bench import calls
from bench.growth.history import History
from bench.growth.running import Pace, catch_up, connect, pace, settle
from bench.growth.sale import ALL_WAIT, OPEN_GATE, Sale, charges, payments, user, users

SECONDS, SHORT_SECONDS = 3.0, 1.0
USERS, SHORT_USERS = 40_000, 15_000
POLLING = 5_000
SEATS = 5_000
"""Of each performance; the first has 50."""


def paces(dsn: str, port: int, *, short: bool) -> Mapping[str, Pace]:
    """Go through a sale call by call."""
    seconds, count = (SHORT_SECONDS, SHORT_USERS) if short else (SECONDS, USERS)

    def measured(requests: Iterator[bytes], expected: int, bodies: list[bytes] | None = None) -> Pace:
        with connect(dsn) as connection:
            catch_up(connection, lambda _: None)
        return pace(port, requests, seconds=seconds, expected=expected, bodies=bodies)

    with connect(dsn) as connection:
        History(connection).open_wallets(users(1, count), charges=1)
        settle(connection)
    sale = Sale(port, "VISITS", ALL_WAIT)
    for day in range(1 + count // SEATS):
        sale.schedule(day, SEATS if day else 50)
    found: dict[str, Pace] = {}
    found["charge"] = measured(charges(user(1 + number % count) for number in range(10**6)), 201)
    bodies: list[bytes] = []
    found["issue"] = measured(sale.joins(users(1, count)), 201, bodies)
    buyers = calls.buyers(bodies)
    found["poll"] = measured(sale.polls(buyers[1:][:POLLING]), 200)
    sale.change_policy(OPEN_GATE)
    sale.until(lambda stats: stats["waiting"] == 0)
    found["seat map"] = measured(sale.seat_maps(buyers[:POLLING], 0), 200)
    found["seat map, known"] = measured(sale.seat_maps_known(buyers[:POLLING], 0), 304)
    reserved: list[bytes] = []
    found["reserve"] = measured(sale.reservations(buyers, 1, SEATS), 201, reserved)
    found["pay"] = measured(payments(buyers[: len(reserved)]), 201)
    return found


def medians_of(rounds: list[Mapping[str, Pace]], pick: Callable[[list[float]], float]) -> Mapping[str, float]:
    """What is picked of each call's rates."""
    return {name: pick([one[name].per_s for one in rounds]) for name in rounds[0]}
