"""A small grammar for use cases: given what was done so far, when someone asks for more, this is recorded.

    given(on_sale(), inside(ANN), "12:05", reserve(ANN, 7), "12:10").when(expire(ANN)).then(
        on(seat_stream(7), SeatHoldExpired(reservation_of(ANN))),
        on(reservation.stream(reservation_of(ANN)), ReservationExpired()),
        …
    )

What is given is done by commands, too, each in an append of its own. The clock starts at 12:00; it moves by a
second after each of them, and to whatever time stands between them. What is asked for in one `when` waits in
line together, as on the bus: one batch, unless a command ends it. All of it is decided by the real handlers,
on a log in memory; `tests/commands/steps.py` says what can be done.
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any, NamedTuple
from uuid import UUID, uuid4

from aggregates.errors import DomainError
from aggregates.event import Event, RecordedEvent
from aggregates.ids import TokenId
from aggregates.stream import Stream
from commands.batch import Decided, Decision, Keyed, MoreNeeded, Submission, decide
from commands.command import Command
from commands.ports import Hearing, KeyOfCaller, Known, Reading, Wanted, nothing_known
from commands.unit_of_work import ServiceRules
from infrastructure.in_memory_log import InMemoryEventLog
from tests.aggregates.given import assert_refused, assert_refused_for, at

SECOND = timedelta(seconds=1)

Pair = tuple[str, Event]


class WithKey(NamedTuple):
    """A command that carries an idempotency key."""

    command: Command
    keyed: Keyed


Asking = Command | WithKey


class Asked(NamedTuple):
    """What came of one command."""

    outcome: Any
    reply: bytes | None
    """The answer on record for its key."""


class Sale:
    """A whole service on a log in memory; time passes as the test says."""

    def __init__(self, rules: ServiceRules | None = None) -> None:
        self.log = InMemoryEventLog(at("12:00"))
        self.snapshots: Sequence[Known] = []
        """What the last batch would have snapshotted."""
        self._rules = rules or ServiceRules()
        self._known: dict[str, Known] = {}

    def done(self, *steps: Any) -> None:
        """Do these things, each in an append of its own; none of them is refused."""
        for step in steps:
            match step:
                case str():
                    self.log.clock = at(step)
                case datetime():
                    self.log.clock = step
                case Command() | WithKey():
                    (asked,) = self.ask(step)
                    assert not isinstance(asked.outcome, Exception), (step, asked.outcome)
                    self.log.clock += SECOND
                case _:
                    self.done(*step)

    def ask(self, *commands: Asking) -> list[Asked]:
        """Let these commands wait in line together, and run batches until all are answered."""
        waiting = [_submission(command) for command in commands]
        answers: list[Asked] = []
        while waiting:
            answered = self._run_batch(waiting)
            answers += answered
            del waiting[: len(answered)]
        return answers

    def state(self, stream: Stream[Any]) -> Any:
        """Read the state of a stream."""
        return self.log.up_to_date(nothing_known(stream)).state

    def _run_batch(self, submissions: Sequence[Submission]) -> list[Asked]:
        keys = [submission.keyed.key for submission in submissions if submission.keyed is not None]
        reading = self.log.read(Wanted(list(self._known.values()), keys))
        decided = self._decide(submissions, reading)
        self.snapshots = decided.writes.snapshots
        if decided.writes:
            self.log.append(decided.writes)
        self._known = reading.known
        return [_asked(decision) for decision in decided.decisions]

    def _decide(self, submissions: Sequence[Submission], reading: Reading) -> Decided:
        while True:
            try:
                return decide(submissions, reading, self._rules, uuid4())
            except MoreNeeded as more:
                for stream in more.streams:
                    reading.known[stream.name] = self.log.up_to_date(nothing_known(stream))


class Given(NamedTuple):
    """A sale to which something has been done."""

    sale: Sale

    def and_then(self, *steps: Any) -> "Given":
        """Do more."""
        self.sale.done(*steps)
        return self

    def when(self, *commands: Asking) -> "Then":
        """Ask for something more."""
        position = len(self.sale.log.events)
        answers = self.sale.ask(*commands)
        return Then(self.sale, answers, self.sale.log.events[position:])


class Then(NamedTuple):
    """What came of it."""

    sale: Sale
    answers: Sequence[Asked]
    events: Sequence[RecordedEvent]

    @property
    def outcome(self) -> Any:
        """What became of the last command."""
        return self.answers[-1].outcome

    def then(self, *expected: Sequence[Pair]) -> "Then":
        """Exactly these events were recorded, in this order; `then()` says that none was."""
        refusals = [answer.outcome for answer in self.answers if isinstance(answer.outcome, Exception)]
        assert not refusals, f"refused: {refusals}"
        return self.then_recorded(*expected)

    def then_recorded(self, *expected: Sequence[Pair]) -> "Then":
        """As `then`, also where a command was refused."""
        assert _pairs(self.events) == [pair for pairs in expected for pair in pairs]
        return self

    def then_appended(self, *expected: Sequence[Pair]) -> "Then":
        """Exactly these appends were made, with these events."""
        appends = [
            _pairs(list(events)) for _, events in groupby(self.events, key=lambda event: event.recorded_at)
        ]
        assert appends == [list(pairs) for pairs in expected]
        return self

    def then_refused(
        self, error: type[DomainError], *, retry_after_s: int | None = None, **members: Any
    ) -> "Then":
        """The last command was refused with this error, and nothing was recorded."""
        assert self.events == [], "refused with events"
        return self.then_refused_with_events(error, retry_after_s=retry_after_s, **members)

    def then_refused_with_events(
        self, error: type[DomainError], *, retry_after_s: int | None = None, **members: Any
    ) -> "Then":
        """The last command was refused with this error."""
        assert isinstance(self.outcome, DomainError), self.outcome
        assert_refused(self.outcome, error, retry_after_s, members)
        return self

    def then_refused_for(self, field: str) -> None:
        """The last command was refused because of this field, and nothing was recorded."""
        assert self.events == [], "refused with events"
        assert_refused_for(self.outcome, field)

    def then_correlated(self, *correlation_ids: UUID) -> "Then":
        """The events, without those of the queue, belong to these visits, in order."""
        found = [event.correlation_id for event in self.events if not event.stream.startswith("queue/")]
        assert found == list(correlation_ids)
        return self


def given(*steps: Any, rules: ServiceRules | None = None) -> Given:
    """Do things one after another: commands, lists of them, and times (`"12:05"`) to set the clock to."""
    sale = Sale(rules)
    sale.done(*steps)
    return Given(sale)


def heard(before: Given, last: dict[TokenId, datetime], *, since: datetime | None) -> Given:
    """Set when tokens were last heard from, and since when everybody has listened."""
    before.sale.log.hearing = Hearing(since, last)
    return before


def reply_to(outcome: Any) -> bytes:
    """What goes on record for a key: here, the outcome as it prints."""
    return repr(outcome).encode()


def keyed(
    command: Command,
    key: str = "key 1",
    *,
    caller: str | None = None,
    request: bytes = b"as asked",
    reply: Callable[[Any], bytes] = reply_to,
) -> WithKey:
    """Let a command carry an idempotency key, its user's or the admin's."""
    key_of_caller = KeyOfCaller(caller or str(getattr(command, "user_id", "admin")), key)
    return WithKey(command, Keyed(key_of_caller, request, reply))


def on(stream: Stream[Any], *events: Event) -> list[Pair]:
    """Events of one stream."""
    return [(stream.name, event) for event in events]


def _pairs(events: Iterable[RecordedEvent]) -> list[Pair]:
    return [(event.stream, event.event) for event in events]


def _submission(asking: Asking) -> Submission:
    if isinstance(asking, Command):
        return Submission(asking, uuid4(), uuid4())
    return Submission(asking.command, uuid4(), uuid4(), asking.keyed)


def _asked(decision: Decision) -> Asked:
    return Asked(decision.outcome, decision.recorded.reply if decision.recorded else decision.reply)
