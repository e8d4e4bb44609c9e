"""Measures how long each call takes at 70 % of the rate that the service can keep up.

`python -m bench.latency` measures each rate just before: a figure of requests a second is worth nothing that
was bought with answers that come late. With `--short` it shows only that it works.
"""

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from statistics import median
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from bench import curve
from bench.calls import Buyer, buyer
from bench.client import run
from bench.curve import Curve, Line
from bench.growth import figure
from bench.growth.figure import RESULTS, Figure, at_most
from bench.growth.history import History
from bench.growth.running import CONNECTIONS, catch_up, connect, settle
from bench.growth.sale import (
    ALL_WAIT,
    OPEN_GATE,
    Sale,
    charges,
    payments,
    registrations,
    user,
    users,
)
from bench.service import embedded, service
from bench.steady import Answered, Due, steady

SHARE = 0.7
COMMAND_MS_MAX, READ_MS_MAX = 100, 20

SECONDS, SHORT_SECONDS = 8.0, 1.0
PARTS = 3
AT_FULL = 0.5
"""Of the time at 70 %: enough to know the rate."""

BUYERS, SHORT_BUYERS = 60_000, 12_000
NEWCOMERS_FROM = 1_000_000
READING = 5_000
SEATS = 5_000
SMALL, LARGE = 0, 1
"""The performance of 50 seats, and the first of those that are sold."""


class Measured(NamedTuple):
    """One row of the table."""

    operation: str
    per_s: float
    """As fast as answers come."""
    at_share: Answered
    p99_ms_max: float

    def percentile(self, percent: float) -> float:
        """The median of three parts of the time: what stops the whole machine for once does not count."""
        part_s = max(due_s for due_s, _ in self.at_share.each) / PARTS
        return median(
            self.at_share.percentile(percent, part_s * part, part_s * (part + 1)) for part in range(PARTS)
        )


class Calls:
    """The calls of a sale, each prepared by the ones before."""

    def __init__(self, dsn: str, port: int, *, short: bool) -> None:
        self._dsn = dsn
        self._port = port
        self._seconds = SHORT_SECONDS if short else SECONDS
        self._users = users(1, SHORT_BUYERS if short else BUYERS)
        with connect(dsn) as connection:
            History(connection).open_wallets(self._users, charges=1)
            settle(connection)
        self._sale = Sale(port, "LATENCY", ALL_WAIT)
        self._sale.schedule(SMALL, 50)
        for day in range(LARGE, LARGE + -(-len(self._users) // SEATS)):
            self._sale.schedule(day, SEATS)
        self._buyers: list[Buyer] = []

    def measured(self) -> Iterator[Measured]:
        """Go through the sale, and yield each call as it is measured."""
        sale, command, read = self._sale, self._command, self._read
        yield command("register", registrations(user(NEWCOMERS_FROM + n) for n in range(10**6)))
        yield command("charge", charges(user(1 + n % len(self._users)) for n in range(10**6)))
        yield command("issue_token", sale.joins(self._users), told=self._joined)
        self._buyers.sort(key=lambda one: one.queue_number)
        reading = self._buyers[1:][:READING]
        yield read("poll_waiting", sale.polls(reading))
        sale.change_policy(OPEN_GATE)
        sale.until(lambda stats: stats["waiting"] == 0)
        yield read("dates", sale.dates(reading))
        yield read("seat_map_200", sale.seat_maps(reading, SMALL))
        yield read("seat_map_304", sale.seat_maps_known(reading, SMALL), expected=304)
        reserved: list[bytes] = []
        reserving = len(self._buyers) * 3 // 4
        reservations = sale.reservations(self._buyers[:reserving], LARGE, SEATS)
        yield command("reserve", reservations, told=reserved.append)
        late = self._buyers[reserving:]
        yield command("lose_race", sale.lost_races(late, LARGE, min(50, len(reserved))), expected=409)
        yield command("pay", payments(self._buyers[: len(reserved)]), at_full_max=len(reserved) // 2)

    def _joined(self, body: bytes) -> None:
        self._buyers.append(buyer(body))

    def _command(
        self,
        operation: str,
        requests: Iterator[bytes],
        *,
        expected: int = 201,
        told: Callable[[bytes], None] | None = None,
        at_full_max: int | None = None,
    ) -> Measured:
        return self._measure(operation, requests, expected, COMMAND_MS_MAX, told, at_full_max)

    def _read(self, operation: str, requests: Iterator[bytes], expected: int = 200) -> Measured:
        return self._measure(operation, requests, expected, READ_MS_MAX, None)

    def _catch_up(self) -> None:
        with connect(self._dsn) as connection:
            catch_up(connection, lambda _: None)

    def _measure(
        self,
        operation: str,
        requests: Iterator[bytes],
        expected: int,
        p99_ms_max: float,
        told: Callable[[bytes], None] | None,
        at_full_max: int | None = None,
    ) -> Measured:
        """Measure as fast as answers come, but for `at_full_max` requests at most, and then at 70 % of that.

        Each load begins when what the one before has recorded is in the read models.

        Raises RuntimeError where an answer is not as expected.
        """
        self._catch_up()
        full = run(
            self._port,
            islice(requests, at_full_max),
            connections=CONNECTIONS,
            seconds=self._seconds * AT_FULL,
            keep_bodies=told is not None,
        )
        if told is not None:
            for body in full.bodies:
                told(body)
        self._catch_up()
        due = (Due(prepared, "", told) for prepared in requests)
        rate = SHARE * full.rate
        found = steady(self._port, due, rate=rate, seconds=self._seconds, connections=CONNECTIONS)
        statuses = full.statuses + found[""].statuses
        if set(statuses) != {expected}:
            raise RuntimeError(f"{operation}: expected {expected}, got {dict(statuses)}")
        return Measured(operation, full.rate, found[""], p99_ms_max)


def figures_of(rows: Sequence[Measured]) -> Sequence[Figure]:
    """What is held against the limits."""
    return [
        at_most(f"{row.operation} at {SHARE:.0%}: p99", row.percentile(99), "ms", row.p99_ms_max)
        for row in rows
    ]


def table(rows: Sequence[Measured]) -> Table:
    """One row for each call."""
    shown = Table(
        "operation", "requests/s", f"at {SHARE:.0%}", "p50 ms", "p95 ms", "p99 ms", "max ms", "limit"
    )
    for row in rows:
        percentiles = [f"{row.percentile(percent):.1f}" for percent in (50, 95, 99)]
        percentiles.append(f"{row.at_share.percentile(100):.1f}")
        rates = [f"{row.per_s:,.0f}", f"{SHARE * row.per_s:,.0f}/s"]
        shown.add_row(row.operation, *rates, *percentiles, f"p99 ≤ {row.p99_ms_max:g}")
    return shown


def drawn(rows: Sequence[Measured]) -> Curve:
    """The percentiles of each call."""
    return Curve(
        f"Latency at {SHARE:.0%} load, from when a request was due",
        "operation",
        [row.operation for row in rows],
        "ms",
        [Line(f"p{percent}", [row.percentile(percent) for row in rows]) for percent in (50, 95, 99)],
        limit=COMMAND_MS_MAX,
    )


def main() -> int:
    """Measure. Exits 1 if a limit was missed."""
    parser = argparse.ArgumentParser(prog="bench.latency", description=__doc__)
    parser.add_argument("--short", action="store_true", help="with little, to see that it works")
    short = parser.parse_args().short
    progress = Console(stderr=True)
    rows: list[Measured] = []
    with embedded() as (dsn, _), service(dsn) as port:
        for row in Calls(dsn, port, short=short).measured():
            progress.print(f"{row.operation}: p99 {row.percentile(99):.1f} ms")
            rows.append(row)
    Console(width=120).print(table(rows))
    figures = figures_of(rows)
    if not short:
        figure.keep(figures)
        curve.keep(drawn(rows), RESULTS / "latency.svg")
    return 1 if any(one.reached is False for one in figures) else 0


if __name__ == "__main__":
    sys.exit(main())
