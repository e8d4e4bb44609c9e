"""The audit's report on a terminal."""

from collections.abc import Sequence

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from audit import Difference, Parked, Report

SHOWN_MAX = 50
"""Breaches, and rows that differ: a terminal holds no more. `--json` has all breaches."""


def show(report: Report, console: Console, differences: Sequence[Difference] = ()) -> None:
    """Print a report as tables, with the first of the rows that differ."""
    console.print(Group(_totals(report), *([_concerts(report)] if report.concerts else [])))
    if report.breaches:
        console.print(_breaches(report))
    if differences:
        console.print(_differences(differences))
    console.print(_verdict(report))


def _totals(report: Report) -> Table:
    table = Table(title=_title(report), title_justify="left", show_header=False, box=None)
    wallets, payments = report.wallets, report.payments
    table.add_row("wallets", f"{wallets.count:,}")
    table.add_row("  charged", _won(wallets.charged))
    table.add_row("  debited", _won(wallets.debited))
    table.add_row("  refunded", _won(wallets.refunded))
    table.add_row("  balance", _won(wallets.balance))
    table.add_row("payments completed", f"{payments.completed:,}  ({_won(payments.amount_completed)})")
    table.add_row("payments failed", f"{payments.failed:,}")
    table.add_row("payments refunded", f"{payments.refunded:,}  ({_won(payments.amount_refunded)})")
    if report.read_models is not None:
        compared, different = report.read_models.compared, report.read_models.different
        table.add_row("read models", f"{compared:,} rows compared, {different:,} different")
        for name, parked in report.read_models.parked.items():
            table.add_row(f"  {name}", _parked(parked))
    return table


def _parked(parked: Parked) -> str:
    told = f"{parked.events:,} events of {parked.streams:,} streams parked"
    told += f", {parked.dropped:,} dropped" if parked.dropped else ""
    return told + (f"; {parked.explained:,} rows may differ for it" if parked.explained else "")


def _title(report: Report) -> str:
    until = "" if report.at is None else f", up to {report.at.isoformat()}"
    return f"Replayed {report.events:,} events, to position {report.position:,}{until}"


def _concerts(report: Report) -> Table:
    table = Table("concert", box=None, pad_edge=False)
    for heading in ("numbers issued", "let in", "seats sold", "revenue"):
        table.add_column(heading, justify="right")
    for concert in report.concerts:
        table.add_row(
            Text(concert.code),
            f"{concert.numbers_issued:,}",
            f"{concert.activated:,}",
            f"{concert.seats_sold:,}",
            _won(concert.revenue),
        )
    return table


def _breaches(report: Report) -> Table:
    table = Table("rule", "stream", "positions", "what is wrong", title="Breaches", title_justify="left")
    for breach in report.breaches[:SHOWN_MAX]:
        positions = ", ".join(map(str, breach.positions))
        table.add_row(breach.rule, Text(breach.stream), positions, Text(breach.detail))
    if len(report.breaches) > SHOWN_MAX:
        table.add_row("", "", "", f"and {len(report.breaches) - SHOWN_MAX:,} more (see --json)")
    return table


def _differences(differences: Sequence[Difference]) -> Table:
    title = "Rows that are not what the log says"
    table = Table("read model", "row", "what is wrong", title=title, title_justify="left")
    for difference in differences:
        table.add_row(difference.read_model, Text(difference.key), Text(difference.detail))
    if len(differences) == SHOWN_MAX:
        table.add_row("", "", "these are the first; there may be more")
    return table


def _verdict(report: Report) -> Text:
    if report.ok:
        return Text("Every rule was kept.", style="bold green") + _waiting(report)
    different = report.read_models.different if report.read_models else 0
    found = [f"{len(report.breaches):,} breaches"] if report.breaches else []
    found += [f"{different:,} rows of read models differ"] if different else []
    return Text(f"Not all is well: {', '.join(found)}.", style="bold red")


def _waiting(report: Report) -> Text:
    """What keeps the read models from showing all of the log."""
    events = sum(parked.events for parked in report.read_models.parked.values()) if report.read_models else 0
    return (
        Text(f" {events:,} events are parked: see `ticketing dead-letters`.", "yellow") if events else Text()
    )


def _won(amount: int) -> str:
    return f"{amount:,} won"
