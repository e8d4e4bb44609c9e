"""The crowd on a terminal: where everyone is while it runs, and the report afterwards."""

import asyncio
from collections.abc import Mapping
from typing import Final

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from cli.crowd.crowd import Crowd
from cli.crowd.report import Latencies, RushReport
from cli.crowd.visit import End, Stage

REFRESH_S: Final = 0.25

LINE_EVERY_S: Final = 10.0
"""How often a run without a terminal says that it goes on."""


async def show_progress(crowd: Crowd, console: Console) -> None:
    """Show where everyone is, until cancelled."""
    if not console.is_terminal:
        await _say_lines(crowd, console)
        return
    clock = asyncio.get_running_loop().time
    began_at = clock()
    with Live(console=console, auto_refresh=False, transient=True) as live:
        while True:
            live.update(_places(crowd, clock() - began_at), refresh=True)
            await asyncio.sleep(REFRESH_S)


async def _say_lines(crowd: Crowd, console: Console) -> None:
    while True:
        await asyncio.sleep(LINE_EVERY_S)
        places = [f"{count:,} {place}" for place, count in crowd.places.items() if count]
        console.print(", ".join(places), markup=False)


def _places(crowd: Crowd, seconds: float) -> Table:
    calls = crowd.service.measured.count
    table = Table(title=f"{seconds:.0f} s, {calls:,} calls answered", title_justify="left", box=None)
    table.add_column()
    table.add_column(justify="right")
    for place in (*Stage, *End):
        count = crowd.places[place]
        if count or place in {Stage.WAITING, Stage.CHOOSING, Stage.PAYING, End.BOUGHT, End.SOLD_OUT}:
            table.add_row(Text(place), f"{count:,}")
    return table


def show_report(report: RushReport, console: Console) -> None:
    """Print a report, but for the audit, which has a form of its own."""
    console.print(
        f"{report.buyers:,} buyers for {report.concert} ({report.arrival}): {report.seconds:,.1f} s from the "
        f"first arrival to the last end, {report.requests:,} requests, {report.requests_per_s:,.0f}/s",
        markup=False,
    )
    console.print(_ends(report))
    console.print(_calls(report))
    for heading, counts in (
        ("Why some went home", report.reasons),
        ("Unexpected answers", report.unexpected),
        ("Contradictions in what the buyers were told", dict.fromkeys(report.contradictions, 1)),
    ):
        if counts:
            console.print(_counts(heading, counts))


def _ends(report: RushReport) -> Table:
    table = Table(title="Who got seats, and who did not", title_justify="left", box=None, show_header=False)
    table.add_column()
    table.add_column(justify="right")
    table.add_column()
    for end, count in report.ends.items():
        bought = f"{report.seats_bought:,} seats for {report.won_paid:,} won" if end == End.BOUGHT else ""
        table.add_row(Text(end), f"{count:,}", bought)
    table.add_row("races lost for a seat", f"{report.races_lost:,}", "")
    return table


def _calls(report: RushReport) -> Table:
    table = Table("call", title="How fast it went, in ms", title_justify="left", box=None)
    for heading in ("answers", "p50", "p95", "p99", "max"):
        table.add_column(heading, justify="right")
    table.add_column("refused")
    for call in report.calls:
        refusals = ", ".join(f"{count:,} {code}" for code, count in call.refusals.items())
        table.add_row(call.call, *_cells(call.latencies), refusals)
    for name, summed in (
        ("until in line", report.in_line_after),
        ("until let in", report.waited),
        ("until paid", report.bought_after),
        ("until all was sold", report.sold_out_after),
        ("until a socket was free", report.waited_for_a_socket),
    ):
        if summed is not None:
            table.add_row(name, *_cells(summed), "")
    return table


def _cells(summed: Latencies) -> tuple[str, ...]:
    durations = (summed.p50_ms, summed.p95_ms, summed.p99_ms, summed.max_ms)
    return (f"{summed.count:,}", *(f"{duration:,.1f}" for duration in durations))


def _counts(heading: str, counts: Mapping[str, int]) -> Table:
    table = Table(title=heading, title_justify="left", box=None, show_header=False)
    table.add_column(justify="right")
    table.add_column()
    for words, count in counts.items():
        table.add_row(f"{count:,}", Text(words))
    return table
