"""Sales open and close by time, and performances begin (rules L1, L2)."""

from datetime import UTC, date, datetime, timedelta

import pytest

from aggregates.concert import SalesClosed, SalesOpened
from aggregates.queue import SeatsWithdrawn
from commands.run_sale import CloseSales, FollowTimetable, OpenSales
from tests.aggregates.given import CODE
from tests.commands.steps import announce, change_policy, schedule
from tests.live_sale import SHOW_DAY, LiveSale, always, on_sale
from workers.suggester import Suggester
from workers.timetable import Timetable

YESTERDAY_S_SHOW = date(2026, 1, 31)


@pytest.fixture
def timetable(sale: LiveSale) -> Timetable:
    return Timetable(sale.read_models, Suggester(sale.start_bus(sale.tally), always))


def test_a_sale_opens_and_closes_at_its_times(sale: LiveSale) -> None:
    now = clock(sale)
    times = {"sales_open_at": after(now, 1), "sales_close_at": after(now, 2)}
    sale.done(announce(**times), schedule(day=SHOW_DAY))
    sale.start_projector()
    sale.start_timer()
    sale.until(lambda: sale.events(SalesClosed))
    opened, closed = (
        one.recorded_at for one in sale.log() if isinstance(one.event, SalesOpened | SalesClosed)
    )
    assert 0 <= (opened - times["sales_open_at"]).total_seconds() < 1
    assert 0 <= (closed - times["sales_close_at"]).total_seconds() < 1


def test_two_timers_open_a_sale_once(sale: LiveSale) -> None:
    sale.done(announce(sales_open_at=after(clock(sale), 0)), schedule(day=SHOW_DAY))
    sale.start_projector()
    sale.start_timer()
    sale.start_timer()
    sale.until(lambda: sale.tally.outcomes["FollowTimetable OK"])
    sale.project()
    assert sale.events(SalesOpened) == [SalesOpened()]


def test_somebody_who_opened_or_closed_a_sale_since_its_time_is_not_overruled(
    sale: LiveSale, timetable: Timetable
) -> None:
    past = after(clock(sale), -60)
    sale.done(announce(sales_open_at=past), schedule(day=SHOW_DAY), OpenSales(CODE), CloseSales(CODE))
    sale.project()
    sale.round(timetable)
    assert not sale.tally.outcomes


def test_a_time_that_is_set_during_the_sale_takes_effect(sale: LiveSale, timetable: Timetable) -> None:
    sale.done(on_sale())
    sale.done(change_policy(sales_close_at=after(clock(sale), 0).isoformat()))
    sale.project()
    sale.round(timetable)
    assert sale.events(SalesClosed) == [SalesClosed()]


def test_l2_the_seats_of_a_performance_that_has_begun_are_withdrawn(
    sale: LiveSale, timetable: Timetable
) -> None:
    sale.done(on_sale(), schedule(day=YESTERDAY_S_SHOW, seats=7))
    sale.project()
    sale.round(timetable)
    sale.project()
    sale.round(timetable)
    assert sale.events(SeatsWithdrawn) == [SeatsWithdrawn(YESTERDAY_S_SHOW, schedule().start_time, 7)]
    assert sale.tally.outcomes == {"WithdrawSeats OK": 1}


def test_performances_that_begin_together_are_all_withdrawn(sale: LiveSale, timetable: Timetable) -> None:
    starts = ["19:30", "20:30", "21:30"]
    sale.done(announce(), *(schedule(day=YESTERDAY_S_SHOW, seats=7, start_time=start) for start in starts))
    sale.project()
    sale.round(timetable)
    assert sorted(event.start_time for event in sale.events(SeatsWithdrawn)) == starts


def test_a_stale_suggestion_costs_one_command_and_no_event(sale: LiveSale, timetable: Timetable) -> None:
    sale.done(announce(sales_open_at=after(clock(sale), -1)), schedule(day=SHOW_DAY))
    sale.project()
    sale.done(FollowTimetable(CODE))
    for _ in range(5):
        sale.round(timetable)
    assert sale.tally.outcomes == {"FollowTimetable OK": 1}
    assert sale.events(SalesOpened) == [SalesOpened()]


def clock(sale: LiveSale) -> datetime:
    """The database's."""
    row = sale.connection.execute("SELECT clock_timestamp()").fetchone()
    assert row is not None
    now: datetime = row[0]
    return now.astimezone(UTC)


def after(moment: datetime, seconds: float) -> datetime:
    return moment + timedelta(seconds=seconds)
