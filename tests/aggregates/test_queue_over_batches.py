"""The queue over arbitrary batches: what is recorded agrees with what was decided (Q1, Q3, Q4, Q6, L2)."""

from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Concatenate, Final, ParamSpec

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from aggregates import queue
from aggregates.ids import PerformanceName, StartTime, performance_name
from aggregates.policy import Policy
from aggregates.queue import Draft, NumbersIssued, Queue, SeatsWithdrawn
from tests.aggregates.given import TODAY, at

P = ParamSpec("P")

ORDER: Final = [
    "queue.opened",
    "queue.numbers_issued",
    "queue.advanced",
    "queue.seats_sold",
    "queue.slots_freed",
    "queue.seats_returned",
    "queue.seats_added",
    "queue.seats_withdrawn",
    "queue.paused",
    "queue.resumed",
]
"""In which a batch records its events, one of each at most."""

counts = st.integers(1, 6)
limits = st.none() | counts
policies = st.builds(
    Policy,
    max_active=limits,
    admit_per_interval=limits,
    admit_interval_s=st.integers(1, 30),
    admit_up_to_seats_left=st.booleans(),
    max_waiting=st.just(1_000),
)
performances = st.sampled_from([StartTime(f"{hour}:00") for hour in range(14, 18)])


def name_of(start_time: StartTime) -> PerformanceName:
    return performance_name(TODAY, start_time)


class TheLine(RuleBasedStateMachine):
    """Batches of arbitrary changes, beside plain books kept of them by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.now: datetime = at("12:00")
        self.policy = Policy()
        self.recorded = Queue()
        self.draft = queue.draft(self.recorded)
        self.issued = self.head = self.active = self.freed = 0
        self.paused = False
        self.admitted_at: list[datetime] = []
        self.unsold: Counter[PerformanceName] = Counter()
        self.sold: Counter[PerformanceName] = Counter()
        self.on_sale: set[PerformanceName] = set()
        self.coming: dict[PerformanceName, int] = {}
        self.returned: Counter[PerformanceName] = Counter()
        self.begins: PerformanceName | None = None

    def change(self, how: Callable[Concatenate[Draft, P], Draft], *args: P.args, **kwargs: P.kwargs) -> None:
        self.draft = how(self.draft, *args, **kwargs)

    @property
    def room(self) -> int:
        """How many more may be let in, by the books."""
        if self.paused:
            return 0
        room = self.issued - self.head
        if self.policy.max_active is not None:
            room = min(room, self.policy.max_active - self.active)
        if self.policy.admit_up_to_seats_left:
            room = min(room, sum(self.unsold[name] for name in self.on_sale) - self.active)
        if self.policy.admit_per_interval is not None:
            since = self.now - timedelta(seconds=self.policy.admit_interval_s)
            lately = sum(since <= when for when in self.admitted_at)
            room = min(room, self.policy.admit_per_interval - lately)
        return max(0, room)

    @rule(count=counts)
    def issue(self, count: int) -> None:
        for _ in range(count):
            self.change(queue.issue_number, self.policy)
            self.issued += 1
            assert self.draft.queue.issued == self.issued

    @rule(wanted=counts)
    def let_in(self, wanted: int) -> None:
        for _ in range(min(wanted, queue.room(self.draft, self.policy, self.now))):
            assert self.room > 0
            self.change(queue.let_in)
            self.head, self.active = self.head + 1, self.active + 1
            self.admitted_at.append(self.now)

    @precondition(lambda self: self.head < self.issued)
    @rule()
    def pass_ended(self) -> None:
        self.change(queue.pass_ended)
        self.head += 1

    @precondition(lambda self: self.freed < self.active)
    @rule()
    def free(self) -> None:
        self.change(queue.free_slot)
        self.freed += 1

    @rule(start_time=performances, count=counts)
    def sell(self, start_time: StartTime, count: int) -> None:
        """Also seats of a performance that has begun: open reservations of it may still be paid."""
        name = name_of(start_time)
        if (count := min(count, self.unsold[name])) > 0:
            self.change(queue.sell_seats, name, count)
            self.unsold[name] -= count
            self.sold[name] += count

    @rule(start_time=performances, count=counts)
    def give_back(self, start_time: StartTime, count: int) -> None:
        name = name_of(start_time)
        if (count := min(count, self.sold[name])) > 0:
            self.change(queue.return_seats, name, count)
            self.sold[name] -= count
            self.returned[name] += count

    @rule(start_time=performances, count=st.integers(1, 20))
    def add(self, start_time: StartTime, count: int) -> None:
        """Each performance is scheduled once."""
        name = name_of(start_time)
        if name not in self.unsold and name not in self.coming:
            self.change(queue.add_seats, name, count)
            self.coming[name] = count

    @rule(start_time=performances)
    def withdraw(self, start_time: StartTime) -> None:
        self.change(queue.withdraw_seats, TODAY, start_time)
        if self.begins is None and name_of(start_time) in self.on_sale:
            self.begins = name_of(start_time)

    @rule(pause_s=st.integers(0, 20))
    def end_batch(self, pause_s: int) -> None:
        events = queue.events(self.draft)
        places = [ORDER.index(event.topic) for event in events]
        assert places == sorted(set(places))
        for event in events:
            if isinstance(event, NumbersIssued):
                assert (event.first, event.last) == (self.recorded.issued + 1, self.issued)
            if isinstance(event, SeatsWithdrawn):
                assert event.count == self.recorded.unsold[self.begins or name_of(event.start_time)]
            self.recorded = queue.evolve(self.recorded, event, self.now)
        self._close_the_books()
        self._compare()
        self.draft = queue.draft(self.recorded)
        self.now += timedelta(seconds=pause_s, microseconds=1)

    def _close_the_books(self) -> None:
        """Let count what counts from the next batch on."""
        self.active -= self.freed
        self.unsold.update(self.returned)
        self.unsold.update(self.coming)
        self.on_sale.update(self.coming)
        self.on_sale.discard(self.begins or PerformanceName(""))
        self.freed, self.begins = 0, None
        self.coming.clear()
        self.returned.clear()

    def _compare(self) -> None:
        line = self.recorded
        assert (line.issued, line.head, line.active) == (self.issued, self.head, self.active)
        assert line.unsold == {name: self.unsold[name] for name in self.on_sale}
        assert line.paused == self.paused

    @rule()
    def pause(self) -> None:
        self.change(queue.pause)
        self.paused = True
        self.end_batch(0)

    @rule()
    def resume(self) -> None:
        self.change(queue.resume)
        self.paused = False
        self.end_batch(0)

    @rule(policy=policies)
    def change_policy(self, policy: Policy) -> None:
        self.end_batch(0)
        self.policy = policy

    @invariant()
    def q4_room_is_what_the_books_say(self) -> None:
        assert queue.room(self.draft, self.policy, self.now) == self.room


def test_q4_the_queue_agrees_with_books_kept_by_hand_over_any_batches() -> None:
    run_state_machine_as_test(TheLine, settings=settings(max_examples=100, stateful_step_count=40))
