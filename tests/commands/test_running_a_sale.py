"""What operators and their timetable do (L1, L2), and what the queue's stream then says."""

from datetime import timedelta
from typing import Any

import msgspec
import pytest

from aggregates import concert, queue
from aggregates.concert import (
    DEFAULT_SEATS,
    ConcertAnnounced,
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
    PerformanceNotFound,
    ValidationFailed,
)
from aggregates.ids import StartTime, performance_name
from aggregates.policy import Policy
from aggregates.queue import QueueOpened, QueuePaused, QueueResumed, SeatsAdded, SeatsWithdrawn
from commands.command import Command
from commands.run_sale import CloseSales, FollowTimetable, OpenSales, PauseQueue, ResumeQueue
from commands.schedule_performance import SchedulePerformance, SeatsFrom
from tests.aggregates.given import CODE, at
from tests.commands.sale import Pair, given, on
from tests.commands.steps import (
    PRICE,
    SHOW,
    SHOW_DAY,
    SHOW_STARTS_AT,
    SHOW_TIME,
    announce,
    change_policy,
    on_sale,
    schedule,
    withdraw,
)

ANNOUNCED = ConcertAnnounced(
    CODE, "An Evening", "With songs.", "CONCERT", "The Hall", "Asia/Seoul", Policy(max_active=3)
)


def on_concert(*events: concert.ConcertEvent) -> list[Pair]:
    return on(concert.stream(CODE), *events)


def test_announcing_a_concert_opens_its_queue() -> None:
    given().when(announce(max_active=3)).then(on_concert(ANNOUNCED), on(queue.stream(CODE), QueueOpened()))


def test_a_code_is_announced_once_also_within_one_batch() -> None:
    twice = given().when(announce(max_active=3), announce())
    twice.then_refused_with_events(ConcertAlreadyExists)
    twice.then_recorded(on_concert(ANNOUNCED), on(queue.stream(CODE), QueueOpened()))


def test_scheduling_a_performance_puts_its_seats_on_sale() -> None:
    plan = (SeatBlock(1, 20, "STANDARD", PRICE),)
    given(announce()).when(schedule(seats=20)).then(
        on_concert(PerformanceScheduled(SHOW_DAY, SHOW_TIME, None, SHOW_STARTS_AT, plan)),
        on(queue.stream(CODE), SeatsAdded(20, {SHOW: 20})),
    )


def test_performances_scheduled_together_are_added_in_one_event() -> None:
    given().when(announce(), schedule(seats=20), schedule(seats=5, start_time="21:30")).then_recorded(
        on_concert(
            ConcertAnnounced(**{**_fields(ANNOUNCED), "policy": Policy()}),
            PerformanceScheduled(SHOW_DAY, SHOW_TIME, None, SHOW_STARTS_AT, _plan(20)),
            PerformanceScheduled(
                SHOW_DAY, StartTime("21:30"), None, SHOW_STARTS_AT + timedelta(hours=2), _plan(5)
            ),
        ),
        on(
            queue.stream(CODE),
            QueueOpened(),
            SeatsAdded(25, {SHOW: 20, performance_name(SHOW_DAY, StartTime("21:30")): 5}),
        ),
    )


def test_a_plan_may_be_taken_over_and_else_is_fifty_seats() -> None:
    scheduled = given(announce(), schedule(seats=20))
    like_it = SchedulePerformance(
        CODE, SHOW_DAY, StartTime("21:30"), None, None, SeatsFrom(SHOW_DAY, SHOW_TIME)
    )
    assert scheduled.when(like_it).outcome.seats == _plan(20)
    plain = SchedulePerformance(CODE, SHOW_DAY, StartTime("23:30"), None, None, None)
    assert scheduled.when(plain).outcome.seats == DEFAULT_SEATS


def test_a_plan_that_is_written_out_comes_before_one_to_take_over() -> None:
    scheduled = given(announce(), schedule(seats=20))
    both = msgspec.structs.replace(
        schedule(seats=5, start_time="21:30"), seats_from=SeatsFrom(SHOW_DAY, SHOW_TIME)
    )
    assert scheduled.when(both).outcome.seats == _plan(5)


def test_a_plan_is_taken_over_from_the_one_performance_of_that_day_that_is_named() -> None:
    two = given(announce(), schedule(seats=20), schedule(seats=5, start_time="21:30"))
    like_the_late_one = SchedulePerformance(
        CODE, SHOW_DAY, StartTime("23:30"), None, None, SeatsFrom(SHOW_DAY, StartTime("21:30"))
    )
    assert two.when(like_the_late_one).outcome.seats == _plan(5)


def test_a_performance_is_scheduled_with_the_time_at_which_it_ends() -> None:
    until_ten = msgspec.structs.replace(schedule(seats=20), end_time="22:00")
    given(announce()).when(until_ten).then(
        on_concert(PerformanceScheduled(SHOW_DAY, SHOW_TIME, "22:00", SHOW_STARTS_AT, _plan(20))),
        on(queue.stream(CODE), SeatsAdded(20, {SHOW: 20})),
    )


def test_a_plan_is_taken_over_only_from_a_performance_that_there_is() -> None:
    like_nothing = SchedulePerformance(CODE, SHOW_DAY, SHOW_TIME, None, None, SeatsFrom(SHOW_DAY, SHOW_TIME))
    given(announce()).when(like_nothing).then_refused(PerformanceNotFound)


def test_a_performance_is_scheduled_once() -> None:
    given(announce(), schedule()).when(schedule()).then_refused(PerformanceAlreadyExists)


def test_a_policy_is_changed_field_by_field_and_the_whole_of_it_recorded() -> None:
    changed = given(announce(max_active=3)).when(change_policy(hold_ttl_s=60))
    changed.then(on_concert(PolicyChanged(Policy(max_active=3, hold_ttl_s=60))))
    assert changed.outcome == Policy(max_active=3, hold_ttl_s=60)


def test_the_same_policy_again_records_nothing() -> None:
    given(announce(max_active=3)).when(change_policy(max_active=3)).then()


@pytest.mark.parametrize("changes", [{"max_active": 0}, {"colour": "red"}, {"abandon_waiting_after_s": 599}])
def test_a_policy_that_cannot_be_is_refused(changes: dict[str, Any]) -> None:
    asked = given(announce()).when(change_policy(**changes))
    assert isinstance(asked.outcome, ValidationFailed)
    assert asked.events == []


@pytest.mark.parametrize(
    ("command", "event"),
    [(OpenSales(CODE), SalesOpened()), (CloseSales(CODE), SalesClosed())],
)
def test_l1_opening_and_closing_are_recorded_once(command: Command, event: concert.ConcertEvent) -> None:
    before = [announce(), OpenSales(CODE)] if event == SalesClosed() else [announce()]
    given(before).when(command, command).then(on_concert(event))


def test_pausing_and_resuming_are_recorded_once() -> None:
    sale = given(on_sale())
    sale.when(PauseQueue(CODE), PauseQueue(CODE)).then(on(queue.stream(CODE), QueuePaused()))
    sale.when(ResumeQueue(CODE), ResumeQueue(CODE)).then(on(queue.stream(CODE), QueueResumed()))


def test_each_of_them_ends_its_batch() -> None:
    commands = [
        OpenSales(CODE),
        PauseQueue(CODE),
        ResumeQueue(CODE),
        change_policy(max_active=4),
        CloseSales(CODE),
    ]
    given(announce(max_active=3)).when(*commands).then_appended(
        on_concert(SalesOpened()),
        on(queue.stream(CODE), QueuePaused()),
        on(queue.stream(CODE), QueueResumed()),
        on_concert(PolicyChanged(Policy(max_active=4))),
        on_concert(SalesClosed()),
    )


@pytest.mark.parametrize(
    "command",
    [
        schedule(),
        change_policy(max_active=1),
        OpenSales(CODE),
        CloseSales(CODE),
        FollowTimetable(CODE),
        PauseQueue(CODE),
        ResumeQueue(CODE),
        withdraw(),
    ],
)
def test_there_is_nothing_to_run_where_there_is_no_concert(command: Command) -> None:
    given().when(command).then_refused(ConcertNotFound)


def test_l1_the_timetable_opens_and_closes_the_sale() -> None:
    timed = given(announce(sales_open_at=at("13:00"), sales_close_at=at("14:00")))
    timed.and_then("12:59:59.999999").when(FollowTimetable(CODE)).then()
    timed.and_then("13:00").when(FollowTimetable(CODE), FollowTimetable(CODE)).then(on_concert(SalesOpened()))
    timed.and_then("13:59:59.999999").when(FollowTimetable(CODE)).then()
    timed.and_then("14:00").when(FollowTimetable(CODE)).then(on_concert(SalesClosed()))
    timed.and_then("15:00").when(FollowTimetable(CODE)).then()


def test_l1_the_timetable_does_not_overrule_what_somebody_did_at_its_time_or_later() -> None:
    timed = given(announce(sales_open_at=at("13:00")), "13:00", OpenSales(CODE), "13:01", CloseSales(CODE))
    timed.when(FollowTimetable(CODE)).then()


def test_l1_the_timetable_overrules_what_somebody_did_before_its_time() -> None:
    timed = given(announce(sales_close_at=at("13:00")), "12:59", OpenSales(CODE), "13:00")
    timed.when(FollowTimetable(CODE)).then(on_concert(SalesClosed()))


def test_l1_whoever_opens_at_the_time_of_closing_has_the_last_word_before_the_timer_comes_by() -> None:
    timed = given(announce(sales_close_at=at("13:00")), "12:59", OpenSales(CODE), "13:00")
    timed.when(OpenSales(CODE)).then(on_concert(SalesClosed(), SalesOpened()))
    timed.and_then(OpenSales(CODE), "13:01").when(FollowTimetable(CODE)).then()


def test_l1_of_two_times_that_have_passed_the_later_one_counts() -> None:
    timed = given(announce(sales_open_at=at("13:00"), sales_close_at=at("12:30")), "15:00")
    timed.when(FollowTimetable(CODE)).then(on_concert(SalesOpened()))


def test_l2_the_seats_of_a_performance_are_withdrawn_when_it_begins_and_once() -> None:
    sale = given(on_sale(seats=20), schedule(seats=5, start_time="21:30"))
    sale.and_then(SHOW_STARTS_AT - timedelta(microseconds=1)).when(withdraw()).then()
    sale.and_then(SHOW_STARTS_AT).when(withdraw(), withdraw()).then(
        on(queue.stream(CODE), SeatsWithdrawn(SHOW_DAY, SHOW_TIME, 20))
    )
    assert sale.sale.state(queue.stream(CODE)).seats_left == 5


def test_l2_a_performance_that_there_is_not_is_not_withdrawn() -> None:
    given(announce()).when(withdraw()).then_refused(PerformanceNotFound)


def _plan(seats: int) -> tuple[SeatBlock, ...]:
    return (SeatBlock(1, seats, "STANDARD", PRICE),)


def _fields(event: ConcertAnnounced) -> dict[str, Any]:
    return {name: getattr(event, name) for name in event.__struct_fields__}
