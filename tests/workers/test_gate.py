"""The gate lets in by number, as far as there is room, neither sticking nor knocking in vain (Q3, Q4)."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID, uuid5

import pytest

from aggregates.event import RecordedEvent
from aggregates.ids import UserId
from aggregates.queue import QueueAdvanced, SeatsAdded, SeatsSold, SlotsFreed
from aggregates.token import TokenActivated, TokenIssued
from commands.command import Command
from commands.run_sale import CloseSales, OpenSales, PauseQueue, ResumeQueue
from tests.aggregates.given import ANN, BEN, CODE
from tests.commands.steps import (
    CAT,
    PRICE,
    change_policy,
    inside,
    join,
    leave,
    pay,
    registered,
    reserve,
    waiting,
)
from tests.live_sale import SHOW_DAY, LiveSale, always, on_sale
from workers.gate import LET_IN_MAX, Gate

SECOND = timedelta(seconds=1)


@pytest.fixture
def gate(sale: LiveSale) -> Gate:
    return Gate(sale.start_bus(sale.tally), sale.read_models, always)


def test_q3_people_are_let_in_by_number_as_soon_as_they_wait(sale: LiveSale) -> None:
    sale.start_projector()
    sale.start_timer()
    sale.done(on_sale(), waiting(ANN), waiting(BEN), waiting(CAT))
    sale.until(lambda: len(sale.events(TokenActivated)) == 3)
    assert admitted(sale) == [1, 2, 3]


def test_a_slot_that_becomes_free_goes_to_the_next_in_line(sale: LiveSale) -> None:
    sale.start_projector()
    sale.start_timer()
    sale.done(on_sale(max_active=1), waiting(ANN), waiting(BEN))
    sale.until(lambda: sale.events(TokenActivated))
    sale.done(leave(ANN))
    sale.until(lambda: admitted(sale) == [1, 2])


def test_q4_all_three_limits_hold_at_once_with_two_timers(sale: LiveSale) -> None:
    crowd = people(24)
    sale.done(on_sale(seats=9, max_active=4, admit_per_interval=6, admit_interval_s=1))
    sale.done(registered(user, balance=PRICE) for user in crowd)
    sale.ask(*(join(user) for user in crowd))
    sale.start_projector()
    sale.start_timer()
    sale.start_timer()
    buyers = Buyers(sale, crowd)
    sale.until(lambda: buyers.act() and sum(sold.count for sold in sale.events(SeatsSold)) == 9)
    assert admitted(sale) == list(range(1, len(admitted(sale)) + 1))
    assert limits_held(sale.log(), max_active=4, per_interval=6, interval=SECOND)


def test_q3_numbers_that_have_ended_are_passed_where_there_is_no_room(sale: LiveSale, gate: Gate) -> None:
    sale.done(on_sale(max_active=1), inside(ANN), waiting(BEN), waiting(CAT), leave(BEN))
    sale.project()
    sale.round(gate)
    assert sale.events(QueueAdvanced)[-1] == QueueAdvanced(2, 0)
    assert admitted(sale) == [1]


def test_where_there_is_no_room_nobody_is_suggested(sale: LiveSale, gate: Gate) -> None:
    sale.done(on_sale(max_active=1), inside(ANN), waiting(BEN))
    rounds(sale, gate)
    assert not sale.tally.outcomes


@pytest.mark.parametrize(
    ("closing", "opening"), [(CloseSales(CODE), OpenSales(CODE)), (PauseQueue(CODE), ResumeQueue(CODE))]
)
def test_l1_while_the_gate_is_shut_nobody_is_suggested(
    sale: LiveSale, gate: Gate, closing: Command, opening: Command
) -> None:
    sale.done(on_sale(), waiting(ANN), closing)
    rounds(sale, gate)
    assert not sale.tally.outcomes
    sale.done(opening)
    rounds(sale, gate)
    assert admitted(sale) == [1]


def test_a_new_policy_takes_effect(sale: LiveSale, gate: Gate) -> None:
    sale.done(on_sale(max_active=1), inside(ANN), waiting(BEN))
    rounds(sale, gate)
    sale.done(change_policy(max_active=2))
    rounds(sale, gate)
    assert admitted(sale) == [1, 2]


def test_the_same_suggestion_waits_for_the_read_model(sale: LiveSale, gate: Gate) -> None:
    sale.done(on_sale(), waiting(ANN))
    sale.project()
    for _ in range(5):
        sale.round(gate)
    assert sale.tally.outcomes == {"LetIn OK": 1}
    sale.done(waiting(BEN))
    rounds(sale, gate)
    assert admitted(sale) == [1, 2]
    assert sale.tally.outcomes == {"LetIn OK": 2}


def test_a_suggestion_that_let_nobody_in_waits_for_news(sale: LiveSale, gate: Gate) -> None:
    sale.done(on_sale(), waiting(ANN))
    sale.project()
    sale.done(CloseSales(CODE))
    for _ in range(5):
        sale.round(gate)
    assert sale.tally.outcomes == {"LetIn OK": 1}
    sale.done(OpenSales(CODE))
    rounds(sale, gate)
    assert admitted(sale) == [1]


def test_a_long_line_is_let_in_a_few_hundred_at_a_time(sale: LiveSale, gate: Gate) -> None:
    crowd = people(LET_IN_MAX + 1)
    sale.done(on_sale(max_active=None, admit_up_to_seats_left=False))
    sale.ask(*(registered(user)[0] for user in crowd))
    sale.ask(*(join(user) for user in crowd))
    sale.project()
    assert sale.round(gate), "more may follow at once"
    assert len(admitted(sale)) == LET_IN_MAX
    for _ in range(5):
        sale.round(gate)
    assert admitted(sale) == list(range(1, LET_IN_MAX + 2)), "without waiting for the read model"
    assert sale.tally.outcomes == {"LetIn OK": 2}


def test_the_gate_does_not_stick_where_the_read_model_lacks_a_number(sale: LiveSale, gate: Gate) -> None:
    sale.done(on_sale(), waiting(ANN), waiting(BEN), waiting(CAT))
    sale.project()
    forget(sale, 1, 2)
    sale.round(gate)
    assert admitted(sale) == [1, 2, 3]


def test_a_lacking_number_that_has_ended_is_passed(sale: LiveSale, gate: Gate) -> None:
    sale.done(on_sale(), waiting(ANN), waiting(BEN), leave(ANN))
    sale.project()
    forget(sale, 1)
    sale.round(gate)
    assert admitted(sale) == [2]


def test_a_performance_that_is_sold_out_lets_nobody_in(sale: LiveSale, gate: Gate) -> None:
    sale.done(on_sale(seats=1), inside(ANN, balance=PRICE), reserve(ANN, 1, day=SHOW_DAY), pay(ANN))
    sale.done(waiting(BEN))
    rounds(sale, gate)
    assert admitted(sale) == [1]


def people(count: int) -> list[UserId]:
    return [UserId(uuid5(UUID(int=count), str(number))) for number in range(count)]


def rounds(sale: LiveSale, gate: Gate) -> None:
    """Show everything to the gate, a few times."""
    for _ in range(3):
        sale.project()
        sale.round(gate)


def forget(sale: LiveSale, *numbers: int) -> None:
    """Let the read model lack these numbers."""
    sale.connection.execute("DELETE FROM queue_v2.tokens WHERE queue_number = ANY(%s)", [list(numbers)])


def admitted(sale: LiveSale) -> list[int]:
    """The numbers that were let in, in the order of the log."""
    log = sale.log()
    numbers = {
        one.correlation_id: one.event.queue_number for one in log if isinstance(one.event, TokenIssued)
    }
    return [numbers[one.correlation_id] for one in log if isinstance(one.event, TokenActivated)]


class Buyers:
    """Everyone who is let in buys a seat or leaves, in turns."""

    def __init__(self, sale: LiveSale, crowd: list[UserId]) -> None:
        self._sale = sale
        self._crowd = crowd
        self._acted = 0

    def act(self) -> bool:
        """Let those act who have been let in since."""
        for number in admitted(self._sale)[self._acted :]:
            self._acted += 1
            user = self._crowd[number - 1]
            buys = [reserve(user, number // 2, day=SHOW_DAY), pay(user)]
            self._sale.done(buys if number % 2 == 0 and number <= 18 else leave(user))
        return True


def limits_held(
    log: Sequence[RecordedEvent], *, max_active: int, per_interval: int, interval: timedelta
) -> bool:
    """Count by hand, event by event."""
    active, unsold = 0, 0
    admissions: list[datetime] = []
    for recorded in log:
        match recorded.event:
            case SeatsAdded(count=count):
                unsold += count
            case SeatsSold(count=count):
                unsold -= count
            case SlotsFreed(count=count):
                active -= count
            case QueueAdvanced(activated=activated) if activated:
                active += activated
                admissions += [recorded.recorded_at] * activated
                lately = [at for at in admissions if at >= recorded.recorded_at - interval]
                assert active <= max_active
                assert active <= unsold
                assert len(lately) <= per_interval
    return True
