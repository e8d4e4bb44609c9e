"""Whole sales that went any way: what a few people tried, in any order, as far as the rules let them."""

from collections.abc import Callable, Sequence
from datetime import timedelta

from hypothesis import strategies as st

from aggregates import queue, token
from aggregates.event import RecordedEvent
from aggregates.ids import StartTime, UserId
from commands.charge_wallet import ChargeWallet
from commands.run_sale import CloseSales, FollowTimetable, OpenSales, PauseQueue, ResumeQueue
from tests.aggregates.given import ANN, BEN, CODE
from tests.commands.sale import Sale
from tests.commands.steps import (
    CAT,
    PRICE,
    SHOW_STARTS_AT,
    SHOW_TIME,
    change_policy,
    expire,
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
    withdraw,
)

PEOPLE = (ANN, BEN, CAT)
MATINEE = StartTime("14:00")


class Crowd:
    """A few people, and a sale with few seats, two performances and short deadlines."""

    def __init__(self) -> None:
        self.sale = Sale()
        self.sale.done(
            on_sale(seats=6, hold_ttl_s=60, active_ttl_s=90), schedule(seats=4, start_time=MATINEE)
        )
        for user_id, seats_worth in zip(PEOPLE, (5, 2, 1), strict=True):
            self.sale.done(registered(user_id, balance=seats_worth * PRICE))
        self._visits = dict.fromkeys(PEOPLE, 0)
        self._reservations = dict.fromkeys(PEOPLE, 0)
        self._payments = dict.fromkeys(PEOPLE, 0)

    @property
    def events(self) -> Sequence[RecordedEvent]:
        """What was recorded."""
        return self.sale.log.events

    def joins(self, user_id: UserId, _number: int) -> None:
        """Join, or ask again."""
        (asked,) = self.sale.ask(join(user_id, visit=self._visits[user_id] + 1))
        self._visits[user_id] += getattr(asked.outcome, "created", False)

    def gate_opens(self, _user_id: UserId, number: int) -> None:
        """Let in the next so many."""
        head = self.sale.state(queue.stream(CODE)).head
        line = [(n, user_id) for n in range(head + 1, head + 1 + number) for user_id in self._owners(n)]
        self.sale.ask(let_in(*line))

    def reserves(self, user_id: UserId, number: int) -> None:
        """Take a seat or two of either performance."""
        seats = {1 + number % 4, 1 + number // 2}
        start_time = (MATINEE, SHOW_TIME)[number % 2]
        self._reservations[user_id] += 1
        visit, nth = self._visits[user_id], self._reservations[user_id]
        self.sale.ask(reserve(user_id, *seats, visit=visit, nth=nth, start_time=start_time))

    def pays(self, user_id: UserId, _number: int) -> None:
        """Pay for what is open."""
        self._payments[user_id] += 1
        self.sale.ask(pay(user_id, visit=self._visits[user_id], nth=self._payments[user_id]))

    def releases(self, user_id: UserId, _number: int) -> None:
        """Give up the last reservation."""
        self.sale.ask(release(user_id, visit=self._visits[user_id], nth=self._reservations[user_id]))

    def refunds(self, user_id: UserId, number: int) -> None:
        """Give the last payment back, or the one before."""
        self.sale.ask(refund(user_id, nth=self._payments[user_id] - number % 2))

    def leaves(self, user_id: UserId, _number: int) -> None:
        """Leave the line or the sale."""
        self.sale.ask(leave(user_id, visit=self._visits[user_id]))

    def charges(self, user_id: UserId, number: int) -> None:
        """Charge a little."""
        self.sale.ask(ChargeWallet(user_id, number))

    def timer_comes_by(self, user_id: UserId, _number: int) -> None:
        """Record what has run out."""
        self.sale.ask(expire(user_id, visit=self._visits[user_id]))

    def time_passes(self, _user_id: UserId, number: int) -> None:
        """Let up to a minute pass."""
        self.sale.log.clock += timedelta(seconds=10 * number)

    def operator_acts(self, _user_id: UserId, number: int) -> None:
        """Change how the sale runs; the last one begins the show."""
        steps = (
            change_policy(max_active=number),
            PauseQueue(CODE),
            ResumeQueue(CODE),
            CloseSales(CODE),
            OpenSales(CODE),
            FollowTimetable(CODE),
        )
        self.sale.ask(steps[number % len(steps)])
        if number == len(steps):
            self.sale.log.clock = SHOW_STARTS_AT
            self.sale.ask(withdraw())

    def _owners(self, queue_number: int) -> list[UserId]:
        return [user_id for user_id in PEOPLE if self._has_number(user_id, queue_number)]

    def _has_number(self, user_id: UserId, queue_number: int) -> bool:
        tokens = self.sale.state(token.stream(CODE, user_id))
        live = [] if tokens.live is None else [tokens.live.queue_number]
        return queue_number in [*live, *(ended.queue_number for ended in tokens.ended)]


Act = Callable[[Crowd, UserId, int], None]

ACTS: Sequence[Act] = (
    Crowd.joins,
    Crowd.gate_opens,
    Crowd.reserves,
    Crowd.reserves,
    Crowd.pays,
    Crowd.pays,
    Crowd.releases,
    Crowd.refunds,
    Crowd.leaves,
    Crowd.charges,
    Crowd.timer_comes_by,
    Crowd.time_passes,
    Crowd.operator_acts,
)


def after(acts: Sequence[tuple[Act, UserId, int]]) -> Crowd:
    """Begin with everybody inside, then let these things happen."""
    crowd = Crowd()
    for user_id in PEOPLE:
        crowd.joins(user_id, 0)
    crowd.gate_opens(ANN, len(PEOPLE))
    for act, user_id, number in acts:
        act(crowd, user_id, number)
        crowd.sale.log.clock += timedelta(seconds=1)
    return crowd


def crowds() -> st.SearchStrategy[Crowd]:
    """Sales that went any way."""
    one_act = st.tuples(st.sampled_from(ACTS), st.sampled_from(PEOPLE), st.integers(1, 6))
    return st.lists(one_act, min_size=30, max_size=80).map(after)
