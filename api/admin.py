"""What operators do: announce, schedule, run a sale, look into it, and have the log audited."""

import asyncio
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec
import psycopg

from aggregates import stream
from aggregates.concert import Performance
from aggregates.errors import ConcertNotFound, PaymentNotFound, UserNotFound, ValidationFailed
from aggregates.ids import ConcertCode, StartTime
from aggregates.policy import Policy, changed
from api import paging, problems
from api.call import Call, Rendered, Reply, json_reply
from api.endpoint import Access, Operation
from api.views import (
    AuditStarted,
    AuditView,
    HistoryQuery,
    NewAudit,
    NewConcert,
    NewPerformance,
    NewPolicy,
    Page,
    PageQuery,
    PerformanceView,
    PolicyChanges,
    SaleStateView,
    SeatCounts,
    StatsView,
    StreamEventView,
)
from audit import History, history
from commands.announce_concert import AnnounceConcert
from commands.errors import StoreUnavailable
from commands.run_sale import (
    ChangePolicy,
    CloseSales,
    OpenSales,
    PauseQueue,
    ResumeQueue,
    SaleCommand,
)
from commands.schedule_performance import SchedulePerformance, SeatsFrom
from infrastructure import audits, log_reader
from projections import payments, queue, seat_map

ADMIN = "admin"
"""The caller under whom the idempotency keys of admin calls are kept."""


async def announce(call: Call[NewConcert, None]) -> Reply:
    """Announce a concert; its sales are closed until they are opened."""
    concert = msgspec.structs.replace(call.body, policy=changed(call.body.policy, {}))
    command = AnnounceConcert(
        ConcertCode(concert.code), concert.title, concert.description, concert.category, concert.venue,
        concert.time_zone, concert.policy,
    )  # fmt: skip
    return await call.execute(command, lambda _: Rendered(201, concert), caller=ADMIN)


async def schedule(call: Call[NewPerformance, None]) -> Reply:
    """Schedule a performance, with its plan of seats."""
    wanted, code = call.body, call.code
    seats_from = None
    if wanted.seats_from is not None:
        seats_from = SeatsFrom(wanted.seats_from.date, StartTime(wanted.seats_from.start_time))
    command = SchedulePerformance(
        code, wanted.date, StartTime(wanted.start_time), wanted.end_time, wanted.seats, seats_from
    )

    def rendered(performance: Performance) -> Rendered:
        view = PerformanceView(
            code, performance.date, performance.start_time, wanted.end_time, performance.starts_at,
            performance.seats,
        )  # fmt: skip
        return Rendered(201, view)

    return await call.execute(command, rendered, caller=ADMIN)


async def change_policy(call: Call[PolicyChanges, None]) -> Reply:
    """Change fields of the sale policy, and answer with the whole of it."""
    command = ChangePolicy(call.code, call.body)
    return await call.execute(command, lambda policy: Rendered(200, policy), caller=ADMIN)


async def open_sales(call: Call[None, None]) -> Reply:
    """Put the concert on sale."""
    return await _switch(call, OpenSales(call.code), SaleStateView(call.code, sales="OPEN"))


async def close_sales(call: Call[None, None]) -> Reply:
    """Take the concert off sale (rule L1)."""
    return await _switch(call, CloseSales(call.code), SaleStateView(call.code, sales="CLOSED"))


async def pause_queue(call: Call[None, None]) -> Reply:
    """Stop letting in."""
    return await _switch(call, PauseQueue(call.code), SaleStateView(call.code, queue="PAUSED"))


async def resume_queue(call: Call[None, None]) -> Reply:
    """Let in again."""
    return await _switch(call, ResumeQueue(call.code), SaleStateView(call.code, queue="RUNNING"))


async def _switch(call: Call[None, None], command: SaleCommand, view: SaleStateView) -> Reply:
    return await call.execute(command, lambda _: Rendered(200, view), caller=ADMIN)


async def stats(call: Call[None, None]) -> Reply:
    """Answer how a sale stands, in counts and won."""
    line = await call.read(queue.PROJECTION, queue.find_line, call.code)
    if line.value is None:
        raise ConcertNotFound
    seats = await call.read(seat_map.PROJECTION, seat_map.counts, call.code)
    revenue = await call.read(payments.PROJECTION, payments.revenue, call.code)
    counts = line.value
    view = StatsView(
        waiting=counts.waiting,
        active=counts.active,
        completed=counts.completed,
        expired=counts.expired,
        cancelled=counts.cancelled,
        head=counts.head,
        issued=counts.issued,
        seats=SeatCounts(seats.value.available, seats.value.held, seats.value.sold),
        revenue=revenue.value,
    )
    return json_reply(200, view, min(line.position, seats.position, revenue.position))


async def read_stream(call: Call[None, PageQuery]) -> Reply:
    """Answer with a stream's events, by its readable name or its UUID."""
    stream_id = _stream_id(call.path_params["name"])
    after, limit = paging.place(call.query.after), call.query.limit
    read = call.services.read_models.read
    position = await read(log_reader.last_position)
    events = await read(log_reader.read_stream, stream_id, after=after, limit=limit + 1)
    if not events and not await read(log_reader.read_stream, stream_id, after=0, limit=1):
        raise problems.StreamNotFound
    page = events[:limit]
    following = str(page[-1].version) if len(events) > len(page) else None
    return json_reply(200, Page(list(page), following), position)


def _stream_id(name: str) -> UUID:
    if "/" not in name:
        try:
            return UUID(name)
        except ValueError:
            raise problems.StreamNotFound from None
    return stream.stream_id(name)


async def start_audit(call: Call[NewAudit, None]) -> Reply:
    """Have the whole log replayed in a process of its own; while one runs, answer with its id."""
    audit_id = await call.services.audits.start(_in_utc(call.body.at))
    return json_reply(202, AuditStarted(audit_id))


async def look_at_audit(call: Call[None, None]) -> Reply:
    """Answer with an audit's state and, when it is done, its report."""
    found = await call.services.read_models.read(audits.find, call.uuid("audit_id"))
    if found is None:
        raise problems.AuditNotFound
    return json_reply(200, found)


async def payment_history(call: Call[None, HistoryQuery]) -> Reply:
    """Answer with one wallet's or one payment's history, replayed from its streams."""
    user_id, payment_id, at = call.query.user_id, call.query.payment_id, _in_utc(call.query.at)
    if (user_id is None) == (payment_id is None):
        raise ValidationFailed("name either user_id or payment_id")
    try:
        found = await asyncio.to_thread(
            history,
            call.services.dsn,
            user_id=None if user_id is None else str(user_id),
            payment_id=None if payment_id is None else str(payment_id),
            at=at,
        )
    except psycopg.OperationalError as error:
        raise StoreUnavailable("NONE") from error
    if not found.items:
        raise UserNotFound if payment_id is None else PaymentNotFound("There is no such payment.")
    return json_reply(200, found)


def _in_utc(at: datetime | None) -> datetime | None:
    """Raises ValidationFailed for a time that UTC cannot name."""
    try:
        return at and at.astimezone(UTC)
    except OverflowError:
        raise ValidationFailed("this time is out of range", "at") from None


CONCERT = "/api/v1/admin/concerts/{code}"


def _switch_operation(path: str, summary: str, handle: Any) -> Operation:
    return Operation(
        "POST",
        f"{CONCERT}/{path}",
        summary,
        handle,
        {200: SaleStateView},
        access=Access.ADMIN,
        errors=("CONCERT_NOT_FOUND",),
        command=True,
    )


OPERATIONS = [
    Operation(
        "POST",
        "/api/v1/admin/concerts",
        "Announce a concert",
        announce,
        {201: NewConcert},
        access=Access.ADMIN,
        body=NewConcert,
        errors=("CONCERT_ALREADY_EXISTS",),
        example={
            "code": "SPRING-27",
            "title": "Spring Night",
            "category": "CONCERT",
            "venue": "Olympic Hall, Seoul",
            "policy": {"max_active": 50},
        },
        command=True,
    ),
    Operation(
        "POST",
        f"{CONCERT}/performances",
        "Schedule a performance",
        schedule,
        {201: PerformanceView},
        access=Access.ADMIN,
        body=NewPerformance,
        errors=("CONCERT_NOT_FOUND", "PERFORMANCE_ALREADY_EXISTS", "PERFORMANCE_NOT_FOUND"),
        example={"date": "2027-03-01", "start_time": "19:00", "end_time": "21:30"},
        command=True,
    ),
    Operation(
        "PATCH",
        f"{CONCERT}/policy",
        "Change the sale policy",
        change_policy,
        {200: Policy},
        access=Access.ADMIN,
        body=PolicyChanges,
        body_schema=NewPolicy,
        errors=("CONCERT_NOT_FOUND",),
        example={"max_active": 200, "hold_ttl_s": 240},
        command=True,
    ),
    _switch_operation("sales/open", "Open the sale", open_sales),
    _switch_operation("sales/close", "Close the sale", close_sales),
    _switch_operation("queue/pause", "Stop letting in", pause_queue),
    _switch_operation("queue/resume", "Let in again", resume_queue),
    Operation(
        "GET",
        f"{CONCERT}/stats",
        "See how a sale stands",
        stats,
        {200: StatsView},
        access=Access.ADMIN,
        errors=("CONCERT_NOT_FOUND",),
    ),
    Operation(
        "GET",
        "/api/v1/admin/streams/{name:path}",
        "Read a stream of the log",
        read_stream,
        {200: Page[StreamEventView]},
        access=Access.ADMIN,
        query=PageQuery,
        errors=("STREAM_NOT_FOUND",),
    ),
    Operation(
        "POST",
        "/api/v1/admin/audits",
        "Have the log audited",
        start_audit,
        {202: AuditStarted},
        access=Access.ADMIN,
        body=NewAudit,
        example={},
    ),
    Operation(
        "GET",
        "/api/v1/admin/audits/{audit_id}",
        "See what an audit found",
        look_at_audit,
        {200: AuditView},
        access=Access.ADMIN,
        errors=("AUDIT_NOT_FOUND",),
    ),
    Operation(
        "GET",
        "/api/v1/admin/audit/payments",
        "Replay one wallet or one payment",
        payment_history,
        {200: History},
        access=Access.ADMIN,
        query=HistoryQuery,
        errors=("USER_NOT_FOUND", "PAYMENT_NOT_FOUND"),
    ),
]
