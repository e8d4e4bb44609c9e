"""Measures every operation of a sale at the product, at a plain service and at the ceiling of HTTP.

`python -m bench` takes some minutes and prints one table; `--smoke` takes one, to see that it works.
"""

import argparse
import os
import subprocess
import sys
import time
import urllib.request
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import Any, Final, NamedTuple
from urllib.error import HTTPError

import msgspec
from rich.console import Console
from rich.markup import escape

from bench import results
from bench.client import Result
from bench.machine import machine
from bench.measured import Measured, UnexpectedAnswer, measure_ceiling
from bench.operations import OPERATIONS, Operation
from bench.results import Round, Row, figures
from bench.sale import Crowd, Sale
from bench.service import TICKETING, bare, embedded, plain, service
from bench.table import table, table_over_kafka
from bench.topic import over_kafka

NAMES: Final = [operation.name for operation in OPERATIONS]

SETTLED_WITHIN_S: Final = 60

WIDTH: Final = 160
"""Of the tables, where there is no terminal to say it."""


class Plan(NamedTuple):
    """How much is measured."""

    rounds: int
    seconds: float
    """Of each measurement; fewer where those who take part are through earlier."""
    connections: int
    crowd: Crowd
    """At the product."""
    plain_crowd: Crowd


FULL: Final = Plan(3, 2.5, 128, Crowd(20_000, 10_000, 5_000), Crowd(6_000, 3_500, 2_000))
SMOKE: Final = Plan(1, 0.4, 64, Crowd(2_000, 800, 2_000), Crowd(600, 300, 600))


def main() -> int:
    """Run the benchmarks. Exits 1 if an answer was not what it should be, or the audit finds a breach."""
    options = _options()
    console = Console(stderr=True, highlight=False)
    plan = SMOKE if options.smoke else FULL
    plan = plan._replace(rounds=options.rounds or plan.rounds, seconds=options.seconds or plan.seconds)
    operations = [one for one in OPERATIONS if one.name in (options.only or NAMES)]
    try:
        found = _measure(plan, operations, console, kafka=options.kafka)
    except (UnexpectedAnswer, TimeoutError, subprocess.CalledProcessError) as error:
        console.print(f"[red]The benchmark failed: {escape(str(error))}")
        return 1
    _show(found, over_kafka=options.kafka)
    if not options.only:
        _keep(found, results.LAST_OVER_KAFKA if options.kafka else results.LAST)
    return 0


class Found(NamedTuple):
    """What a run came to."""

    rows: Sequence[Row]
    events: int
    """In the product's log, all of them audited."""
    machine: Mapping[str, Any]


def _measure(plan: Plan, operations: Sequence[Operation], console: Console, *, kafka: bool) -> Found:
    with ExitStack() as stack:
        dsn, told = stack.enter_context(over_kafka() if kafka else embedded())
        port = stack.enter_context(service(dsn, told=told))
        plain_port = None if kafka else stack.enter_context(plain(dsn))
        rows = Run(plan, operations, console, port, plain_port).rows()
        _settle(port)
        measured_with = {"connections": plan.connections, "rounds": plan.rounds, "seconds": plan.seconds}
        return Found(rows, _audited(dsn, told), {**machine(dsn), **measured_with})


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="briefly, to see that it works")
    parser.add_argument("--seconds", type=float, help=f"of each measurement ({FULL.seconds})")
    parser.add_argument("--rounds", type=int, help=f"of which medians are taken ({FULL.rounds})")
    parser.add_argument("--only", nargs="+", choices=NAMES, metavar="NAME", help="; ".join(NAMES))
    parser.add_argument("--kafka", action="store_true", help="the product alone, with Kafka in between")
    return parser.parse_args()


class Run:
    """All rounds. Within one, each operation is measured at all contestants before the next operation."""

    def __init__(
        self,
        plan: Plan,
        operations: Sequence[Operation],
        console: Console,
        port: int,
        plain_port: int | None,
    ) -> None:
        self._plan = plan
        self._operations = operations
        self._console = console
        self._port = port
        self._plain_port = plain_port

    def rows(self) -> Sequence[Row]:
        """Measure, and sum it up."""
        rounds: defaultdict[Operation, list[Round]] = defaultdict(list)
        remarks: dict[Operation, str] = {}
        for number in range(1, self._plan.rounds + 1):
            for operation, measured, remark in self._round(number):
                rounds[operation].append(measured)
                remarks[operation] = remark
        return [results.row(operation, rounds[operation], remarks[operation]) for operation in rounds]

    def _round(self, number: int) -> Iterator[tuple[Operation, Round, str]]:
        self._tell(f"Round {number} of {self._plan.rounds}: putting concerts on sale …")
        product = self._sale(self._port, self._plan.crowd, number)
        beside = self._plain_port and self._sale(self._plain_port, self._plan.plain_crowd, number)
        for operation in self._operations:
            _settle(self._port)
            measured = product.measures[operation.name]()
            _settle(self._port)
            measured_beside = beside.measures[operation.name]() if beside else None
            ceiling = self._ceiling(measured) if beside else None
            self._tell_rates(operation, measured, measured_beside, ceiling)
            at_plain = measured_beside and figures(measured_beside.result)
            yield (
                operation,
                Round(figures(measured.result), ceiling and figures(ceiling), at_plain),
                measured.remark,
            )

    def _sale(self, port: int, crowd: Crowd, number: int) -> Sale:
        plan = self._plan
        sale = Sale(port, crowd, number, connections=plan.connections, seconds=plan.seconds)
        sale.prepare()
        return sale

    def _ceiling(self, measured: Measured) -> Result:
        return measure_ceiling(
            bare, measured.likes, connections=self._plan.connections, seconds=self._plan.seconds
        )

    def _tell_rates(
        self, operation: Operation, product: Measured, beside: Measured | None, ceiling: Result | None
    ) -> None:
        rates = [f"{product.result.rate:,.0f}/s {product.remark}".strip()]
        if beside is not None:
            rates.append(f"plain {beside.result.rate:,.0f}/s {beside.remark}".strip())
        if ceiling is not None:
            rates.append(f"ceiling {ceiling.rate:,.0f}/s")
        self._tell(f"  {operation.shown}: {', '.join(rates)}")

    def _tell(self, text: str) -> None:
        self._console.print(text)


def _settle(port: int) -> None:
    """Wait until the read models have caught up: no operation pays for the one before it."""
    deadline = time.monotonic() + SETTLED_WITHIN_S
    while not _has_settled(port):
        if time.monotonic() > deadline:
            raise TimeoutError("the read models did not catch up")
        time.sleep(0.02)


def _has_settled(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=10) as answer:
            ready = msgspec.json.decode(answer.read())
    except HTTPError:
        return False
    reached = min(ready["read_models"].values(), default=0)
    return reached >= ready["position"] and not any(one["events"] for one in ready["behind"].values())


def _audited(dsn: str, told: Mapping[str, str]) -> int:
    """Audit the log, and return how many events it has. Raises where it is not clean."""
    environment = {**os.environ, "DATABASE_URL": dsn, **told}
    audit = subprocess.run(
        [TICKETING, "audit", "--json"], env=environment, stdout=subprocess.PIPE, check=True
    )
    return int(msgspec.json.decode(audit.stdout)["events"])


def _show(found: Found, *, over_kafka: bool) -> None:
    rows = found.rows
    console = Console(width=None if sys.stdout.isatty() else WIDTH, highlight=False)
    console.print(table_over_kafka(rows, results.last_rates()) if over_kafka else table(rows))
    for remark in (f"{row.operation.shown}: {row.remark}" for row in rows if row.remark):
        console.print(remark)
    console.print(f"The audit of the product's {found.events:,} events is clean.")
    console.print(", ".join(f"{name} {value}" for name, value in found.machine.items()))


def _keep(found: Found, name: str) -> None:
    kept = results.keep(results.document(found.rows, results.last_growth(), found.machine), name)
    print(f"Kept in {kept.relative_to(results.FOLDER.parents[1])}.")


if __name__ == "__main__":
    sys.exit(main())
