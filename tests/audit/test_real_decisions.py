"""The audit finds nothing wrong with what the real handlers record, whatever people ask for and when.

Two readings of the rules that share no code, the aggregates' and the audit's, agree over random schedules:
stale suggestions, several commands in a batch, policy changes, deadlines that pass at any moment.
"""

from collections.abc import Callable, Iterable
from datetime import timedelta
from random import Random
from typing import Any
from uuid import UUID, uuid5

import pytest

import audit
from aggregates import queue, token
from aggregates.errors import DomainError
from aggregates.ids import PaymentId, ReservationId, TokenId, UserId
from aggregates.payment import PaymentCompleted
from aggregates.policy import OnInsufficientBalance
from aggregates.token import LiveToken, TokenIssued
from audit.replay import Replay
from commands.charge_wallet import ChargeWallet
from commands.command import Command
from commands.join_queue import JoinQueue
from commands.leave_queue import LeaveQueue
from commands.let_in import LetIn, Suggestion
from commands.pay import Pay
from commands.record_expiry import RecordExpiry
from commands.refund import Refund
from commands.release_reservation import ReleaseReservation
from commands.reserve import Reserve
from commands.run_sale import CloseSales, OpenSales, PauseQueue, ResumeQueue
from commands.unit_of_work import Visit
from tests.aggregates.given import CODE
from tests.audit.database import project, store
from tests.audit.log_builder import StoredRow
from tests.audit.real_log import stored
from tests.commands import steps
from tests.commands.sale import Sale

USERS = [UserId(uuid5(UUID(int=0), str(number))) for number in range(7)]
SEATS = 5
ROUNDS = 120


class Walk:
    """A sale in which people ask for anything at any time, the same for each seed."""

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)
        self.sale = Sale()
        self._begin()

    def go(self, rounds: int) -> None:
        """Ask for so many batches of commands; refusals are as good as results."""
        for _ in range(rounds):
            batch = [self._command() for _ in range(self._random.choice((1, 1, 2, 5, 8)))]
            for asked in self.sale.ask(*batch):
                if isinstance(asked.outcome, Exception) and not isinstance(asked.outcome, DomainError):
                    raise asked.outcome
            self.sale.log.clock += timedelta(seconds=self._random.choice((0, 0, 1, 1, 5, 15, 40)))

    def rows(self) -> list[StoredRow]:
        """The log as it is stored."""
        return [stored(event) for event in self.sale.log.events]

    def _begin(self) -> None:
        choice = self._random.choice
        self.sale.log.clock = steps.SHOW_STARTS_AT - timedelta(seconds=choice((300, 2_000, 100_000)))
        self.sale.done(
            steps.announce(
                max_active=choice((None, 1, 2, 4)),
                admit_per_interval=choice((None, 1, 3)),
                admit_interval_s=choice((5, 60)),
                admit_up_to_seats_left=choice((True, False)),
                max_waiting=choice((2, 5, 1_000)),
                active_ttl_s=choice((30, 300)),
                hold_ttl_s=choice((20, 120)),
                max_seats_per_user=choice((1, 2, 4)),
                on_insufficient_balance=choice(list(OnInsufficientBalance)),
                charge_while_holding=choice((True, False)),
                refund_until_s=choice((None, 0, 3_600)),
            ),
            steps.schedule(seats=choice((2, SEATS, 20))),
            OpenSales(CODE),
            [steps.registered(user_id, balance=choice((0, 150_000, 1_000_000))) for user_id in USERS],
        )

    def _command(self) -> Command:
        user_id, live = self._random.choice(self._active() or self._live() or [(USERS[0], None)])
        visit = Visit(CODE, live.token_id if live else TokenId(self._id()))
        reservation_id = live.last_reservation_id if live else None
        numbers = self._random.sample(range(1, SEATS + 1), self._random.choice((1, 1, 2, 3)))
        commands: Iterable[tuple[int, Callable[[], Command]]] = (
            (15, lambda: JoinQueue(CODE, self._random.choice(USERS), TokenId(self._id()))),
            (15, self._let_in),
            (25, lambda: _reserve(visit, user_id, ReservationId(self._id()), tuple(numbers))),
            (17, lambda: Pay(visit, user_id, PaymentId(self._id()), None, None)),
            (4, lambda: ReleaseReservation(visit, user_id, reservation_id or ReservationId(self._id()))),
            (3, self._leave),
            (6, self._refund),
            (8, lambda: RecordExpiry(visit, user_id)),
            (3, lambda: ChargeWallet(user_id, self._random.choice((1, 100_000, 300_000)))),
            (4, self._run),
        )
        weights, choices = zip(*commands, strict=True)
        ask: Callable[[], Command] = self._random.choices(choices, weights)[0]
        return ask()

    def _live(self) -> list[tuple[UserId, LiveToken]]:
        tokens = ((user_id, self.sale.state(token.stream(CODE, user_id)).live) for user_id in USERS)
        return [(user_id, live) for user_id, live in tokens if live is not None]

    def _active(self) -> list[tuple[UserId, LiveToken]]:
        return [(user_id, live) for user_id, live in self._live() if live.active_until is not None]

    def _let_in(self) -> Command:
        head = self.sale.state(queue.stream(CODE)).head
        issued = (event.event for event in self.sale.log.events if isinstance(event.event, TokenIssued))
        line = [Suggestion(one.queue_number, one.user_id) for one in issued if one.queue_number > head]
        return LetIn(CODE, tuple(line[: self._random.choice((1, 2, 5))]))

    def _leave(self) -> Command:
        user_id, live = self._random.choice(self._live() or [(USERS[0], None)])
        return LeaveQueue(Visit(CODE, live.token_id if live else TokenId(self._id())), user_id)

    def _refund(self) -> Command:
        paid = [
            (PaymentId(UUID(event.stream.removeprefix("payment/"))), event.event.user_id)
            for event in self.sale.log.events
            if isinstance(event.event, PaymentCompleted)
        ]
        return Refund(*self._random.choice(paid or [(PaymentId(self._id()), USERS[0])]))

    def _run(self) -> Command:
        choice: Callable[..., Any] = self._random.choice
        policy = {"max_active": choice((None, 1, 3)), "max_seats_per_user": choice((1, 3))}
        command: Command = choice(
            (
                steps.change_policy(**policy, charge_while_holding=choice((True, False))),
                OpenSales(CODE),
                OpenSales(CODE),
                CloseSales(CODE),
                PauseQueue(CODE),
                ResumeQueue(CODE),
                ResumeQueue(CODE),
                steps.withdraw(),
            )
        )
        return command

    def _id(self) -> UUID:
        return UUID(int=self._random.getrandbits(128), version=4)


def _reserve(
    visit: Visit, user_id: UserId, reservation_id: ReservationId, numbers: tuple[int, ...]
) -> Reserve:
    return Reserve(visit, user_id, reservation_id, steps.SHOW_DAY, steps.SHOW_TIME, numbers)


@pytest.mark.parametrize("seed", range(12))
def test_a1_what_the_handlers_record_breaks_no_rule(seed: int) -> None:
    walk = Walk(seed)
    walk.go(ROUNDS)
    replay = Replay()
    replay.apply_all(walk.rows())
    replay.close()
    assert replay.books.breaches.kept == []


def test_a1_what_the_handlers_record_is_what_the_projections_show(dsn: str) -> None:
    walk = Walk(seed=1)
    stored = 0
    for _ in range(3):
        walk.go(ROUNDS // 3)
        rows = walk.rows()
        store(dsn, rows[stored:])
        stored = len(rows)
        project(dsn)
        differences: list[audit.Difference] = []
        report = audit.run(dsn, on_difference=differences.append)
        assert (report.ok, differences) == (True, []), report.breaches
