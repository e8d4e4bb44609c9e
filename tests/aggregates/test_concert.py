"""Concerts: plans of seats, the venue's clock, the sale's timetable (L1, L2, P4)."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import example
from hypothesis import given as for_all
from hypothesis import strategies as st

from aggregates import concert
from aggregates.concert import (
    CONCERT,
    DEFAULT_SEATS,
    Concert,
    ConcertAnnounced,
    ConcertEvent,
    Performance,
    PerformanceScheduled,
    PolicyChanged,
    SalesClosed,
    SalesOpened,
    SeatBlock,
)
from aggregates.errors import (
    ConcertAlreadyExists,
    ConcertNotFound,
    PerformanceAlreadyExists,
    PerformanceAmbiguous,
    PerformanceNotFound,
    PerformanceStarted,
    SalesNotOpen,
    SeatNotFound,
)
from aggregates.ids import StartTime
from aggregates.policy import Policy
from tests.aggregates.given import CODE, EVENING, TODAY, TONIGHT, Given, Recorded, at, given
from tests.aggregates.strategies import moments

MATINEE = StartTime("14:00")
STALLS = SeatBlock(first=1, last=20, type="STANDARD", price=100_000)
BOXES = SeatBlock(first=21, last=24, type="VIP", price=250_000)


def announced(time_zone: str = "Asia/Seoul", policy: Policy | None = None) -> ConcertAnnounced:
    return ConcertAnnounced(CODE, "IU", "", "CONCERT", "Olympic Hall", time_zone, policy or Policy())


def scheduled(start_time: StartTime, starts_at: datetime, day: date = TODAY) -> PerformanceScheduled:
    return PerformanceScheduled(day, start_time, None, starts_at, (STALLS, BOXES))


ON_SALE = (announced(), scheduled(EVENING, at("10:30")), SalesOpened())


def schedule(
    scheduling: Concert,
    start_time: str = EVENING,
    *,
    day: date = TODAY,
    seats: Sequence[SeatBlock] = DEFAULT_SEATS,
    end_time: str | None = None,
) -> list[ConcertEvent]:
    return concert.schedule(
        scheduling, day=day, start_time=StartTime(start_time), end_time=end_time, seats=seats
    )


def test_a_concert_is_announced_once() -> None:
    given(CONCERT).when(concert.announce, announced()).then(announced())
    given(CONCERT, announced()).when(concert.announce, announced()).then_refused(ConcertAlreadyExists)


def test_a_concert_that_was_never_announced_is_not_found() -> None:
    given(CONCERT).when(concert.announced).then_refused(ConcertNotFound)
    given(CONCERT, announced()).when(concert.announced).then_it_may()


@pytest.mark.parametrize(
    "name", ["", "Seoul", "Asia", "/etc/passwd", "../UTC", "a\0b", "\ud800", "x" * 5_000]
)
def test_a_venue_needs_a_time_zone_that_exists(name: str) -> None:
    given(CONCERT).when(concert.announce, announced(time_zone=name)).then_refused_for("time_zone")


def test_a_policy_is_changed_and_the_same_again_changes_nothing() -> None:
    wider = Policy(max_active=500)
    given(CONCERT, announced()).when(concert.change_policy, wider).then(PolicyChanged(wider))
    given(CONCERT, announced(), PolicyChanged(wider)).when(concert.change_policy, wider).then()


def test_a_performance_is_scheduled_at_the_venues_wall_clock() -> None:
    given(CONCERT, announced()).when(schedule).then(
        PerformanceScheduled(TODAY, EVENING, None, at("10:30"), DEFAULT_SEATS)
    )


def test_a_performance_keeps_the_time_at_which_it_ends() -> None:
    given(CONCERT, announced()).when(schedule, end_time="21:30").then(
        PerformanceScheduled(TODAY, EVENING, "21:30", at("10:30"), DEFAULT_SEATS)
    )


@pytest.mark.usefixtures("machine_elsewhere")
def test_a_performance_starts_when_it_does_wherever_the_machine_stands() -> None:
    answer = given(CONCERT, announced()).when(schedule).answer or []
    times = [event.starts_at.isoformat() for event in answer if isinstance(event, PerformanceScheduled)]
    assert times == ["2026-03-02T10:30:00+00:00"]


def test_a_performance_is_scheduled_once() -> None:
    shown = given(CONCERT, announced(), scheduled(EVENING, at("10:30")))
    shown.when(schedule).then_refused(PerformanceAlreadyExists)
    shown.when(schedule, MATINEE).then_it_may()


@pytest.mark.parametrize(
    ("time_zone", "day", "skipped"),
    [
        ("Europe/Berlin", date(2026, 3, 29), "02:30"),
        ("America/New_York", date(2026, 3, 8), "02:00"),
        ("Australia/Lord_Howe", date(2026, 10, 4), "02:15"),
        ("Pacific/Apia", date(2011, 12, 30), "12:00"),
    ],
)
def test_a_time_that_the_venues_clock_skips_is_refused(time_zone: str, day: date, skipped: str) -> None:
    given(CONCERT, announced(time_zone)).when(schedule, skipped, day=day).then_refused_for("start_time")


@pytest.mark.parametrize(
    ("time_zone", "day", "twice", "first"),
    [
        ("Europe/Berlin", date(2026, 10, 25), "02:30", "2026-10-25T00:30Z"),
        ("America/New_York", date(2026, 11, 1), "01:00", "2026-11-01T05:00Z"),
        ("Australia/Lord_Howe", date(2026, 4, 5), "01:45", "2026-04-04T14:45Z"),
    ],
)
def test_an_ambiguous_time_means_its_first_occurrence(
    time_zone: str, day: date, twice: str, first: str
) -> None:
    answer = given(CONCERT, announced(time_zone)).when(schedule, twice, day=day).answer
    assert answer is not None
    assert [event.starts_at for event in answer if isinstance(event, PerformanceScheduled)] == [
        datetime.fromisoformat(first)
    ]


zones = st.sampled_from(
    ["UTC", "Asia/Seoul", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Africa/Casablanca"]
)


HALF_PAST_TWO = time(2, 30)


@for_all(
    zones,
    st.dates(date(2020, 1, 1), date(2030, 1, 1)),
    st.builds(time, st.integers(0, 23), st.integers(0, 59)),
)
@example("Europe/Berlin", date(2026, 3, 29), HALF_PAST_TWO)
@example("Europe/Berlin", date(2026, 10, 25), HALF_PAST_TWO)
def test_a_start_is_the_earliest_instant_at_which_the_venues_clock_shows_it(
    time_zone: str, day: date, clock: time
) -> None:
    zone, wall = ZoneInfo(time_zone), datetime.combine(day, clock)
    instants = [wall.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1)]
    shown = [instant for instant in instants if instant.astimezone(zone).replace(tzinfo=None) == wall]
    outcome = given(CONCERT, announced(time_zone)).when(schedule, f"{clock:%H:%M}", day=day)
    if shown:
        start_time = StartTime(f"{clock:%H:%M}")
        outcome.then(PerformanceScheduled(day, start_time, None, min(shown), DEFAULT_SEATS))
    else:
        outcome.then_refused_for("start_time")


def test_a_date_whose_instant_is_out_of_range_is_refused() -> None:
    given(CONCERT, announced()).when(schedule, "00:00", day=date.min).then_refused_for("date")
    west = given(CONCERT, announced("America/New_York"))
    west.when(schedule, "23:00", day=date.max).then_refused_for("date")


@st.composite
def plans(draw: st.DrawFn) -> list[SeatBlock]:
    """A whole plan: blocks from seat 1 on, without gap or overlap, in any order."""
    sizes = draw(st.lists(st.integers(1, 40), min_size=1, max_size=8))
    blocks, first = [], 1
    for size in sizes:
        blocks.append(SeatBlock(first, first + size - 1, "STANDARD", draw(st.integers(0, 300_000))))
        first += size
    return draw(st.permutations(blocks))


@for_all(plans())
def test_a_plan_numbers_its_seats_from_1_on_in_whatever_order_its_blocks_come(plan: list[SeatBlock]) -> None:
    ordered = tuple(sorted(plan, key=lambda block: block.first))
    given(CONCERT, announced()).when(schedule, seats=plan).then(
        PerformanceScheduled(TODAY, EVENING, None, at("10:30"), ordered)
    )


@for_all(plan=plans(), which=st.integers(0, 7), first_by=st.integers(-3, 3), last_by=st.integers(-3, 3))
def test_a_plan_with_a_gap_or_an_overlap_is_refused(
    plan: list[SeatBlock], which: int, first_by: int, last_by: int
) -> None:
    chosen = plan[which % len(plan)]
    moved = msgspec.structs.replace(chosen, first=chosen.first + first_by, last=chosen.last + last_by)
    changed = [moved if block == chosen else block for block in plan]
    numbers = [number for block in changed for number in range(block.first, block.last + 1)]
    whole = sorted(numbers) == list(range(1, len(numbers) + 1)) and all(
        block.first <= block.last for block in changed
    )
    outcome = given(CONCERT, announced()).when(schedule, seats=changed)
    if whole:
        outcome.then_it_may()
    else:
        outcome.then_refused_for("seats")


def test_a_block_that_ends_before_it_begins_is_refused() -> None:
    nothing = SeatBlock(first=21, last=20, type="VIP", price=250_000)
    given(CONCERT, announced()).when(schedule, seats=[STALLS, nothing]).then_refused_for("seats")


def test_a_plan_without_seats_is_refused() -> None:
    given(CONCERT, announced()).when(schedule, seats=[]).then_refused_for("seats")


def test_a_plan_has_50_standard_seats_at_100_000_won_unless_said_otherwise() -> None:
    assert (SeatBlock(first=1, last=50, type="STANDARD", price=100_000),) == DEFAULT_SEATS


def test_a_date_with_one_performance_needs_no_start_time() -> None:
    given(CONCERT, *ON_SALE).when(concert.find_performance, TODAY, None).then_it_is(
        Performance(TODAY, EVENING, at("10:30"), (STALLS, BOXES))
    )


def test_a_date_with_two_performances_needs_a_start_time() -> None:
    two = given(CONCERT, *ON_SALE, scheduled(MATINEE, at("05:00")))
    two.when(concert.find_performance, TODAY, None).then_refused(
        PerformanceAmbiguous, start_times=[MATINEE, EVENING]
    )
    two.when(concert.find_performance, TODAY, MATINEE).then_it_is(
        Performance(TODAY, MATINEE, at("05:00"), (STALLS, BOXES))
    )


def test_a_performance_that_was_never_scheduled_is_not_found() -> None:
    on_sale = given(CONCERT, *ON_SALE)
    on_sale.when(concert.find_performance, TODAY, MATINEE).then_refused(PerformanceNotFound)
    on_sale.when(concert.find_performance, TODAY + timedelta(days=1), None).then_refused(PerformanceNotFound)


def test_a_performance_has_a_name_and_as_many_seats_as_its_plan() -> None:
    shown = given(CONCERT, *ON_SALE).state.performances[TONIGHT]
    assert (shown.name, shown.seat_count) == (TONIGHT, 24)


def amount(asked: Concert, *seat_numbers: int) -> int:
    return concert.amount_of(asked.performances[TONIGHT], seat_numbers)


def test_an_amount_is_the_sum_of_the_seats_prices() -> None:
    given(CONCERT, *ON_SALE).when(amount, 1, 20, 21).then_it_is(450_000)


def test_seats_that_the_plan_lacks_are_named_all_of_them() -> None:
    given(CONCERT, *ON_SALE).when(amount, -1, 0, 24, 25, 1).then_refused(
        SeatNotFound, seat_numbers=[-1, 0, 25]
    )


@for_all(plan=plans(), asked=st.lists(st.integers(-2, 330), min_size=1, max_size=10, unique=True))
def test_an_amount_is_known_for_seats_of_the_plan_and_for_no_others(
    plan: list[SeatBlock], asked: list[int]
) -> None:
    prices = {number: block.price for block in plan for number in range(block.first, block.last + 1)}
    blocks = tuple(sorted(plan, key=lambda block: block.first))
    shown = Given(Performance(TODAY, EVENING, at("10:30"), blocks))
    outcome = shown.when(concert.amount_of, asked)
    if missing := [number for number in asked if number not in prices]:
        outcome.then_refused(SeatNotFound, seat_numbers=missing)
    else:
        outcome.then_it_is(sum(prices[number] for number in asked))


def test_l1_sales_are_closed_until_they_are_opened() -> None:
    given(CONCERT, announced()).when(concert.require_sales_open).then_refused(SalesNotOpen)
    given(CONCERT, announced()).when(concert.open_sales).then(SalesOpened())
    given(CONCERT, announced(), SalesOpened()).when(concert.require_sales_open).then_it_may()


def test_l1_from_their_closing_on_sales_are_closed() -> None:
    given(CONCERT, *ON_SALE).when(concert.close_sales).then(SalesClosed())
    given(CONCERT, *ON_SALE, SalesClosed()).when(concert.require_sales_open).then_refused(SalesNotOpen)


def test_l1_opening_and_closing_again_change_nothing() -> None:
    given(CONCERT, *ON_SALE).when(concert.open_sales).then()
    given(CONCERT, announced()).when(concert.close_sales).then()
    given(CONCERT, *ON_SALE, SalesClosed()).when(concert.close_sales).then()


@for_all(moments)
@example(at("12:05"))
def test_l2_a_performance_is_sold_until_it_begins_and_not_from_then_on(now: datetime) -> None:
    outcome = given(CONCERT, announced(), scheduled(EVENING, at("12:05"))).when(
        concert.performance_to_sell, TODAY, EVENING, now
    )
    if now < at("12:05"):
        outcome.then_it_may()
    else:
        outcome.then_refused(PerformanceStarted)


@for_all(refund_until_s=st.none() | st.integers(0, 31_536_000))
def test_p4_refunds_end_so_long_before_the_start_or_at_it(refund_until_s: int | None) -> None:
    shown = given(CONCERT, *ON_SALE).state.performances[TONIGHT]
    until = concert.refundable_until(shown, Policy(refund_until_s=refund_until_s))
    assert until == at("10:30") - timedelta(seconds=refund_until_s or 0)


def timed(opens: datetime | None, closes: datetime | None) -> ConcertAnnounced:
    return announced(policy=Policy(sales_open_at=opens, sales_close_at=closes))


OPENS_AT_TEN = timed(at("10:00"), at("20:00"))


def test_l1_the_timetable_opens_and_closes_the_sale() -> None:
    announced_early = given(CONCERT, Recorded(OPENS_AT_TEN, at("08:00")))
    announced_early.when(concert.follow_timetable, at("09:59:59.999999")).then()
    announced_early.when(concert.follow_timetable, at("10:00")).then(SalesOpened())
    opened = given(CONCERT, Recorded(OPENS_AT_TEN, at("08:00")), Recorded(SalesOpened(), at("10:00")))
    opened.when(concert.follow_timetable, at("19:59:59.999999")).then()
    opened.when(concert.follow_timetable, at("20:00")).then(SalesClosed())


@pytest.mark.parametrize(("closed_at", "follows"), [("09:59", [SalesOpened()]), ("10:00", []), ("10:01", [])])
def test_l1_whoever_closed_the_sale_at_its_time_or_after_it_overrules_the_timetable(
    closed_at: str, follows: list[SalesOpened]
) -> None:
    closed = given(
        CONCERT,
        Recorded(OPENS_AT_TEN, at("08:00")),
        Recorded(SalesOpened(), at("09:00")),
        Recorded(SalesClosed(), at(closed_at)),
    )
    closed.when(concert.follow_timetable, at("11:00")).then(*follows)


def test_l1_a_sale_opened_by_hand_after_its_closing_time_stays_open() -> None:
    reopened = given(CONCERT, OPENS_AT_TEN, Recorded(SalesOpened(), at("20:00")))
    reopened.when(concert.follow_timetable, at("21:00")).then()


def test_l1_where_a_timer_was_away_the_later_time_counts() -> None:
    given(CONCERT, OPENS_AT_TEN).when(concert.follow_timetable, at("21:00")).then()
    pause = timed(opens=at("20:00"), closes=at("10:00"))
    given(CONCERT, pause, Recorded(SalesOpened(), at("09:00"))).when(
        concert.follow_timetable, at("21:00")
    ).then()
    given(CONCERT, pause, Recorded(SalesOpened(), at("09:00"))).when(
        concert.follow_timetable, at("19:00")
    ).then(SalesClosed())


def test_l1_a_sale_that_opens_and_closes_at_one_instant_is_closed() -> None:
    both = timed(at("10:00"), at("10:00"))
    given(CONCERT, both).when(concert.follow_timetable, at("10:00")).then()
    given(CONCERT, both, Recorded(SalesOpened(), at("09:00"))).when(
        concert.follow_timetable, at("10:00")
    ).then(SalesClosed())


hours = st.integers(0, 12).map(lambda hour: at("08:00") + timedelta(hours=hour))


@for_all(
    opens=st.none() | hours,
    closes=st.none() | hours,
    by_hand=st.dictionaries(hours, st.booleans(), max_size=4),
)
def test_l1_the_sale_is_as_whoever_changed_it_last_left_it_by_hand_or_by_time(
    opens: datetime | None, closes: datetime | None, by_hand: dict[datetime, bool]
) -> None:
    policy = Policy(sales_open_at=opens, sales_close_at=closes)
    selling = given(CONCERT, Recorded(announced(policy=policy), at("07:00"))).state
    expected_open = False
    for hour in range(14):
        now = at("08:00") + timedelta(hours=hour)
        pressed = by_hand.get(now)
        if pressed is not None:
            selling = after(selling, (concert.open_sales if pressed else concert.close_sales)(selling), now)
        selling = after(selling, concert.follow_timetable(selling, now), now)
        if pressed is not None and pressed is not expected_open:
            expected_open = pressed
        elif now in (opens, closes):
            expected_open = now != closes
        assert selling.sales_open == expected_open
        assert concert.follow_timetable(selling, now) == []


def after(selling: Concert, events: Sequence[ConcertEvent], when: datetime) -> Concert:
    for event in events:
        selling = concert.evolve(selling, event, when)
    return selling
