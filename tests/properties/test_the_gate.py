"""Q3 and Q4 over any schedule: no limit is exceeded, nobody is passed over, and the gate does not stick.

Two timers look at the log when they please, and suggest whom to let in from what they saw, garbled or not;
buyers join, leave, buy several seats and give them back; operators change the policy, pause, close and go on;
performances begin; the clock steps, also back. Any of these may share a batch. After every append the books
that `gate_books` keeps by hand judge what was recorded.
"""

from collections.abc import Callable, Collection
from datetime import timedelta
from random import Random
from typing import Any
from uuid import UUID, uuid5

import msgspec
from hypothesis import example, settings
from hypothesis import given as for_all
from hypothesis import strategies as st

from aggregates.ids import PaymentId, ReservationId, StartTime, TokenId, UserId
from commands.command import Command
from commands.join_queue import JoinQueue
from commands.leave_queue import LeaveQueue
from commands.let_in import LetIn, Suggestion
from commands.pay import Pay
from commands.record_expiry import RecordExpiry
from commands.refund import Refund
from commands.release_reservation import ReleaseReservation
from commands.reserve import Reserve
from commands.run_sale import ChangePolicy, CloseSales, OpenSales, PauseQueue, ResumeQueue
from commands.unit_of_work import Visit
from commands.withdraw_seats import WithdrawSeats
from tests.aggregates.given import CODE, TODAY
from tests.commands.sale import Sale
from tests.commands.steps import announce, registered, schedule
from tests.properties.gate_books import GateBooks

CROWD = [UserId(uuid5(UUID(int=1), str(number))) for number in range(12)]
SHOWS = [StartTime("12:02"), StartTime("12:03"), StartTime("13:00")]
SEATS = 3
BALANCE = 10_000_000
NO_TOKEN = TokenId(UUID(int=0))

STEPS, SCHEDULES = 300, 120
"""Some 4 s of them."""

POLICIES: dict[str, list[Any]] = {
    "max_active": [None, 1, 2, 3, 5],
    "admit_per_interval": [None, None, 1, 2, 4],
    "admit_interval_s": [1, 5, 10],
    "admit_up_to_seats_left": [True, False],
    "max_waiting": [2, 5, 20],
    "max_seats_per_user": [2, 4],
    "active_ttl_s": [5, 60],
    "hold_ttl_s": [3, 60],
}
CLOCK_STEPS_S = [0, 0.5, 1, 2, 5, 5.000001, 10, 10.000001, 30, -3]


class Schedule:
    """A sale to which anything happens, as this chance has it."""

    def __init__(self, chance: Random) -> None:
        self.chance = chance
        self.sale = Sale()
        self.books = GateBooks()
        self.judged = 0
        self.batch: list[Command] = []
        self.batch_length = 1
        self.views = [GateBooks(), GateBooks()]
        """What each timer has seen of the log, and how much of it."""
        self.seen = [0, 0]
        self.ids = 0
        self._begin()

    def run(self) -> None:
        """Let things happen; in the end the gate lets in whom it should."""
        actions, weights = zip(*self._actions().items(), strict=True)
        for action in self.chance.choices(actions, weights, k=STEPS):
            action()
        self.let_in_everyone_there_is_room_for()

    def _actions(self) -> dict[Callable[[], None], float]:
        return {
            self.join: 20,
            self.look: 10,
            self.suggest: 12,
            self.suggest_nonsense: 6,
            self.let_in_everyone_there_is_room_for: 3,
            self.leave: 6,
            self.buy: 14,
            self.reserve: 4,
            self.pay: 4,
            self.reserve_and_release: 2,
            self.refund: 6,
            self.record_expiry: 4,
            self.change_policy: 4,
            self.stop: 1,
            self.go_on: 4,
            self.begin_performance: 2,
            self.add_performance: 0.5,
            self.gather: 6,
            self.let_time_pass: 12,
        }

    def join(self) -> None:
        self._ask(JoinQueue(CODE, self.chance.choice(CROWD), TokenId(self._new_id())))

    def leave(self) -> None:
        line = self.chance.choice([self.books.waiting, self.books.active])
        self._ask(LeaveQueue(*self._one_of(line)))

    def reserve(self) -> None:
        self._ask(self._wish(*self._one_of(self.books.active)))

    def pay(self) -> None:
        self._ask(self._payment(*self._one_of(self.books.active)))

    def buy(self) -> None:
        buyer = self._one_of(self.books.active)
        self._ask(self._wish(*buyer), self._payment(*buyer))

    def reserve_and_release(self) -> None:
        visit, user_id = self._one_of(self.books.active)
        wish = self._wish(visit, user_id)
        self._ask(wish, ReleaseReservation(visit, user_id, wish.reservation_id))

    def refund(self) -> None:
        """Someone gives seats back, and in the same moment a timer has suggestions."""
        if self.books.payments:
            self._ask(Refund(*self.chance.choice(self.books.payments)))
            self.suggest()

    def record_expiry(self) -> None:
        self._ask(*[RecordExpiry(*self._one_of([number])) for number in sorted(self.books.active)])

    def change_policy(self) -> None:
        fields = self.chance.sample(sorted(POLICIES), 2)
        self._ask(ChangePolicy(CODE, {field: self.chance.choice(POLICIES[field]) for field in fields}))

    def stop(self) -> None:
        self._ask(self.chance.choice([PauseQueue(CODE), CloseSales(CODE)]))

    def go_on(self) -> None:
        self._ask(ResumeQueue(CODE), OpenSales(CODE))

    def begin_performance(self) -> None:
        self._ask(WithdrawSeats(CODE, TODAY, self.chance.choice(SHOWS)))

    def add_performance(self) -> None:
        self._ask(schedule(seats=SEATS, day=TODAY, start_time=SHOWS[2]))

    def look(self) -> None:
        """A timer's view catches up with the log."""
        timer = self.chance.randrange(2)
        self.views[timer].read(self.sale.log.events[self.seen[timer] :])
        self.seen[timer] = len(self.sale.log.events)

    def suggest(self) -> None:
        """A timer lets in whom it saw waiting, however long ago that was."""
        self._ask(LetIn(CODE, tuple(self._seen_waiting())))

    def suggest_nonsense(self) -> None:
        """A timer's suggestions arrive shuffled, with gaps, repeats and the wrong people."""
        suggestions = self._seen_waiting()
        for _ in range(self.chance.randint(0, 3)):
            number = self.books.head + self.chance.randint(-1, 3)
            suggestions.append(Suggestion(number, self.chance.choice(CROWD)))
        self._ask(LetIn(CODE, tuple(self.chance.choices(suggestions, k=len(suggestions)))))

    def gather(self) -> None:
        """From now on so many commands share a batch."""
        self.batch_length = self.chance.choice([1, 1, 2, 3, 8])

    def let_time_pass(self) -> None:
        self._append()
        self.sale.log.clock += timedelta(seconds=self.chance.choice(CLOCK_STEPS_S))

    def let_in_everyone_there_is_room_for(self) -> None:
        """The gate does not stick: who knows the whole line lets in as many as there is room for."""
        self._append()
        now = max(self.sale.log.clock, self.sale.log.events[-1].recorded_at + timedelta(microseconds=1))
        expected = self.books.after_letting_in(now)
        line = tuple(Suggestion(number, user_id) for number, user_id in self.books.holders.items())
        (asked,) = self.sale.ask(LetIn(CODE, line))
        self._judge()
        assert (self.books.head, asked.outcome) == expected

    def _begin(self) -> None:
        policy = {field: self.chance.choice(values) for field, values in POLICIES.items()}
        announcement = msgspec.structs.replace(announce(refund_until_s=None, **policy), time_zone="UTC")
        plans = [schedule(seats=SEATS, day=TODAY, start_time=show) for show in SHOWS[:2]]
        crowd = [registered(user_id, balance=BALANCE) for user_id in CROWD]
        self.sale.done(announcement, plans, OpenSales(CODE), crowd)
        self._judge()

    def _ask(self, *commands: Command) -> None:
        self.batch += commands
        if len(self.batch) >= self.batch_length:
            self._append()

    def _append(self) -> None:
        self.sale.ask(*self.batch)
        self.batch.clear()
        self._judge()

    def _judge(self) -> None:
        events = self.sale.log.events
        self.books.read(events[self.judged :])
        self.judged = len(events)

    def _seen_waiting(self) -> list[Suggestion]:
        view = self.chance.choice(self.views)
        return [Suggestion(number, user_id) for number, user_id in view.holders.items() if number > view.head]

    def _one_of(self, numbers: Collection[int]) -> tuple[Visit, UserId]:
        """The last visit of someone who holds one of these numbers, or, where there are none, of anyone."""
        users = [self.books.holders[number] for number in sorted(numbers)] or CROWD
        user_id = self.chance.choice(users)
        return Visit(CODE, self.books.token_ids.get(user_id, NO_TOKEN)), user_id

    def _wish(self, visit: Visit, user_id: UserId) -> Reserve:
        seats = tuple(self.chance.sample(range(1, SEATS + 1), self.chance.randint(1, SEATS)))
        show = self.chance.choice(SHOWS)
        return Reserve(visit, user_id, ReservationId(self._new_id()), TODAY, show, seats)

    def _payment(self, visit: Visit, user_id: UserId) -> Pay:
        return Pay(visit, user_id, PaymentId(self._new_id()), None, None)

    def _new_id(self) -> UUID:
        self.ids += 1
        return uuid5(UUID(int=2), str(self.ids))


@settings(max_examples=SCHEDULES)
@for_all(seed=st.integers(0, 2**64))
@example(seed=496298)  # a seat is sold in the very batch that adds it
def test_q3_q4_no_limit_is_exceeded_and_the_gate_does_not_stick_whatever_happens(seed: int) -> None:
    Schedule(Random(seed)).run()
