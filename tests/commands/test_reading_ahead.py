"""What a command will read is told beforehand: one round trip where the process remembers, else three.

Every command that there is stands here, in the situation in which it touches the most streams.
"""

from datetime import datetime
from typing import Any

import msgspec
import pytest

from aggregates.errors import (
    DomainError,
    InsufficientBalance,
    PaymentNotFound,
    RefundNotAllowed,
    ReservationNotFound,
)
from aggregates.ids import StartTime
from commands import batch, bus
from commands.charge_wallet import ChargeWallet
from commands.command import Command
from commands.erase_profile import EraseProfile
from commands.errors import TryAgain
from commands.join_queue import JoinQueue
from commands.open_wallet import OpenWallet
from commands.run_sale import (
    ChangePolicy,
    CloseSales,
    FollowTimetable,
    OpenSales,
    PauseQueue,
    ResumeQueue,
)
from commands.table import HANDLERS
from commands.unit_of_work import ServiceRules
from tests.aggregates.given import ANN, BEN, CODE, at, reservation_of, token_of
from tests.commands.bus_in_memory import RunningBus, TroubledLog, in_no_time
from tests.commands.steps import (
    CAT,
    PRICE,
    SHOW_STARTS_AT,
    abandon,
    announce,
    expire,
    inside,
    join,
    leave,
    let_in,
    on_sale,
    pay,
    refund,
    registered,
    release,
    reserve,
    schedule,
    visit_of,
    waiting,
    withdraw,
)

HOLDING = [on_sale(charge_while_holding=False), inside(ANN, balance=2 * PRICE), reserve(ANN, 7, 8)]
SOLD = [*HOLDING, pay(ANN)]

SITUATIONS: list[tuple[list[Any], Command]] = [
    ([], OpenWallet(ANN, "Ann")),
    ([registered(ANN)], EraseProfile(ANN)),
    ([HOLDING, inside(BEN, 2)], ChargeWallet(BEN, 1, visit_of(BEN))),
    ([on_sale(), registered(ANN)], JoinQueue(CODE, ANN, token_of(ANN))),
    (HOLDING, JoinQueue(CODE, ANN, token_of(ANN, 2))),
    ([on_sale(), waiting(ANN)], leave(ANN)),
    (HOLDING, leave(ANN)),
    ([on_sale(), inside(ANN)], reserve(ANN, 7, 8)),
    ([on_sale(), inside(ANN)], reserve(ANN, 7, 8, start_time=None)),
    ([on_sale(), schedule(start_time="14:00"), inside(ANN)], reserve(ANN, 7, start_time=StartTime("14:00"))),
    ([*HOLDING, inside(BEN, 2)], reserve(BEN, 1, 2)),
    (HOLDING, release(ANN)),
    (HOLDING, pay(ANN)),
    (HOLDING, pay(ANN, reservation_id=reservation_of(ANN))),
    (SOLD, refund(ANN)),
    ([], announce()),
    ([announce()], schedule()),
    (on_sale(), withdraw()),
    ([on_sale(), waiting(ANN), waiting(BEN), waiting(CAT)], let_in((1, ANN), (2, BEN), (3, CAT))),
    (HOLDING, expire(ANN)),
    (HOLDING, abandon(ANN)),
    ([announce()], ChangePolicy(CODE, {"max_active": 7})),
    ([announce()], OpenSales(CODE)),
    (on_sale(), CloseSales(CODE)),
    (on_sale(), FollowTimetable(CODE)),
    (on_sale(), PauseQueue(CODE)),
    ([on_sale(), PauseQueue(CODE)], ResumeQueue(CODE)),
]

LATER = [
    (HOLDING, expire(ANN), at("13:00")),
    (HOLDING, JoinQueue(CODE, ANN, token_of(ANN, 2)), at("13:00")),
    (on_sale(), withdraw(), SHOW_STARTS_AT),
]
"""What there is to do only when time has passed."""

REFUSED: list[tuple[list[Any], Command]] = [
    ([HOLDING, release(ANN)], release(ANN)),
    ([HOLDING, release(ANN)], pay(ANN)),
    ([HOLDING, release(ANN)], pay(ANN, reservation_id=reservation_of(ANN))),
    (SOLD, pay(ANN)),
    (SOLD, pay(ANN, reservation_id=reservation_of(ANN))),
    ([SOLD, refund(ANN)], refund(ANN)),
]
"""A refusal is not to cost more than what it refuses."""

situations = pytest.mark.parametrize(
    ("steps", "command", "clock"),
    [
        *[pytest.param(*each, None, id=type(each[1]).__name__) for each in SITUATIONS],
        *[pytest.param(*each, id=f"late {type(each[1]).__name__}") for each in LATER],
        *[pytest.param(*each, None, id=f"refused {type(each[1]).__name__}") for each in REFUSED],
    ],
)


def test_every_command_stands_here() -> None:
    assert {type(command) for _, command in SITUATIONS} == set(HANDLERS)


@situations
@in_no_time
async def test_what_is_remembered_is_read_in_one_round_trip(
    steps: list[Any], command: Command, clock: datetime | None
) -> None:
    async with RunningBus() as service:
        await service.done(steps)
        await ask(service, command, clock, reads=1)


@situations
@in_no_time
async def test_what_is_not_remembered_is_found_in_three_before_it_is_decided_once(
    steps: list[Any], command: Command, clock: datetime | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = TroubledLog()
    async with RunningBus(log) as before:
        await before.done(steps)
    decided: list[Any] = []

    def decide(*asked: Any) -> batch.Decided:
        decided.append(asked)
        return batch.decide(*asked)

    monkeypatch.setattr(bus, "decide", decide)
    async with RunningBus(log) as service:
        await ask(service, command, clock, reads=3)
    assert len(decided) == 1


async def ask(service: RunningBus, command: Command, clock: datetime | None, *, reads: int) -> None:
    """Ask for it, with so many round trips at most."""
    if clock is not None:
        service.log.log.clock = clock
    before = service.log.reads
    outcome = (await service.execute(command)).outcome
    assert isinstance(outcome, DomainError) or not isinstance(outcome, Exception)
    assert service.log.reads - before <= reads


@in_no_time
async def test_what_a_request_leaves_out_is_found_in_what_is_remembered() -> None:
    """A reservation that is not named is the visit's last, a start time that is not named the day's only."""
    async with RunningBus() as service:
        await service.done(on_sale(), inside(ANN, balance=PRICE))
        unnamed = msgspec.structs.replace(reserve(ANN, 7), start_time=None)
        await ask(service, unnamed, None, reads=1)
        await ask(service, pay(ANN), None, reads=1)


@in_no_time
async def test_where_charging_needs_a_token_that_is_read_ahead_too() -> None:
    async with RunningBus(rules=ServiceRules(wallet_needs_token=True)) as service:
        await service.done(on_sale(), [OpenWallet(ANN, None), join(ANN), let_in((1, ANN))])
        await ask(service, ChargeWallet(ANN, 1, visit_of(ANN)), None, reads=1)


@in_no_time
async def test_what_was_refused_is_refused_again_by_what_is_remembered() -> None:
    async with RunningBus() as service:
        await service.done(on_sale(), inside(ANN), reserve(ANN, 7))
        for first, again, error in (
            (refund(ANN), refund(ANN), PaymentNotFound),
            (
                pay(ANN, reservation_id=reservation_of(BEN)),
                pay(ANN, reservation_id=reservation_of(BEN)),
                ReservationNotFound,
            ),
            (pay(ANN), pay(ANN, nth=2), InsufficientBalance),
            (refund(ANN), refund(ANN), RefundNotAllowed),
        ):
            outcomes = [(await service.execute(command)).outcome for command in (first, again)]
            assert [type(outcome) for outcome in outcomes] == [error, error]


@in_no_time
async def test_an_id_that_somebody_has_already_is_not_given_to_another() -> None:
    """Nobody looks for it: the first version of its stream is taken."""
    async with RunningBus() as service:
        await service.done(on_sale(), inside(ANN, balance=PRICE), reserve(ANN, 7), pay(ANN))
        await service.done(inside(BEN, 2, balance=PRICE))
        same_reservation = msgspec.structs.replace(reserve(BEN, 8), reservation_id=reservation_of(ANN))
        assert isinstance((await service.execute(same_reservation)).outcome, TryAgain)
        await service.done(reserve(BEN, 8))
        same_payment = msgspec.structs.replace(pay(BEN), payment_id=pay(ANN).payment_id)
        assert isinstance((await service.execute(same_payment)).outcome, TryAgain)
        await service.done(pay(BEN))


@in_no_time
async def test_nor_is_an_id_given_to_two_that_are_decided_together() -> None:
    async with RunningBus() as service:
        await service.done(on_sale(), inside(ANN), inside(BEN, 2))
        same = msgspec.structs.replace(reserve(BEN, 8), reservation_id=reservation_of(ANN))
        answers = await service.ask(reserve(ANN, 7), same)
        assert [type(answer.outcome) for answer in answers] == [TryAgain, TryAgain]
        await service.done(reserve(ANN, 7), reserve(BEN, 8))
