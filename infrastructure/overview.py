"""How the service does as a whole, as the database tells it: for `ticketing status`."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, LiteralString
from uuid import UUID

import msgspec
from psycopg import AsyncConnection, IsolationLevel
from psycopg.rows import tuple_row

from infrastructure import audits, codec, worker_status
from projections import checkpoints, dead_letters
from projections.registry import PROJECTIONS

BEHIND_S_MAX = 10.0
"""A read model that is further behind is stuck: it is never more than a quarter of a second (qualities)."""

SILENT_S_MAX = 10.0
"""Workers and API processes tell of themselves at least every 5 s."""

LOG: LiteralString = """
    SELECT clock_timestamp(),
           (SELECT coalesce(max(notification_id), 0) FROM ticketing.ticketing_events),
           (SELECT epoch FROM ticketing.log_epochs ORDER BY number DESC LIMIT 1)
"""

EVENTS_BEYOND: LiteralString = """
    SELECT count(*) FROM ticketing.ticketing_events WHERE notification_id > %s
"""

FIRST_BEYOND: LiteralString = """
    SELECT state
    FROM ticketing.ticketing_events
    WHERE notification_id > %s
    ORDER BY notification_id
    LIMIT 1
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


class ReadModelStatus(msgspec.Struct, frozen=True):
    """How far a read model has come."""

    name: str
    version: int
    position: int
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


class AuditStatus(msgspec.Struct, frozen=True):
    """An audit that is running."""

    audit_id: UUID
    since: datetime
    progress: float


class Overview(msgspec.Struct, frozen=True):
    """All of it, at one moment."""

    at: datetime
    log: LogEnd
    read_models: Sequence[ReadModelStatus]
    processes: Sequence[ProcessStatus]
    audits: Sequence[AuditStatus]
    wrong: Sequence[str]
    """What somebody should look at, in a line each."""


async def overview(connection: AsyncConnection[Any]) -> Overview:
    """Look at everything in one snapshot. The connection is of its own, and in no transaction."""
    await connection.set_isolation_level(IsolationLevel.REPEATABLE_READ)
    async with connection.transaction():
        cursor = connection.cursor(row_factory=tuple_row)
        await cursor.execute(LOG)
        ((now, position, epoch),) = await cursor.fetchall()
        read_models = await _read_models(connection, now)
        processes = [*await _workers(connection), *await _api_processes(connection)]
        running = [AuditStatus(*row) for row in await audits.running(connection)]
    wrong = [*_wrong_read_models(read_models), *_wrong_processes(processes)]
    return Overview(now, LogEnd(position, epoch), read_models, processes, running, wrong)


async def _read_models(connection: AsyncConnection[Any], now: datetime) -> Sequence[ReadModelStatus]:
    places = await checkpoints.places(connection, PROJECTIONS)
    parked = await dead_letters.count(connection)
    behind: dict[int, tuple[int, float]] = {}
    for position in {place.position for place in places.values()}:
        behind[position] = await _behind(connection, position, now)
    return [
        ReadModelStatus(
            projection.name,
            projection.version,
            places[projection.name].position,
            *behind[places[projection.name].position],
            *_parked(parked, projection.name),
        )
        for projection in PROJECTIONS
    ]


def _parked(parked: Mapping[str, dead_letters.Parked], name: str) -> tuple[int, int]:
    return (parked[name].events, parked[name].streams) if name in parked else (0, 0)


async def _behind(connection: AsyncConnection[Any], position: int, now: datetime) -> tuple[int, float]:
    """How many events stand behind a position, and how old the first of them is."""
    cursor = connection.cursor(row_factory=tuple_row, binary=True)
    await cursor.execute(FIRST_BEYOND, [position])
    row = await cursor.fetchone()
    if row is None:
        return 0, 0.0
    form = codec.find_form(row[0])
    age_s = 0.0 if form is None else max(0.0, (now - form.recorded_at).total_seconds())
    await cursor.execute(EVENTS_BEYOND, [position])
    ((count,),) = await cursor.fetchall()
    return count, age_s


async def _workers(connection: AsyncConnection[Any]) -> Sequence[ProcessStatus]:
    return [
        ProcessStatus(
            worker.role, worker.process_id, worker.since, worker.age / timedelta(seconds=1),
            worker.facts.get("leads"),
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
    alive = [one for one in processes if one.silent_s <= SILENT_S_MAX]
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
    timers = [one for one in alive if one.role == "timer"]
    nobody_leads = ["no timer leads"] if timers and not any(one.leads for one in timers) else []
    return [*missing, *nobody_leads, *silent]
