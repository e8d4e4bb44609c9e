"""Deadlines: what runs out when."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import chain, combinations

import pytest

from aggregates import concert
from aggregates.ids import StartTime
from commands.run_sale import CloseSales, OpenSales
from projections import deadlines
from projections.deadlines import DueHold, DuePerformance, DueSale, DueToken
from tests.aggregates.given import ANN, BEN, CODE, at, reservation_of, token_of
from tests.commands.steps import (
    CAT,
    PRICE,
    SHOW_DAY,
    SHOW_STARTS_AT,
    SHOW_TIME,
    announce,
    expire,
    inside,
    leave,
    on_sale,
    pay,
    release,
    reserve,
    schedule,
    withdraw,
)
from tests.projections.read_models import ReadModels

LATE = datetime.fromisoformat("2030-01-01T00:00:00+00:00")
JUST_BEFORE = timedelta(microseconds=1)


def due_holds(read_models: ReadModels, now: datetime | None, limit: int = 10) -> Sequence[DueHold]:
    return read_models.read(deadlines.due_holds, limit=limit, now=now)


def due_tokens(read_models: ReadModels, now: datetime | None, limit: int = 10) -> Sequence[DueToken]:
    return read_models.read(deadlines.due_tokens, limit=limit, now=now)


def test_a_hold_is_due_at_its_deadline(read_models: ReadModels) -> None:
    read_models.given(on_sale(), inside(ANN), "12:01", reserve(ANN, 1, 2))

    assert due_holds(read_models, at("12:06") - JUST_BEFORE) == []
    assert due_holds(read_models, at("12:06")) == [
        DueHold(reservation_of(ANN), CODE, token_of(ANN), ANN, at("12:06"))
    ]


@pytest.mark.parametrize(
    "ending", [pay(ANN), release(ANN), leave(ANN), expire(ANN)], ids=lambda step: type(step).__name__
)
@pytest.mark.parametrize("same_batch", [False, True])
def test_a_hold_that_has_ended_is_no_longer_due(
    read_models: ReadModels, ending: object, *, same_batch: bool
) -> None:
    steps = [on_sale(), inside(ANN, balance=PRICE), "12:01", reserve(ANN, 1)]
    ended = ["12:06" if ending == expire(ANN) else "12:05", ending]
    for batch in [[*steps, *ended]] if same_batch else [steps, ended]:
        read_models.given(*batch)

    assert due_holds(read_models, LATE) == []


def test_the_longest_overdue_come_first(read_models: ReadModels) -> None:
    read_models.given(on_sale(), inside(ANN), inside(BEN, 2), inside(CAT, 3))
    read_models.given("12:03", reserve(CAT, 3), "12:02", reserve(ANN, 1), "12:04", reserve(BEN, 2))

    assert [due.user_id for due in due_holds(read_models, LATE)] == [CAT, ANN, BEN]
    assert [due.user_id for due in due_holds(read_models, LATE, limit=2)] == [CAT, ANN]


def test_by_default_what_is_due_is_judged_by_the_clock_of_the_database(read_models: ReadModels) -> None:
    read_models.given(on_sale(), inside(ANN), reserve(ANN, 1), LATE.replace(year=9000), inside(BEN, 2))

    assert [due.user_id for due in due_tokens(read_models, None)] == [ANN]


def test_an_active_token_is_due_at_its_deadline(read_models: ReadModels) -> None:
    read_models.given(on_sale(active_ttl_s=60), inside(ANN))
    (due,) = due_tokens(read_models, LATE)

    assert due == DueToken(token_of(ANN), CODE, ANN, due.due_at)
    assert due_tokens(read_models, due.due_at - JUST_BEFORE) == []
    assert due_tokens(read_models, due.due_at) == [due]


@pytest.mark.parametrize("same_batch", [False, True])
def test_q5_a_token_is_due_with_its_open_reservation_if_that_is_later(
    read_models: ReadModels, *, same_batch: bool
) -> None:
    steps = [on_sale(active_ttl_s=60, hold_ttl_s=300), inside(ANN)], ["12:00:30", reserve(ANN, 1)]
    for batch in [[*steps[0], *steps[1]]] if same_batch else steps:
        read_models.given(*batch)
    assert [due.due_at for due in due_tokens(read_models, LATE)] == [at("12:05:30")]

    read_models.given(release(ANN))
    (due,) = due_tokens(read_models, LATE)
    assert due.due_at < at("12:02")


@pytest.mark.parametrize("same_batch", [False, True])
def test_a_token_that_has_ended_is_no_longer_due(read_models: ReadModels, *, same_batch: bool) -> None:
    steps = [on_sale(active_ttl_s=60), inside(ANN), reserve(ANN, 1)], [leave(ANN)]
    for batch in [[*steps[0], *steps[1]]] if same_batch else steps:
        read_models.given(*batch)

    assert due_tokens(read_models, LATE) == []


def test_l2_a_performance_is_due_at_its_start_until_its_seats_are_withdrawn(read_models: ReadModels) -> None:
    def due(now: datetime) -> object:
        return read_models.read(deadlines.due_performances, limit=10, now=now)

    read_models.given(on_sale(), schedule(start_time="22:00"))
    assert due(SHOW_STARTS_AT - JUST_BEFORE) == []
    assert due(SHOW_STARTS_AT) == [DuePerformance(CODE, SHOW_DAY, SHOW_TIME, SHOW_STARTS_AT)]

    read_models.given(SHOW_STARTS_AT, withdraw())
    assert due(SHOW_STARTS_AT) == []
    later = DuePerformance(CODE, SHOW_DAY, StartTime("22:00"), SHOW_STARTS_AT + timedelta(hours=2.5))
    assert due(LATE) == [later]


HANDS = [("12:45", OpenSales), ("13:00", CloseSales), ("13:30", CloseSales), ("14:30", OpenSales)]


@pytest.mark.parametrize("open_at", [None, "13:00"])
@pytest.mark.parametrize("close_at", [None, "12:30", "13:00", "14:00"])
def test_a_sale_is_due_exactly_when_its_timetable_would_open_or_close_it(
    dsn: str, open_at: str | None, close_at: str | None
) -> None:
    opens_at, closes_at = (None if clock is None else at(clock) for clock in (open_at, close_at))
    for by_hand in chain.from_iterable(combinations(HANDS, length) for length in range(len(HANDS))):
        with ReadModels(dsn) as read_models:
            read_models.given(
                announce(sales_open_at=opens_at, sales_close_at=closes_at),
                *[(clock, change(CODE)) for clock, change in by_hand],
            )
            state = read_models.sale.state(concert.stream(CODE))
            for now in map(at, ("12:29", "12:30", "12:59", "13:00", "13:29", "14:00", "15:00")):
                due = read_models.read(deadlines.due_sales, limit=10, now=now)
                past = [time for time in (opens_at, closes_at) if time is not None and time <= now]
                follows = concert.follow_timetable(state, now)
                assert list(due) == ([DueSale(CODE, max(past))] if follows else [])
