"""A soak: queue requests at a steady rate for ten minutes, while people are let in and run out of time.

`python -m bench.soak` (or `make soak`) sends 1,000 a second, a fifth of which join. It looks at latencies
from when each request was due, at what each process has in memory in the beginning and in the end, at the
read models' dead rows, and has the log audited afterwards.
"""

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from random import Random
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

import audit
from bench import curve
from bench.calls import Buyer, buyer
from bench.client import request
from bench.curve import Curve, Line
from bench.growth import figure
from bench.growth.figure import RESULTS, Figure, at_most, told
from bench.growth.history import History
from bench.growth.running import Roles, catch_up, connect, sizes
from bench.growth.sale import Sale, users
from bench.service import embedded, service
from bench.steady import Answered, Due, steady

PER_S = 1_000
JOIN_ONE_IN = 5
SECONDS = 600.0
CONNECTIONS = 256

P99_MS_MAX, MS_MAX = 100, 1_000
GROWTH_MIB_MAX = 100
"""What ten minutes may add to a process, whose caches fill."""

WARM_UP_S = 5.0
"""Before the memory of the beginning is looked at."""

WINDOWS = 10
"""Into which the curve divides the time."""

POLICY: Mapping[str, Any] = {
    "max_active": 500,
    "active_ttl_s": 30,
    "max_waiting": 10_000_000,
}
"""Some 16 are let in each second, and as many run out of time: so everything is at work."""


class Soaked(NamedTuple):
    """What it came to."""

    seconds: float
    answered: Mapping[str, Answered]
    before_mib: Mapping[str, Sequence[float]]
    after_mib: Mapping[str, Sequence[float]]
    tables: Sequence[tuple[str, float, int, int]]
    report: audit.Report


class People:
    """Who joins, and asks for their place ever after."""

    def __init__(self, sale: Sale, count: int) -> None:
        self._joins = sale.joins(users(1, count))
        self._path = f"/api/v1/concerts/{sale.code}/token"
        self._buyers: list[Buyer] = list(sale.join(users(1 + count, 1)))
        self._random = Random(1)

    def requests(self) -> Iterator[Due]:
        """One that joins, and then some polls of whoever has joined so far."""
        for join in self._joins:
            yield Due(join, "join", self._joined)
            for _ in range(JOIN_ONE_IN - 1):
                token = self._random.choice(self._buyers).token
                yield Due(request("GET", self._path, bearer=token), "poll")

    def _joined(self, body: bytes) -> None:
        self._buyers.append(buyer(body))


def soak(per_s: float, seconds: float, console: Console) -> Soaked:
    """Run a service under this load, and look at what is left."""
    joining = int(per_s * (seconds + WARM_UP_S) / JOIN_ONE_IN) + 1
    with embedded() as (dsn, _), service(dsn) as port, connect(dsn) as connection:
        History(connection).open_wallets(users(1, joining + 1))
        sale = Sale(port, "SOAK", POLICY)
        sale.schedule(0, 50_000)
        requests = People(sale, joining).requests()
        catch_up(connection, lambda _: None)
        steady(port, requests, rate=per_s, seconds=WARM_UP_S, connections=CONNECTIONS)
        roles = Roles()
        before_mib = roles.memory_mib()
        console.print(f"{per_s:,.0f} requests a second for {seconds:,.0f} s …")
        answered = steady(port, requests, rate=per_s, seconds=seconds, connections=CONNECTIONS)
        after_mib = roles.memory_mib()
        catch_up(connection, lambda _: None)
        tables = sizes(connection)
        console.print("Auditing …")
        return Soaked(seconds, answered, before_mib, after_mib, tables, audit.run(dsn))


def figures_of(soaked: Soaked) -> Sequence[Figure]:
    """What is held against the limits, and what is told besides."""
    figures: list[Figure] = []
    for kind, answered in soaked.answered.items():
        figures += [
            told(f"soak, {kind}s", len(answered.each) / soaked.seconds, "1/s"),
            told(f"soak, {kind}: p50", answered.percentile(50), "ms"),
            at_most(f"soak, {kind}: p99", answered.percentile(99), "ms", P99_MS_MAX),
            at_most(f"soak, {kind}: longest", answered.percentile(100), "ms", MS_MAX),
        ]
    expected = {"join": 201, "poll": 200}
    others = sum(
        count
        for kind, answered in soaked.answered.items()
        for status, count in answered.statuses.items()
        if status != expected[kind]
    )
    figures.append(at_most("soak, other answers than expected", others, "", 0))
    for role, after in soaked.after_mib.items():
        grown = sum(after) - sum(soaked.before_mib[role])
        figures += [
            told(f"soak, memory of {role} at the end", sum(after), "MiB"),
            at_most(f"soak, memory that {role} gained", grown, "MiB", GROWTH_MIB_MAX),
        ]
    breaches = 0 if soaked.report.ok else 1
    return [*figures, at_most("soak, audits with a breach or a difference", breaches, "", 0)]


def drawn(soaked: Soaked) -> Curve:
    """The latencies as time went by."""
    span_s = soaked.seconds / WINDOWS
    return Curve(
        f"{PER_S:,} queue requests a second: latency from when a request was due",
        "seconds",
        [f"{span_s * (window + 1):,.0f}" for window in range(WINDOWS)],
        "ms",
        [
            Line(
                f"{kind}, p{percent}",
                [answered.percentile(percent, span_s * w, span_s * (w + 1)) for w in range(WINDOWS)],
            )
            for kind, answered in soaked.answered.items()
            for percent in (50, 99)
        ],
        limit=P99_MS_MAX,
    )


def table_of_tables(soaked: Soaked) -> Table:
    """How large the log and the read models have become."""
    shown = Table("table", "MiB", "rows", "dead rows")
    for name, size_mib, live, dead in soaked.tables:
        shown.add_row(name, f"{size_mib:,.1f}", f"{live:,}", f"{dead:,}")
    return shown


def main() -> int:
    """Soak. Exits 1 if a limit was missed."""
    parser = argparse.ArgumentParser(prog="bench.soak", description=__doc__)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="how long (600)")
    parser.add_argument("--rate", type=float, default=PER_S, help="requests a second (1000)")
    options = parser.parse_args()
    console = Console(width=120)
    soaked = soak(options.rate, options.seconds, Console(stderr=True))
    figures = figures_of(soaked)
    console.print(table_of_tables(soaked), figure.table(figures))
    if (options.seconds, options.rate) == (SECONDS, PER_S):
        figure.keep(figures)
        curve.keep(drawn(soaked), RESULTS / "soak.svg")
    return 1 if any(one.reached is False for one in figures) else 0


if __name__ == "__main__":
    sys.exit(main())
