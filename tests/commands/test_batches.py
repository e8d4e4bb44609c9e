"""What a batch makes of its commands: merged events for a queue, and neighbours kept apart."""

import gc
from itertools import groupby
from typing import Any
from uuid import uuid4

import msgspec
import pytest

from aggregates import concert, queue, token, wallet
from aggregates.concert import SalesClosed
from aggregates.errors import SeatAlreadyHeld, UserNotFound
from aggregates.ids import ConcertCode, performance_name
from aggregates.queue import (
    NumbersIssued,
    QueueAdvanced,
    QueuePaused,
    SeatsAdded,
    SeatsReturned,
    SeatsSold,
    SeatsWithdrawn,
    SlotsFreed,
)
from aggregates.stream import Stream
from aggregates.wallet import WalletCharged
from commands.batch import BATCH_EVENTS_MAX, MoreNeeded, Submission, decide
from commands.charge_wallet import ChargeWallet
from commands.command import Command, Handler
from commands.open_wallet import OpenWallet
from commands.ports import Wanted, nothing_known
from commands.run_sale import CloseSales, OpenSales, PauseQueue
from commands.table import HANDLERS
from commands.unit_of_work import SNAPSHOT_EVERY, ServiceRules, UnitOfWork
from tests.aggregates.given import ANN, BEN, CODE
from tests.commands.sale import Sale, Then, given, keyed, on
from tests.commands.steps import (
    CAT,
    PRICE,
    SHOW,
    SHOW_DAY,
    SHOW_STARTS_AT,
    SHOW_TIME,
    announce,
    inside,
    join,
    leave,
    let_in,
    on_sale,
    pay,
    refund,
    registered,
    reserve,
    schedule,
    waiting,
    withdraw,
)


def queue_events(asked: Then) -> list[Any]:
    return [event.event for event in asked.events if event.stream.startswith("queue/")]


def test_a_batch_adds_one_event_of_each_kind_at_most_in_the_order_of_the_table() -> None:
    sale = given(
        on_sale(seats=9, refund_until_s=None, active_ttl_s=9_000_000),
        schedule(seats=5, start_time="21:30"),
        inside(ANN, balance=2 * PRICE),
        inside(BEN, 2, balance=PRICE),
        reserve(ANN, 1, 2),
        pay(ANN),
        registered(CAT),
        SHOW_STARTS_AT,
    )
    late_show = schedule(seats=5, start_time="23:30")
    asked = sale.when(late_show, leave(BEN), join(CAT), let_in((3, CAT)), join(ANN, visit=2), withdraw())
    added = {performance_name(SHOW_DAY, late_show.start_time): 5}
    assert queue_events(asked) == [
        NumbersIssued(3, 4),
        QueueAdvanced(3, 1),
        SlotsFreed(1),
        SeatsAdded(5, added),
        SeatsWithdrawn(SHOW_DAY, SHOW_TIME, 7),
    ]


def test_sales_and_returns_of_one_batch_stand_side_by_side() -> None:
    sale = given(
        on_sale(seats=9),
        inside(ANN, balance=2 * PRICE),
        inside(BEN, 2, balance=PRICE),
        reserve(ANN, 1, 2),
        pay(ANN),
        reserve(BEN, 3),
    )
    assert queue_events(sale.when(refund(ANN), pay(BEN), PauseQueue(CODE))) == [
        SeatsSold(1, {SHOW: 1}),
        SlotsFreed(1),
        SeatsReturned(2, {SHOW: 2}),
        QueuePaused(),
    ]


def test_the_merged_events_stand_last_also_after_what_ended_the_batch() -> None:
    sale = given(on_sale(), waiting(ANN)).when(let_in((1, ANN)), CloseSales(CODE))
    assert [type(event.event) for event in sale.events] == [token.TokenActivated, SalesClosed, QueueAdvanced]


def test_each_queue_has_its_own() -> None:
    other = ConcertCode("OTHER-1")
    asked = given(registered(ANN)).when(
        announce(),
        announce_as(other),
        schedule(),
    )
    queues = [event.stream for event in asked.events][-3:]
    assert queues == [f"queue/{CODE}", f"queue/{CODE}", f"queue/{other}"]


def announce_as(code: ConcertCode) -> Command:
    return msgspec.structs.replace(announce(), code=code)


def test_a_batch_that_changes_nothing_appends_nothing() -> None:
    given(on_sale(), waiting(ANN)).when(join(ANN), OpenSales(CODE)).then()


def test_a_refusal_fails_one_command_and_not_its_neighbours() -> None:
    asked = given(registered(ANN)).when(ChargeWallet(ANN, 1), ChargeWallet(BEN, 2), ChargeWallet(ANN, 3))
    assert isinstance(asked.answers[1].outcome, UserNotFound)
    asked.then_recorded(on(wallet.stream(ANN), WalletCharged(1), WalletCharged(3)))


def test_a_refused_command_leaves_no_trace_in_what_follows() -> None:
    """Cat's reservation is refused for its second seat; the first is then free for Ann."""
    sale = given(on_sale(), inside(ANN), inside(BEN, 2), inside(CAT, 3), reserve(BEN, 8))
    asked = sale.when(reserve(CAT, 7, 8), reserve(ANN, 7))
    assert isinstance(asked.answers[0].outcome, SeatAlreadyHeld)
    assert not isinstance(asked.answers[1].outcome, Exception)


class Break(Command, frozen=True):
    """Charge a wallet, and then be refused or meet a defect."""

    user_id: Any
    error: type[Exception]


def charge_and_break(command: Break, unit_of_work: UnitOfWork) -> None:
    unit_of_work.record(wallet.stream(command.user_id), [WalletCharged(1_000)])
    unit_of_work.write_name(command.user_id, "nobody")
    unit_of_work.change_queue(CODE, queue.free_slot)
    raise command.error


@pytest.fixture
def _breakable(monkeypatch: pytest.MonkeyPatch) -> None:
    handler = Handler(
        charge_and_break, lambda command, _: [wallet.stream(command.user_id), queue.stream(CODE)]
    )
    breaks: type[Command] = Break
    monkeypatch.setitem(HANDLERS, breaks, handler)


@pytest.mark.usefixtures("_breakable")
@pytest.mark.parametrize("error", [UserNotFound, ZeroDivisionError])
def test_nor_does_it_where_it_came_first(error: type[Exception]) -> None:
    sale = given(on_sale(), inside(ANN))
    sale.when(Break(ANN, error), ChargeWallet(ANN, 3)).then_recorded(on(wallet.stream(ANN), WalletCharged(3)))
    assert sale.sale.state(wallet.stream(ANN)).balance == 3


@pytest.mark.usefixtures("_breakable")
@pytest.mark.parametrize("error", [UserNotFound, ZeroDivisionError])
def test_a_refusal_or_a_defect_answers_only_its_command_and_leaves_no_trace(error: type[Exception]) -> None:
    sale = given(on_sale(), inside(ANN))
    asked = sale.when(ChargeWallet(ANN, 1), Break(ANN, error), ChargeWallet(ANN, 3))
    assert isinstance(asked.answers[1].outcome, error)
    asked.then_recorded(on(wallet.stream(ANN), WalletCharged(1), WalletCharged(3)))
    assert sale.sale.log.names == {ANN: None}


def test_the_last_commands_are_left_for_the_next_batch_when_one_grows_too_long() -> None:
    sale = given(registered(ANN))
    sale.when(*[ChargeWallet(ANN, 1)] * (BATCH_EVENTS_MAX + 2))
    appends = {event.recorded_at for event in sale.sale.log.events}
    assert len(appends) == 1 + 2


def test_a_batch_takes_a_command_as_long_as_it_has_room_for_one_event() -> None:
    sale = given(registered(ANN))
    sale.when(*[ChargeWallet(ANN, 1)] * (BATCH_EVENTS_MAX + 1))
    events = sale.sale.log.events
    appends = [len(list(together)) for _, together in groupby(events, lambda event: event.recorded_at)]
    assert appends == [1, BATCH_EVENTS_MAX, 1]


def test_everything_that_a_batch_misses_is_asked_for_at_once() -> None:
    log = Sale().log
    commands = [ChargeWallet(user_id, 1) for user_id in (ANN, BEN, CAT)]
    submissions = [Submission(command, uuid4(), uuid4()) for command in commands]
    with pytest.raises(MoreNeeded) as more:
        decide(submissions, log.read(Wanted([])), ServiceRules(), uuid4())
    assert [stream.name for stream in more.value.streams] == [
        wallet.stream(user_id).name for user_id in (ANN, BEN, CAT)
    ]


def test_what_a_batch_has_made_goes_without_the_garbage_collector() -> None:
    """Whoever collects thousands of objects twice a second lets everyone wait meanwhile."""
    visit = [reserve(ANN, 7), leave(BEN), join(CAT), reserve(ANN, 7), pay(ANN), pay(BEN)]
    sold_to = (on_sale(), inside(ANN, balance=PRICE), inside(BEN, number=2), registered(CAT))
    sales = [given(*sold_to) for _ in range(5)]
    left_over = []
    gc.disable()
    try:
        for asked in sales:
            gc.collect()
            asked.when(*visit)
            left_over.append(gc.collect())
    finally:
        gc.enable()
    assert min(left_over) == 0, "more than what other tests' threads leave now and then"


def test_deciding_again_comes_to_the_same() -> None:
    log = Sale().log
    submission = Submission(ChargeWallet(ANN, 1), uuid4(), uuid4())
    reading = log.read(Wanted([nothing_known(wallet.stream(ANN))]))
    batch_id = uuid4()
    first = decide([submission], reading, ServiceRules(), batch_id)
    again = decide([submission], reading, ServiceRules(), batch_id)
    assert (first.writes, first.states) == (again.writes, again.states)


def test_an_event_names_the_command_that_caused_it_and_a_merged_one_its_batch() -> None:
    log = Sale().log
    announcing = Submission(announce(), uuid4(), uuid4())
    opening = Submission(OpenWallet(ANN, None), uuid4(), uuid4())
    streams: list[Stream[Any]] = [concert.stream(CODE), queue.stream(CODE), wallet.stream(ANN)]
    reading = log.read(Wanted([nothing_known(stream) for stream in streams]))
    batch_id = uuid4()
    decided = decide([announcing, opening], reading, ServiceRules(), batch_id)
    assert [
        (event.stream.aggregate.kind, event.command_id, event.correlation_id, event.causation_id)
        for event in decided.writes.events
    ] == [
        ("concert", announcing.command_id, announcing.command_id, announcing.causation_id),
        ("wallet", opening.command_id, opening.command_id, opening.causation_id),
        ("queue", batch_id, batch_id, batch_id),
    ]


def test_i1_an_outcome_is_recorded_in_the_name_of_its_command() -> None:
    log = Sale().log
    asking = keyed(ChargeWallet(ANN, 1))
    submission = Submission(asking.command, uuid4(), uuid4(), asking.keyed)
    reading = log.read(Wanted([nothing_known(wallet.stream(ANN))]))
    (outcome,) = decide([submission], reading, ServiceRules(), uuid4()).writes.outcomes
    assert (outcome.key, outcome.command_id) == (asking.keyed.key, submission.command_id)


def test_a_stream_is_snapshotted_when_it_grows_past_a_multiple() -> None:
    sale = given(registered(ANN)).sale
    sale.ask(*[ChargeWallet(ANN, 1)] * (SNAPSHOT_EVERY - 2))
    assert sale.snapshots == []
    sale.ask(ChargeWallet(ANN, 1))
    assert [(known.stream.name, known.version) for known in sale.snapshots] == [
        (wallet.stream(ANN).name, SNAPSHOT_EVERY)
    ]
    sale.ask(ChargeWallet(ANN, 1))
    assert sale.snapshots == []
