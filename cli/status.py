"""`ticketing status`: how the service does as a whole."""

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from cli.console import ExitCode, out

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    from infrastructure.overview import Overview, ProcessStatus, ReadModelStatus, TopicStatus

HELP = """Show how the service does: the log, the topic, the read models, the processes, and what is wrong.

Exits 1 if something is wrong: events are parked, a read model or the topic is more than 10 s behind, \
a process is silent, or there is no API, no projector, no timer that leads, or with Kafka no relay that leads.

\b
Examples:
  ticketing status
  ticketing status --watch
  ticketing status --json | jq .wrong
"""

LOOK_EVERY_S = 1.0


def command(
    as_json: Annotated[bool, typer.Option("--json", help="Print all of it as JSON.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Look again every second, until Ctrl-C.")] = False,
) -> None:
    """Look once, or until interrupted; end by what was seen last."""
    import msgspec

    from cli.environment import database_failures, database_url, settings_or_fail

    settings = settings_or_fail()
    with database_failures(settings):
        dsn = database_url(settings)
        publishes = settings.kafka is not None
        overview = asyncio.run((_watch if watch else _look)(dsn, publishes=publishes))
    if as_json:
        out.print(msgspec.json.format(msgspec.json.encode(overview)).decode(), markup=False)
    elif not watch:
        out.print(shown(overview))
    if overview.wrong:
        raise typer.Exit(ExitCode.RULE_BROKEN)


async def _look(dsn: str, *, publishes: bool) -> "Overview":
    from psycopg import AsyncConnection

    from infrastructure.overview import overview

    async with await AsyncConnection.connect(dsn, autocommit=True, options="-c timezone=UTC") as connection:
        return await overview(connection, publishes=publishes)


async def _watch(dsn: str, *, publishes: bool) -> "Overview":
    from rich.live import Live

    overview = await _look(dsn, publishes=publishes)
    with Live(shown(overview), console=out, auto_refresh=False) as live:
        try:
            while True:
                await asyncio.sleep(LOOK_EVERY_S)
                overview = await _look(dsn, publishes=publishes)
                live.update(shown(overview), refresh=True)
        except asyncio.CancelledError:  # Ctrl-C ends the watching, and what was seen last counts
            return overview


def shown(overview: "Overview") -> "Group":
    """Lay it out for a terminal."""
    from rich.console import Group
    from rich.text import Text

    log, topic = overview.log, overview.topic
    verdict = [Text(f"! {line}", style="red") for line in overview.wrong]
    return Group(
        Text(f"The log ends at position {log.position:,} (epoch {log.epoch})."),
        *([] if topic is None else [_topic(topic)]),
        Text(),
        _read_models(overview),
        *(_partitions(one) for one in overview.read_models if len(set(one.checkpoints)) > 1),
        Text(),
        _processes(overview),
        *(
            Text(f"An audit is running since {_clock(audit.since)}: {audit.progress:.0%} ({audit.audit_id})")
            for audit in overview.audits
        ),
        Text(),
        *(verdict or [Text("All is well.", style="bold green")]),
    )


def _topic(topic: "TopicStatus") -> "Text":
    from rich.text import Text

    name = f"{topic.name} ({topic.partitions:,} partitions)"
    behind = f"{topic.behind_events:,} events, {topic.behind_s:,.1f} s behind"
    return Text(
        f"The topic {name} has it up to position {topic.position:,}: {behind}.",
        style="red" if topic.behind_s > _behind_s_max() else "",
    )


def _partitions(one: "ReadModelStatus") -> "Text":
    """Where each partition of a read model stands, which has come further in some than in others."""
    from rich.text import Text

    places = ", ".join(f"{partition} at {position:,}" for partition, position in enumerate(one.checkpoints))
    return Text(f"{one.name} by partition: {places}")


def _read_models(overview: "Overview") -> "Table":
    from rich.table import Table

    table = Table("read model", box=None, pad_edge=False)
    for heading in ("version", "position", "behind", "seconds", "parked"):
        table.add_column(heading, justify="right")
    for one in overview.read_models:
        table.add_row(
            one.name,
            str(one.version),
            f"{one.position:,}",
            f"{one.behind_events:,}",
            f"{one.behind_s:,.1f}",
            f"{one.parked_events:,}",
            style="red" if one.parked_events or one.behind_s > _behind_s_max() else None,
        )
    return table


def _processes(overview: "Overview") -> "Table":
    from rich.table import Table

    table = Table("process", "id", "since", box=None, pad_edge=False)
    table.add_column("last heard of", justify="right")
    table.add_column("leads")
    follows = any(one.partitions is not None for one in overview.processes)
    if follows:
        table.add_column("follows")
    for one in overview.processes:
        leads = "" if one.leads is None else ("yes" if one.leads else "stands by")
        cells = [one.role, str(one.process_id), _clock(one.since), f"{one.silent_s:,.1f} s ago", leads]
        table.add_row(*cells, *([_followed(one)] if follows else ()))
    return table


def _followed(one: "ProcessStatus") -> str:
    """Its partitions, and whether it reads them from the log at the moment."""
    if one.partitions is None:
        return ""
    partitions = _ranges(one.partitions) or "no partition"
    return f"{partitions}, from the log" if one.reads == "log" else partitions


def _ranges(numbers: Sequence[int]) -> str:
    """`0-2, 5` for 0, 1, 2 and 5."""
    ranges: list[list[int]] = []
    for number in sorted(numbers):
        if ranges and ranges[-1][-1] == number - 1:
            ranges[-1] = [ranges[-1][0], number]
        else:
            ranges.append([number])
    return ", ".join("-".join(map(str, one)) for one in ranges)


def _clock(moment: object) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S}Z"


def _behind_s_max() -> float:
    from infrastructure.overview import BEHIND_S_MAX

    return BEHIND_S_MAX
