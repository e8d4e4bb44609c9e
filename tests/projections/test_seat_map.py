"""Performances, their seats, and how many of them are held and sold."""

from datetime import date

from aggregates.concert import SeatBlock
from aggregates.ids import PerformanceName, StartTime
from commands.schedule_performance import SchedulePerformance
from projections import seat_map
from projections.seat_map import PerformanceFound, SeatCounts, SeatFound, SeatStatus, SeatTaken
from tests.aggregates.given import ANN, BEN, CODE, at
from tests.commands.steps import (
    PRICE,
    SHOW,
    SHOW_DAY,
    SHOW_STARTS_AT,
    SHOW_TIME,
    announce,
    expire,
    inside,
    on_sale,
    pay,
    refund,
    release,
    reserve,
    schedule,
)
from tests.projections.read_models import ReadModels

PLAN = (SeatBlock(1, 2, "VIP", 150_000), SeatBlock(3, 5, "STANDARD", 90_000))


def counts(read_models: ReadModels) -> SeatCounts:
    return read_models.read(seat_map.counts, CODE)


def taken(read_models: ReadModels) -> list[tuple[int, SeatStatus]]:
    found = read_models.read(seat_map.find, CODE, SHOW)
    assert found is not None
    return [(seat.seat_number, seat.status) for seat in found.seats() if seat.status != SeatStatus.AVAILABLE]


def test_a_performance_shows_its_plan_and_its_prices(read_models: ReadModels) -> None:
    read_models.given(announce(), SchedulePerformance(CODE, SHOW_DAY, SHOW_TIME, "22:00", PLAN, None))

    (found,) = read_models.read(seat_map.performances, CODE)

    assert found == PerformanceFound(
        code=CODE,
        date=SHOW_DAY,
        start_time=SHOW_TIME,
        end_time="22:00",
        starts_at=SHOW_STARTS_AT,
        plan=PLAN,
        seats_total=5,
        seats_held=0,
        seats_sold=0,
        changed_position=3,
    )
    assert (found.min_price, found.max_price, found.seats_available) == (90_000, 150_000, 5)


def test_seats_that_no_event_names_are_available_as_planned(read_models: ReadModels) -> None:
    read_models.given(announce(), SchedulePerformance(CODE, SHOW_DAY, SHOW_TIME, None, PLAN, None))

    found = read_models.read(seat_map.find, CODE, SHOW)

    assert found is not None
    assert found.taken == []
    assert [(seat.seat_number, seat.type, seat.price) for seat in found.seats()] == [
        (1, "VIP", 150_000), (2, "VIP", 150_000),
        (3, "STANDARD", 90_000), (4, "STANDARD", 90_000), (5, "STANDARD", 90_000),
    ]  # fmt: skip
    assert {seat.status for seat in found.seats()} == {SeatStatus.AVAILABLE}


def test_a_held_seat_says_until_when(read_models: ReadModels) -> None:
    read_models.given(on_sale(seats=3), inside(ANN), "12:10", reserve(ANN, 2))

    found = read_models.read(seat_map.find, CODE, SHOW)

    assert found is not None
    assert list(found.seats())[1] == SeatFound(2, "STANDARD", PRICE, SeatStatus.HELD, at("12:15"))
    assert counts(read_models) == SeatCounts(available=2, held=1, sold=0)


def test_a_released_hold_makes_its_seats_available(read_models: ReadModels) -> None:
    read_models.given(on_sale(seats=3), inside(ANN), reserve(ANN, 2, 3), release(ANN))

    assert taken(read_models) == []
    assert counts(read_models) == SeatCounts(available=3, held=0, sold=0)


def test_an_expired_hold_makes_its_seats_available(read_models: ReadModels) -> None:
    read_models.given(on_sale(seats=3), inside(ANN), "12:01", reserve(ANN, 2), "12:07", expire(ANN))

    assert taken(read_models) == []
    assert counts(read_models) == SeatCounts(available=3, held=0, sold=0)


def test_a_lapsed_hold_that_others_took_is_theirs(read_models: ReadModels) -> None:
    read_models.given(on_sale(seats=3), inside(ANN), inside(BEN, 2), "12:01", reserve(ANN, 2), "12:07")
    read_models.given(reserve(BEN, 2))

    found = read_models.read(seat_map.find, CODE, SHOW)

    assert found is not None
    assert [(seat.seat_number, seat.held_until) for seat in found.taken] == [(2, at("12:12"))]
    assert counts(read_models) == SeatCounts(available=2, held=1, sold=0)


def test_paid_seats_are_sold_until_they_are_refunded(read_models: ReadModels) -> None:
    read_models.given(on_sale(seats=3), inside(ANN, balance=2 * PRICE), reserve(ANN, 1, 3), pay(ANN))
    assert taken(read_models) == [(1, SeatStatus.SOLD), (3, SeatStatus.SOLD)]
    assert counts(read_models) == SeatCounts(available=1, held=0, sold=2)

    read_models.given(refund(ANN))
    assert taken(read_models) == []
    assert counts(read_models) == SeatCounts(available=3, held=0, sold=0)


def test_performances_are_in_the_order_of_their_start(read_models: ReadModels) -> None:
    evening, matinee = schedule(seats=5), schedule(seats=7, start_time="14:00")
    read_models.given(announce(), evening, schedule(seats=9, day=date(2026, 3, 31)), matinee)

    found = read_models.read(seat_map.performances, CODE)

    assert [performance.seats_total for performance in found] == [9, 7, 5]
    assert counts(read_models).available == 21


def test_performances_of_one_day_keep_their_seats_apart(read_models: ReadModels) -> None:
    read_models.given(on_sale(seats=5), schedule(seats=5, start_time="14:00"), inside(ANN))
    read_models.given(reserve(ANN, 4, start_time=StartTime("14:00")))

    assert taken(read_models) == []
    assert [one.seats_held for one in read_models.read(seat_map.performances, CODE)] == [1, 0]


def test_only_performances_and_seats_that_changed_since_are_read_anew(read_models: ReadModels) -> None:
    read_models.given(on_sale(seats=5), schedule(seats=5, start_time="14:00"), inside(ANN), reserve(ANN, 4))
    position = read_models.position
    assert read_models.read(seat_map.performances_changed_since, position) == []
    assert read_models.read(seat_map.seats_changed_since, CODE, SHOW, position) == []

    read_models.given(release(ANN))

    (changed,) = read_models.read(seat_map.performances_changed_since, position)
    (seat,) = read_models.read(seat_map.seats_changed_since, CODE, SHOW, position)
    assert (changed.performance, changed.seats_held) == (SHOW, 0)
    assert seat == SeatTaken(4, SeatStatus.AVAILABLE, None, changed.changed_position)


def test_a_performance_that_nobody_scheduled_is_not_found(read_models: ReadModels) -> None:
    read_models.given(on_sale())

    assert read_models.read(seat_map.find, CODE, PerformanceName("2026-04-02T19:30")) is None
    assert read_models.read(seat_map.performances, "NONE") == []
    assert read_models.read(seat_map.counts, "NONE") == SeatCounts(0, 0, 0)
