"""Concert: what is sold, when it is shown, under which policy, and whether the sale is open."""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, ClassVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
from msgspec import Meta

from aggregates.errors import (
    ConcertAlreadyExists,
    ConcertNotFound,
    PerformanceAlreadyExists,
    PerformanceAmbiguous,
    PerformanceNotFound,
    PerformanceStarted,
    SalesNotOpen,
    SeatNotFound,
    ValidationFailed,
)
from aggregates.event import Event
from aggregates.ids import ConcertCode, PerformanceName, StartTime, performance_name
from aggregates.policy import Policy
from aggregates.stream import Aggregate, Stream, remembered
from aggregates.stream import stream as named_stream

SEATS_MAX = 100_000
"""More than any hall on earth holds; a plan is one event, whatever its size."""


class SeatBlock(msgspec.Struct, frozen=True):
    """The seats `first` to `last` of a plan, all of one type and one price in won."""

    first: Annotated[int, Meta(ge=1, le=SEATS_MAX)]
    last: Annotated[int, Meta(ge=1, le=SEATS_MAX)]
    type: Annotated[str, Meta(pattern=r"^[A-Z][A-Z0-9_]{0,31}(?!\n)$")]
    price: Annotated[int, Meta(ge=0, le=100_000_000)]


DEFAULT_SEATS = (SeatBlock(first=1, last=50, type="STANDARD", price=100_000),)


class ConcertAnnounced(Event, frozen=True):
    topic: ClassVar[str] = "concert.announced"
    code: ConcertCode
    title: str
    description: str
    category: str
    venue: str
    time_zone: str
    policy: Policy


class PerformanceScheduled(Event, frozen=True):
    topic: ClassVar[str] = "concert.performance_scheduled"
    date: date
    start_time: StartTime
    end_time: str | None
    starts_at: datetime
    seats: tuple[SeatBlock, ...]


class PolicyChanged(Event, frozen=True):
    topic: ClassVar[str] = "concert.policy_changed"
    policy: Policy


class SalesOpened(Event, frozen=True):
    topic: ClassVar[str] = "concert.sales_opened"


class SalesClosed(Event, frozen=True):
    topic: ClassVar[str] = "concert.sales_closed"


ConcertEvent = ConcertAnnounced | PerformanceScheduled | PolicyChanged | SalesOpened | SalesClosed


class Performance(msgspec.Struct, frozen=True):
    """One showing: when it starts, and its plan of seats."""

    date: date
    start_time: StartTime
    starts_at: datetime
    seats: tuple[SeatBlock, ...]

    @property
    def name(self) -> PerformanceName:
        """Its name within the concert, `YYYY-MM-DDTHH:MM`."""
        return performance_name(self.date, self.start_time)

    @property
    def seat_count(self) -> int:
        """How many seats the plan has."""
        return self.seats[-1].last


class Concert(msgspec.Struct, frozen=True):
    """A concert as its stream tells it; `code` is empty until it is announced."""

    code: ConcertCode = ConcertCode("")
    title: str = ""
    time_zone: str = ""
    policy: Policy = Policy()
    sales_open: bool = False
    sales_changed_at: datetime | None = None
    performances: Mapping[PerformanceName, Performance] = {}


def evolve(concert: Concert, event: ConcertEvent, at: datetime) -> Concert:
    """Return the concert after `event`, which was recorded `at`."""
    match event:
        case ConcertAnnounced(code=code, title=title, time_zone=time_zone, policy=policy):
            return msgspec.structs.replace(
                concert, code=code, title=title, time_zone=time_zone, policy=policy
            )
        case PerformanceScheduled():
            showing = Performance(event.date, event.start_time, event.starts_at, event.seats)
            performances = {**concert.performances, showing.name: showing}
            return msgspec.structs.replace(concert, performances=performances)
        case PolicyChanged(policy=policy):
            return msgspec.structs.replace(concert, policy=policy)
        case SalesOpened():
            return msgspec.structs.replace(concert, sales_open=True, sales_changed_at=at)
        case SalesClosed():
            return msgspec.structs.replace(concert, sales_open=False, sales_changed_at=at)


CONCERT = Aggregate("concert", Concert(), evolve, Concert)


@remembered
def stream(code: ConcertCode) -> Stream[Concert]:
    """The stream `concert/{code}`."""
    return named_stream(CONCERT, code, code)


def announced(concert: Concert) -> Concert:
    """Return the concert if it exists. Raises ConcertNotFound."""
    if not concert.code:
        raise ConcertNotFound
    return concert


def announce(concert: Concert, announcement: ConcertAnnounced) -> list[ConcertEvent]:
    """Announce a concert; its sales stay closed until they are opened.

    Raises ConcertAlreadyExists, and ValidationFailed where the time zone is no IANA name.
    """
    if concert.code:
        raise ConcertAlreadyExists
    _zone(announcement.time_zone)
    return [announcement]


def schedule(
    concert: Concert,
    *,
    day: date,
    start_time: StartTime,
    end_time: str | None,
    seats: Sequence[SeatBlock],
) -> list[ConcertEvent]:
    """Add a performance on the venue's wall-clock `day` at `start_time`.

    An ambiguous time means its first occurrence. Raises PerformanceAlreadyExists, and ValidationFailed for
    a time that the venue's clock skips or a plan that is not one run of seats from 1 on.
    """
    if performance_name(day, start_time) in concert.performances:
        raise PerformanceAlreadyExists
    starts_at = _starts_at(day, start_time, concert.time_zone)
    return [PerformanceScheduled(day, start_time, end_time, starts_at, _whole_plan(seats))]


def _starts_at(day: date, start_time: StartTime, time_zone: str) -> datetime:
    hour, minute = int(start_time[:2]), int(start_time[3:])
    local = datetime(day.year, day.month, day.day, hour, minute, tzinfo=_zone(time_zone))
    try:
        starts_at = local.astimezone(UTC)
        skipped = starts_at.astimezone(local.tzinfo).replace(tzinfo=None) != local.replace(tzinfo=None)
    except OverflowError as error:
        raise ValidationFailed("this date is out of range", "date") from error
    if skipped:
        raise ValidationFailed("the venue's clock skips this time on that date", "start_time")
    return starts_at


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValidationFailed("this is not an IANA time zone", "time_zone") from error


def _whole_plan(seats: Sequence[SeatBlock]) -> tuple[SeatBlock, ...]:
    blocks = tuple(sorted(seats, key=lambda block: block.first))
    expected_first = 1
    for block in blocks:
        if block.first != expected_first or block.last < block.first:
            raise ValidationFailed(
                "the blocks must number the seats from 1 on, without gap or overlap", "seats"
            )
        expected_first = block.last + 1
    if not blocks:
        raise ValidationFailed("a performance has at least one seat", "seats")
    return blocks


def change_policy(concert: Concert, policy: Policy) -> list[ConcertEvent]:
    """Set the policy; the same policy again records nothing."""
    return [] if policy == concert.policy else [PolicyChanged(policy)]


def open_sales(concert: Concert) -> list[ConcertEvent]:
    """Open the sale; once open, opening it again records nothing."""
    return [] if concert.sales_open else [SalesOpened()]


def close_sales(concert: Concert) -> list[ConcertEvent]:
    """Close the sale (rule L1); closing it again records nothing."""
    return [SalesClosed()] if concert.sales_open else []


def follow_timetable(concert: Concert, now: datetime) -> list[ConcertEvent]:
    """Open or close the sale as the policy's times say, unless someone did either at or after that time.

    Where both times have passed the later one counts; at the same instant closing wins.
    """
    policy = concert.policy
    due = [
        (time, decide)
        for time, decide in ((policy.sales_open_at, open_sales), (policy.sales_close_at, close_sales))
        if time is not None and time <= now
    ]
    if not due:
        return []
    latest, decide = max(reversed(due), key=lambda entry: entry[0])
    overruled = concert.sales_changed_at is not None and concert.sales_changed_at >= latest
    return [] if overruled else decide(concert)


def begun(concert: Concert, now: datetime) -> set[PerformanceName]:
    """L2: the performances that have begun."""
    return {name for name, performance in concert.performances.items() if performance.starts_at <= now}


def require_sales_open(concert: Concert) -> None:
    """L1: raise SalesNotOpen unless the sale is open."""
    if not concert.sales_open:
        raise SalesNotOpen


def performance_to_sell(
    concert: Concert, day: date, start_time: StartTime | None, now: datetime
) -> Performance:
    """Find the performance meant by `day` and, where there are several on it, `start_time`.

    Raises PerformanceNotFound, PerformanceAmbiguous, or PerformanceStarted from its start on (rule L2).
    """
    performance = find_performance(concert, day, start_time)
    if performance.starts_at <= now:
        raise PerformanceStarted
    return performance


def find_performance(concert: Concert, day: date, start_time: StartTime | None) -> Performance:
    """Find a performance, begun or not. Raises PerformanceNotFound or PerformanceAmbiguous."""
    if start_time is not None:
        found = concert.performances.get(performance_name(day, start_time))
        if found is None:
            raise PerformanceNotFound
        return found
    on_that_day = [showing for showing in concert.performances.values() if showing.date == day]
    match on_that_day:
        case []:
            raise PerformanceNotFound
        case [only]:
            return only
        case several:
            raise PerformanceAmbiguous(sorted(showing.start_time for showing in several))


def amount_of(performance: Performance, seat_numbers: Sequence[int]) -> int:
    """Add up the prices of these seats, in won. Raises SeatNotFound naming those the plan lacks."""
    prices = {number: _price(performance.seats, number) for number in seat_numbers}
    missing = [number for number, price in prices.items() if price is None]
    if missing:
        raise SeatNotFound(missing)
    return sum(price for price in prices.values() if price is not None)


def _price(blocks: Sequence[SeatBlock], number: int) -> int | None:
    return next((block.price for block in blocks if block.first <= number <= block.last), None)


def refundable_until(performance: Performance, policy: Policy) -> datetime:
    """P4: the instant from which on payments for this performance are not refunded."""
    return performance.starts_at - timedelta(seconds=policy.refund_until_s or 0)
