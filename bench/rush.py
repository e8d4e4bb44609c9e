"""The rush at scale: ten thousand buyers for fifty seats, through the real API of the whole service.

`python -m bench.rush` starts `ticketing up` in a folder of its own, lets `ticketing rush` loose on it, once
with the default policy and once with no limit on admission, audits the log, and prints a report. Exits 1
where it did not end as it must. It takes about two minutes; `--buyers N` has others come.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
import psutil

from audit import Report as Audit
from cli.crowd.report import Latencies, RushReport
from cli.crowd.visit import End
from tests.cli.running_service import (
    TICKETING,
    RunningService,
    environment,
    free_port,
    running_service,
    ticketing,
)

SEATS: Final = 50
CODE: Final = "HALL"

POLICIES: Final[Mapping[str, Mapping[str, Any]]] = {
    "the default policy": {},
    "no limit on admission": {"max_active": None, "admit_up_to_seats_left": False},
}

OPERATIONS: Final = {
    "register": ("post", "/api/v1/users"),
    "charge": ("post", "/api/v1/users/{user_id}/wallet/charges"),
    "join": ("post", "/api/v1/concerts/{code}/token"),
    "poll": ("get", "/api/v1/concerts/{code}/token"),
    "leave": ("delete", "/api/v1/concerts/{code}/token"),
    "dates": ("get", "/api/v1/concerts/{code}/dates"),
    "seats": ("get", "/api/v1/concerts/{code}/seats"),
    "reserve": ("post", "/api/v1/concerts/{code}/reservations"),
    "pay": ("post", "/api/v1/payments"),
}
"""The API's operations, by the names that the crowd has for them."""

HTTP_ERROR: Final = 400

DEFECTS: Final = frozenset({"500", "502", "504"})
"""Documented or not, nobody may be answered so."""

PROBLEM: Final = "application/problem+json"

RUSH_S_MAX: Final = 500
AUDIT_S_MAX: Final = 300
LOOK_EVERY_S: Final = 0.1


class Costs(NamedTuple):
    """What one process took meanwhile."""

    cpu_s: float
    memory_mib: float
    """At its largest, as far as was looked."""


class Rushed(NamedTuple):
    """One rush, and what was found afterwards."""

    policy: str
    report: RushReport
    audit: Audit
    document: Any
    """The service's own OpenAPI document."""
    costs: Mapping[str, Costs]
    """By process: the crowd's is `rush`."""


def main() -> int:
    """Rush with each policy, and print the report."""
    parser = argparse.ArgumentParser(prog="bench.rush", description=__doc__)
    parser.add_argument("--buyers", type=int, default=10_000, help="for the fifty seats (10000)")
    parser.add_argument("--connections", type=int, default=128, help="that they share (128)")
    options = parser.parse_args()
    complaints: list[str] = []
    for policy in POLICIES:
        print(f"{options.buyers:,} buyers, {policy} …", file=sys.stderr, flush=True)
        rushed = rush(policy, options.buyers, options.connections)
        print("\n".join(in_markdown(rushed)), flush=True)
        complaints += [f"{policy}: {complaint}" for complaint in wrong(rushed)]
    for complaint in complaints:
        print(complaint, file=sys.stderr)
    return 1 if complaints else 0


def rush(policy: str, buyers: int, connections: int) -> Rushed:
    """Have so many buyers rush for the seats of a new service."""
    with tempfile.TemporaryDirectory(prefix="ticketing-rush-") as folder:
        Path(folder).chmod(0o755)  # PostgreSQL may have to run under another account
        data_folder, port = Path(folder) / "data", free_port()
        with running_service(data_folder, port, "--no-sample", TICKETING_LOG_LEVEL="warning") as service:
            _announce(service, POLICIES[policy])
            report, costs = _rush(service, buyers, connections)
            return Rushed(policy, report, _audited(service), service.answer("/openapi.json"), costs)


def _announce(service: RunningService, policy: Mapping[str, Any]) -> None:
    """Put the hall's one performance on sale."""
    concert = {
        "code": CODE,
        "title": "Fifty seats",
        "venue": "Small Hall",
        "sales": "open",
        "policy": policy,
        "performances": [{"date": {"in_days": 30}, "start_time": "19:00"}],
        "seats": [{"first": 1, "last": SEATS, "type": "STANDARD", "price": 100_000}],
    }
    file = service.data_folder.parent / "catalogue.json"
    file.write_bytes(msgspec.json.encode({"concerts": [concert]}))
    loaded = ticketing("catalogue", "load", str(file), data_folder=service.data_folder, port=service.port)
    if loaded.returncode:
        raise RuntimeError(loaded.stderr)


def _rush(service: RunningService, buyers: int, connections: int) -> tuple[RushReport, Mapping[str, Costs]]:
    kept = service.data_folder.parent / "rush.json"
    options = ["--buyers", str(buyers), "--concert", CODE, "--connections", str(connections)]
    process = subprocess.Popen(
        [*TICKETING, "rush", *options, "--patience", str(RUSH_S_MAX), "--no-audit", "--json", str(kept)],
        env=environment(service.data_folder, service.port),
        cwd=service.data_folder.parent,
        stdout=subprocess.DEVNULL,
    )
    try:
        costs = _costs({**service.children(), "rush": psutil.Process(process.pid)}, process)
    finally:
        process.kill()
        process.wait()
    return msgspec.json.decode(kept.read_bytes(), type=RushReport), costs


def _costs(processes: Mapping[str, psutil.Process], until: "subprocess.Popen[bytes]") -> Mapping[str, Costs]:
    """Look at the processes, and at PostgreSQL's backends, until one of them ends by itself."""
    before = {name: _cpu_s(process) for name, process in processes.items()}
    costs: dict[str, Costs] = {}
    deadline = time.monotonic() + RUSH_S_MAX
    while until.poll() is None:
        for name, process in processes.items():
            with suppress(psutil.NoSuchProcess):
                memory_mib = process.memory_info().rss / 2**20
                largest_mib = max(memory_mib, costs[name].memory_mib if name in costs else 0)
                costs[name] = Costs(_cpu_s(process) - before[name], largest_mib)
        if time.monotonic() > deadline:
            raise TimeoutError(f"the rush did not end within {RUSH_S_MAX} s")
        time.sleep(LOOK_EVERY_S)
    return costs


def _cpu_s(process: psutil.Process) -> float:
    times = [each.cpu_times() for each in (process, *process.children())]
    return sum(each.user + each.system for each in times)


def _audited(service: RunningService) -> Audit:
    audited = ticketing(
        "audit", "--json", data_folder=service.data_folder, port=service.port, within_s=AUDIT_S_MAX
    )
    return msgspec.json.decode(audited.stdout, type=Audit)


def wrong(rushed: Rushed) -> Iterator[str]:
    """Say what did not end as it must."""
    report, audit = rushed.report, rushed.audit
    sold = min(report.buyers, SEATS)
    expected = {End.BOUGHT: sold, End.SOLD_OUT: report.buyers - sold}
    if report.ends != {end: count for end, count in expected.items() if count}:
        yield f"{expected} was to become of the buyers, not {report.ends}; {report.reasons}"
    if report.seats_bought != sold or [concert.seats_sold for concert in audit.concerts] != [sold]:
        yield f"{sold} seats were to be sold, not {report.seats_bought}; {audit.concerts}"
    if not audit.ok:
        yield f"the audit found {audit.breaches or audit.read_models}"
    yield from report.contradictions
    yield from (f"unexpected: {count} {words}" for words, count in report.unexpected.items())
    yield from _undocumented(rushed)


def _undocumented(rushed: Rushed) -> Iterator[str]:
    """Hold every answer's status, and every refusal's code, against the service's own document."""
    for call in rushed.report.calls:
        method, path = OPERATIONS[call.call]
        responses = rushed.document["paths"][path][method]["responses"]
        status_of = {
            code: int(status)
            for status, response in responses.items()
            for code in response.get("content", {}).get(PROBLEM, {}).get("examples", {})
        }
        unknown = {str(status) for status in call.statuses} - (responses.keys() - DEFECTS)
        unknown |= call.refusals.keys() - status_of.keys()
        if unknown:
            yield f"{call.call} was answered with {unknown}, which nothing documented leads to"
            continue
        refused = Counter[int]()
        for code, count in call.refusals.items():
            refused[status_of[code]] += count
        if refused != {status: n for status, n in call.statuses.items() if status >= HTTP_ERROR}:
            yield f"{call.call}: {call.statuses} are not the statuses of {call.refusals}"


def in_markdown(rushed: Rushed) -> Iterator[str]:
    """Tell it as a page does."""
    report = rushed.report
    yield f"### {report.buyers:,} buyers for {SEATS} seats, with {rushed.policy}"
    yield ""
    yield (
        f"{report.seats_bought} seats sold; {report.seconds:.1f} s from the first arrival to the last end; "
        f"{report.requests:,} requests, {report.requests_per_s:,.0f}/s. Buyers: {_counted(report.ends)}. "
        f"The audit of {rushed.audit.events:,} events found "
        f"{'nothing wrong' if rushed.audit.ok else f'{len(rushed.audit.breaches)} BREACHES'}."
    )
    yield ""
    yield "| | answers | by status | refused with | p50 ms | p95 ms | p99 ms | max ms |"
    yield "| --- | ---: | --- | --- | ---: | ---: | ---: | ---: |"
    for call in report.calls:
        yield _row(call.call, call.latencies, _counted(call.statuses), _counted(call.refusals))
    for name, latencies in (
        ("until in line", report.in_line_after),
        ("until let in", report.waited),
        ("until paid", report.bought_after),
        ("until told that all is sold", report.sold_out_after),
        ("until a connection was free", report.waited_for_a_socket),
    ):
        if latencies is not None:
            yield _row(name, latencies, "", "")
    yield ""
    yield "| process | CPU s | memory, MiB |"
    yield "| --- | ---: | ---: |"
    for name, costs in rushed.costs.items():
        yield f"| {name} | {costs.cpu_s:.1f} | {costs.memory_mib:,.0f} |"
    yield ""


def _row(name: str, latencies: Latencies, statuses: str, refusals: str) -> str:
    figures = (latencies.p50_ms, latencies.p95_ms, latencies.p99_ms, latencies.max_ms)
    cells = [name, f"{latencies.count:,}", statuses, refusals, *(f"{figure:,.1f}" for figure in figures)]
    return f"| {' | '.join(cells)} |"


def _counted(counts: Mapping[Any, int]) -> str:
    return ", ".join(f"{count:,} × {what}" for what, count in counts.items())


if __name__ == "__main__":
    sys.exit(main())
