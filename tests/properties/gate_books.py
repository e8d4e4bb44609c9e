"""One concert's gate, kept by hand from the log alone, and judged by the rules Q1, Q3, Q4, Q6, L1 and L2.

It is written from the rules and shares nothing with the queue's own counting: who is active is told by the
tokens' streams, what is sold by the seats'. Each append is judged as a whole, event by event.
"""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any
from uuid import UUID

from aggregates.event import RecordedEvent
from aggregates.ids import PaymentId, TokenId, UserId
from aggregates.policy import Policy

TABLE = [
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
"""In which the merged events of an append stand, one of each at most."""

ENDS = {"token.completed", "token.expired", "token.cancelled"}


class GateBooks:
    """What has been let in, sold and passed so far. `read` takes the appends that follow, and judges them."""

    def __init__(self) -> None:
        self.policy = Policy()
        self.open = self.paused = False
        self.issued = self.head = 0
        self.waiting: set[int] = set()
        self.active: set[int] = set()
        self.holders: dict[int, UserId] = {}
        """Who was given which number."""
        self.token_ids: dict[UserId, TokenId] = {}
        """The last token of each."""
        self.payments: list[tuple[PaymentId, UserId]] = []
        self.activations: list[datetime] = []
        self.unsold: Counter[str] = Counter()
        """By performance; those that were withdrawn are no longer here."""
        self.starts_at: dict[str, datetime] = {}
        self._numbers: dict[str, int] = {}
        self._last_append: datetime | None = None

    def seats_left(self, now: datetime) -> int:
        """L2: the seats for the gate to count on: none of a performance that has begun, withdrawn or not."""
        return sum(count for name, count in self.unsold.items() if now < self.starts_at[name])

    def read(self, events: Sequence[RecordedEvent]) -> None:
        """Judge the appends that these events make up."""
        for recorded_at, append in groupby(events, key=lambda event: event.recorded_at):
            assert self._last_append is None or self._last_append < recorded_at, "time ran backwards"
            self._last_append = recorded_at
            _Append(self, recorded_at).read(list(append))

    def room(self, now: datetime) -> int:
        """Q4: how many the limits leave room for at this instant."""
        if self.paused or not self.open:
            return 0
        limits = [len(self.waiting)]
        if self.policy.max_active is not None:
            limits.append(self.policy.max_active - len(self.active))
        if self.policy.admit_up_to_seats_left:
            limits.append(self.seats_left(now) - len(self.active))
        if self.policy.admit_per_interval is not None:
            limits.append(self.policy.admit_per_interval - self.activations_in_span_to(now))
        return max(0, min(limits))

    def activations_in_span_to(self, now: datetime) -> int:
        """Count the activations of the interval that ends now, its first instant included."""
        since = now - timedelta(seconds=self.policy.admit_interval_s)
        return sum(since <= at <= now for at in self.activations)

    def after_letting_in(self, now: datetime) -> tuple[int, int]:
        """Q3: how far the gate goes and how many it lets in, asked at this instant by who knows everyone."""
        if self.paused or not self.open:
            return self.head, 0
        room, head, let_in = self.room(now), self.head, 0
        while head < self.issued and (head + 1 not in self.waiting or let_in < room):
            head += 1
            let_in += head in self.waiting
        return head, let_in


class _Append:
    """One append: limits count what stood before it, and what it has let in and sold by each event."""

    def __init__(self, books: GateBooks, now: datetime) -> None:
        self._books = books
        self._now = now
        self._active_before = len(books.active)
        self._let_in: list[int] = []
        self._sold: Counter[str] = Counter()
        self._returned: Counter[str] = Counter()
        self._issued: list[int] = []
        self._freed = 0

    def read(self, events: Sequence[RecordedEvent]) -> None:
        merged = [event for event in events if event.stream.startswith("queue/")]
        assert merged == list(events)[len(events) - len(merged) :], "merged events stand last"
        for event in events[: len(events) - len(merged)]:
            self._read_one(event)
        self._read_merged({event.event.topic: event.event for event in merged}, merged)
        for event in events:
            self._change_rules(event.event)

    def _read_one(self, recorded: RecordedEvent) -> None:
        event: Any = recorded.event
        books, stream = self._books, recorded.stream
        match event.topic:
            case "token.issued":
                books.issued += 1
                assert event.queue_number == books.issued, "Q1"
                self._issued.append(event.queue_number)
                books._numbers[stream] = event.queue_number
                books.holders[event.queue_number] = event.user_id
                books.token_ids[event.user_id] = event.token_id
                books.waiting.add(event.queue_number)
            case "token.activated":
                self._let_one_in(books._numbers[stream])
            case topic if topic in ENDS:
                number = books._numbers[stream]
                self._freed += number in books.active
                books.waiting.discard(number)
                books.active.discard(number)
            case "seat.sold":
                self._sold[_performance(stream)] += 1
            case "payment.completed":
                books.payments.append((PaymentId(UUID(stream.split("/")[1])), event.user_id))
            case "seat.returned":
                self._returned[_performance(stream)] += 1

    def _let_one_in(self, number: int) -> None:
        books, policy = self._books, self._books.policy
        assert number in books.waiting, "who is let in has waited"
        books.waiting.remove(number)
        books.active.add(number)
        books.activations.append(self._now)
        self._let_in.append(number)
        active = self._active_before + len(self._let_in)
        assert books.open, "L1"
        assert not books.paused, "L1"
        assert policy.max_active is None or active <= policy.max_active, "Q4: max_active"
        sold = sum(count for name, count in self._sold.items() if self._now < books.starts_at[name])
        left = books.seats_left(self._now) - sold
        assert not policy.admit_up_to_seats_left or active <= left, "Q4: admit_up_to_seats_left"
        in_span = books.activations_in_span_to(self._now)
        assert policy.admit_per_interval is None or in_span <= policy.admit_per_interval, "Q4: per interval"

    def _read_merged(self, merged: dict[str, Any], events: Sequence[RecordedEvent]) -> None:
        topics = [event.event.topic for event in events]
        assert topics == sorted(merged, key=TABLE.index), "one of each kind, in the table's order"
        self._pass_numbers(merged.get("queue.advanced"))
        issued = merged.get("queue.numbers_issued")
        assert self._issued == ([] if issued is None else list(range(issued.first, issued.last + 1)))
        assert not issued or self._books.issued - self._books.head <= self._books.policy.max_waiting, "Q4"
        assert self._freed == _count(merged, "queue.slots_freed"), "Q6"
        assert self._sold.total() == _count(merged, "queue.seats_sold"), "P1"
        assert self._returned.total() == _count(merged, "queue.seats_returned"), "P4"
        self._count_seats(merged)

    def _pass_numbers(self, advanced: Any) -> None:
        books = self._books
        head, let_in = (books.head, 0) if advanced is None else (advanced.head, advanced.activated)
        passed = range(books.head + 1, head + 1)
        assert advanced is None or passed, "an advance moves the head"
        assert [number for number in passed if number in self._let_in] == self._let_in, "Q3: by number"
        assert len(self._let_in) == let_in
        assert not [number for number in passed if number in books.waiting], "Q3: nobody is passed over"
        assert head <= books.issued, "Q3: nobody is passed before there is one"
        books.head = head

    def _count_seats(self, merged: dict[str, Any]) -> None:
        books = self._books
        if added := merged.get("queue.seats_added"):
            books.unsold.update(added.by_performance)
        for name in books.unsold:
            books.unsold[name] += self._returned[name] - self._sold[name]
        if withdrawn := merged.get("queue.seats_withdrawn"):
            name = f"{withdrawn.date.isoformat()}T{withdrawn.start_time}"
            assert books.unsold.pop(name) == withdrawn.count, "L2"

    def _change_rules(self, event: Any) -> None:
        books = self._books
        match event.topic:
            case "concert.announced" | "concert.policy_changed":
                books.policy = event.policy
            case "concert.performance_scheduled":
                books.starts_at[f"{event.date.isoformat()}T{event.start_time}"] = event.starts_at
            case "concert.sales_opened" | "concert.sales_closed":
                books.open = event.topic == "concert.sales_opened"
            case "queue.paused" | "queue.resumed":
                books.paused = event.topic == "queue.paused"


def _performance(seat_stream: str) -> str:
    return seat_stream.split("/")[2]


def _count(merged: dict[str, Any], topic: str) -> int:
    return merged[topic].count if topic in merged else 0
