"""How the service does as a whole, as the database tells it: for `ticketing status`."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, LiteralString
from uuid import UUID

import msgspec
from psycopg import AsyncConnection, IsolationLevel
from psycopg.rows import tuple_row

from infrastructure import audits, lag, worker_status
from infrastructure.lag import ReadModelStanding, TopicStanding
from projections import dead_letters

BEHIND_S_MAX = 10.0
"""A read model that is further behind is stuck: it is never more than a quarter of a second (qualities)."""

SILENT_S_MAX = 10.0
"""Workers and API processes tell of themselves at least every 5 s."""

CLOCK_AND_EPOCH: LiteralString = """
    SELECT clock_timestamp(), (SELECT epoch FROM ticketing.log_epochs ORDER BY number DESC LIMIT 1)
"""

API_PROCESSES: LiteralString = """
    SELECT process_id, since, extract(epoch FROM clock_timestamp() - beat_at)::float8
    FROM ticketing.hearing
    ORDER BY since
"""


class LogEnd(msgspec.Struct, frozen=True):
    """Where the log ends."""

    position: int
    epoch: UUID


class TopicStatus(msgspec.Struct, frozen=True):
    """How far the log has been published."""

    name: str
    partitions: int
    position: int
    behind_events: int
    behind_s: float
    """How old the first event is that is not on it."""


class ReadModelStatus(msgspec.Struct, frozen=True):
    """How far a read model has come."""

    name: str
    version: int
    position: int
    checkpoints: Sequence[int]
    """By partition; the lowest is its position."""
    behind_events: int
    behind_s: float
    """How old the first event is that it has not applied."""
    parked_events: int
    parked_streams: int


class ProcessStatus(msgspec.Struct, frozen=True):
    """A process as it told last."""

    role: str
    process_id: UUID
    since: datetime
    silent_s: float
    leads: bool | None
    """None where nobody leads."""
    partitions: Sequence[int] | None = None
    """Those of the topic that it was given; None where it follows none."""
    reads: str | None = None
    """Whether it reads the `topic` or, while that lags, the `log` itself."""
    error: str | None = None
    """What keeps it from its work, if it said so."""


class AuditStatus(msgspec.Struct, frozen=True):
    """An audit that is running."""

    audit_id: UUID
    since: datetime
    progress: float


class Overview(msgspec.Struct, frozen=True):
    """All of it, at one moment."""

    at: datetime
    log: LogEnd
    topic: TopicStatus | None
    """None where there is none: the projectors follow the log itself."""
    read_models: Sequence[ReadModelStatus]
    processes: Sequence[ProcessStatus]
    audits: Sequence[AuditStatus]
    wrong: Sequence[str]
    """What somebody should look at, in a line each."""


async def overview(connection: AsyncConnection[Any], *, publishes: bool) -> Overview:
    """Look at everything in one snapshot. The connection is of its own, and in no transaction.

    `publishes` says that the log is to be on the topic, so that a relay has to run, also if nothing shows it.
    """
    await connection.set_isolation_level(IsolationLevel.REPEATABLE_READ)
    async with connection.transaction():
        cursor = connection.cursor(row_factory=tuple_row)
        await cursor.execute(CLOCK_AND_EPOCH)
        ((now, epoch),) = await cursor.fetchall()
        standings = await lag.standings(connection)
        parked = await dead_letters.count(connection)
        processes = [*await _workers(connection), *await _api_processes(connection)]
        running = [AuditStatus(*row) for row in await audits.running(connection)]
    topic = None if standings.topic is None else _topic(standings.topic)
    read_models = [_read_model(one, parked.get(one.name)) for one in standings.read_models]
    wrong = [
        *_wrong_read_models(read_models),
        *_wrong_processes(processes),
        *_wrong_topic(topic, processes, publishes=publishes),
    ]
    log_end = LogEnd(standings.log_position, epoch)
    return Overview(now, log_end, topic, read_models, processes, running, wrong)


def _topic(one: TopicStanding) -> TopicStatus:
    return TopicStatus(one.name, one.partitions, one.position, one.behind.events, one.behind.seconds)


def _read_model(one: ReadModelStanding, parked: dead_letters.Parked | None) -> ReadModelStatus:
    return ReadModelStatus(
        one.name,
        one.version,
        one.position,
        one.checkpoints,
        one.behind.events,
        one.behind.seconds,
        parked.events if parked else 0,
        parked.streams if parked else 0,
    )


async def _workers(connection: AsyncConnection[Any]) -> Sequence[ProcessStatus]:
    return [
        ProcessStatus(
            worker.role, worker.process_id, worker.since, worker.age / timedelta(seconds=1),
            worker.facts.get("leads"), worker.facts.get("partitions"), worker.facts.get("reads"),
            worker.facts.get("error") or None,
        )
        for worker in await worker_status.worker_statuses(connection)
    ]  # fmt: skip


async def _api_processes(connection: AsyncConnection[Any]) -> Sequence[ProcessStatus]:
    cursor = connection.cursor(row_factory=tuple_row)
    await cursor.execute(API_PROCESSES)
    rows = await cursor.fetchall()
    return [ProcessStatus("api", id_, since, silent_s, leads=None) for id_, since, silent_s in rows]


def _wrong_read_models(read_models: Sequence[ReadModelStatus]) -> Sequence[str]:
    behind = [
        f"{one.name} is {one.behind_s:,.0f} s behind: is a projector running? its log says what fails"
        for one in read_models
        if one.behind_s > BEHIND_S_MAX
    ]
    parked = [
        f"{one.name} has parked {one.parked_events:,} events of {one.parked_streams:,} streams: "
        "see `ticketing dead-letters`"
        for one in read_models
        if one.parked_events
    ]
    return [*behind, *parked]


def _wrong_processes(processes: Sequence[ProcessStatus]) -> Sequence[str]:
    alive = _alive(processes)
    silent = [
        f"{one.role} {one.process_id} has been silent for {one.silent_s:,.0f} s: it is gone or stuck"
        for one in processes
        if one not in alive
    ]
    missing = [
        f"no {role} is running"
        for role in ("api", "projector", "timer")
        if not any(one.role == role for one in alive)
    ]
    return [*missing, *_nobody_leads("timer", alive), *silent]


def _wrong_topic(
    topic: TopicStatus | None, processes: Sequence[ProcessStatus], *, publishes: bool
) -> Sequence[str]:
    alive = _alive(processes)
    in_use = publishes or any(one.role == "relay" or one.partitions is not None for one in processes)
    if topic is None or not in_use:
        return []
    if not any(one.role == "relay" for one in alive):
        return ["no relay is running"]
    if nobody_leads := _nobody_leads("relay", alive):
        return nobody_leads
    if topic.behind_s > BEHIND_S_MAX:
        errors = [one.error for one in alive if one.role == "relay" and one.leads and one.error]
        why = f"it says {errors[0]}" if errors else "its log says"
        return [f"the relay is {topic.behind_s:,.0f} s behind: is Kafka out of reach? {why}"]
    return []


def _alive(processes: Sequence[ProcessStatus]) -> Sequence[ProcessStatus]:
    return [one for one in processes if one.silent_s <= SILENT_S_MAX]


def _nobody_leads(role: str, alive: Sequence[ProcessStatus]) -> Sequence[str]:
    those = [one for one in alive if one.role == role]
    return [f"no {role} leads"] if those and not any(one.leads for one in those) else []
