"""Measures every operation of a sale against the ceiling, and prints one table.

`python -m bench` takes about two minutes; with `--smoke` it takes seconds and shows only that it works.
"""

import argparse
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.table import Table

from bench import operations
from bench.client import Result
from bench.operations import Measured, Sale
from bench.service import embedded, listening_socket, service, wait_until_ready
from bench.topic import over_kafka


def main() -> int:
    """Run the benchmarks. Exits 1 if any answer was not what it should be."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="briefly, to see that they work")
    parser.add_argument("--seconds", type=float, default=8.0, help="for each operation at most (8)")
    parser.add_argument("--users", type=int, default=20_000, help="who go through the sale (20000)")
    parser.add_argument("--connections", type=int, default=128, help="at once (128)")
    parser.add_argument("--api-processes", type=int, default=1, help="of the service (1)")
    parser.add_argument("--kafka", action="store_true", help="have Kafka between log and read models")
    options = parser.parse_args()
    if options.smoke:
        options.seconds, options.users, options.connections = 1.0, 400, 32
    console = Console(stderr=True)
    with bare_route() as port:
        console.print("Measuring the ceiling …")
        limits = operations.ceiling(port, options.connections, options.seconds)
    rows: list[Measured] = []
    store = over_kafka if options.kafka else embedded
    with (
        store() as (dsn, told),
        service(dsn, api_processes=options.api_processes, told=told) as port,
    ):
        for row in Sale(port, options.users, options.connections, options.seconds).operations():
            console.print(f"{row.operation}: {row.result.rate:,.0f}/s")
            rows.append(row)
    Console(width=120).print(table(rows, limits))
    return report_unexpected(rows)


@contextmanager
def bare_route() -> Iterator[int]:
    """Serve the ceiling's route in a process of its own, and yield its port."""
    with listening_socket() as listener:
        fd = listener.fileno()
        process = subprocess.Popen([sys.executable, "-m", "bench.ceiling", str(fd)], pass_fds=[fd])
        port = listener.getsockname()[1]
        try:
            wait_until_ready(f"http://127.0.0.1:{port}/constant")
            yield port
        finally:
            process.terminate()
            process.wait()


def table(rows: list[Measured], limits: dict[str, Result]) -> Table:
    """Show each operation beside the ceiling of its method."""
    shown = Table(
        "operation", "requests/s", "p50 ms", "p95 ms", "p99 ms", "max ms", "x ceiling", "client CPU"
    )
    for method, limit in limits.items():
        shown.add_row(f"ceiling, {method}", *_figures(limit, limit))
    for row in rows:
        shown.add_row(row.operation, *_figures(row.result, limits[row.method]))
    return shown


def _figures(result: Result, limit: Result) -> list[str]:
    percentiles = [f"{result.percentile(percent):.1f}" for percent in (50, 95, 99, 100)]
    ratio = result.rate / limit.rate
    return [f"{result.rate:,.0f}", *percentiles, f"{ratio:.2f}", f"{result.client_cpu:.0%}"]


def report_unexpected(rows: list[Measured]) -> int:
    """Say which answers were not what they should be; a figure made of refusals is worth nothing."""
    failed = 0
    for row in rows:
        others = {status: n for status, n in row.result.statuses.items() if status != row.expected}
        if others or not row.result.answers:
            print(f"{row.operation}: expected {row.expected}, got {others or 'no answer'}", file=sys.stderr)
            failed = 1
    return failed


if __name__ == "__main__":
    sys.exit(main())
