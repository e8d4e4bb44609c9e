"""A small grammar for what aggregates decide: given what happened, when someone decides, then this follows.

    given(SEAT, seat_held(by=ANN, until=at("12:05")))
    .when(seat.hold, seat_held(by=BEN, until=at("12:11")), now=at("12:06"))
    .then(SeatHoldExpired(reservation_of(ANN)), seat_held(by=BEN, until=at("12:11")))

All of it takes place on one day, by one clock: `at("12:05")`.
"""

import re
from collections.abc import Callable
from datetime import date, datetime
from typing import Any, Concatenate, Generic, NamedTuple, ParamSpec, TypeVar
from uuid import UUID, uuid5

from aggregates.errors import DomainError, ValidationFailed
from aggregates.event import Event
from aggregates.ids import ConcertCode, PaymentId, PerformanceName, ReservationId, StartTime, TokenId, UserId
from aggregates.stream import Aggregate

State = TypeVar("State")
Part = TypeVar("Part")
Answer = TypeVar("Answer")
P = ParamSpec("P")

TODAY = date(2026, 3, 2)
EVENING = StartTime("19:30")
TONIGHT = PerformanceName("2026-03-02T19:30")
CODE = ConcertCode("IU-2026")

SENTENCES = re.compile(r"([A-Z](?=[a-z]| [a-z])[^.]*\.( (?=[A-Z])|$))+")
"""How a refusal speaks to people: `Someone else holds these seats. Choose others.`"""

WORDS = re.compile(r"[a-z]+[ '][a-z].*[a-z]")
"""What is wrong with one field, told after its name: `name one seat at least`."""

_PEOPLE = UUID("00000000-0000-4000-8000-000000000000")
ANN = UserId(uuid5(_PEOPLE, "Ann"))
BEN = UserId(uuid5(_PEOPLE, "Ben"))


def at(clock: str) -> datetime:
    """Today at this time, UTC: `at("12:05")`, `at("12:05:30.000001")`."""
    return datetime.fromisoformat(f"{TODAY.isoformat()}T{clock}+00:00")


def token_of(user_id: UserId, visit: int = 1) -> TokenId:
    """The token of a user's first visit, or of a later one."""
    return TokenId(uuid5(user_id, f"token {visit}"))


def reservation_of(user_id: UserId, visit: int = 1) -> ReservationId:
    """The reservation that a user made in their first visit, or in a later one."""
    return ReservationId(uuid5(user_id, f"reservation {visit}"))


def payment_of(user_id: UserId, visit: int = 1) -> PaymentId:
    """The payment that a user made in their first visit, or in a later one."""
    return PaymentId(uuid5(user_id, f"payment {visit}"))


class Recorded(NamedTuple):
    """An event and when it was recorded, for states that remember the time."""

    event: Event
    at: datetime


class Given(NamedTuple, Generic[State]):
    """What has happened so far, as the aggregate remembers it."""

    state: State

    def its(self, part: Callable[[State], Part | None]) -> "Given[Part]":
        """Turn to a part of the state, which must be there: a user's live token."""
        found = part(self.state)
        assert found is not None
        return Given(found)

    def then_is(self, state: State) -> None:
        """This is what is remembered."""
        assert self.state == state

    def when(
        self, decide: Callable[Concatenate[State, P], Answer], *args: P.args, **kwargs: P.kwargs
    ) -> "Outcome[Answer]":
        """Let someone decide."""
        try:
            return Outcome(decide(self.state, *args, **kwargs), None)
        except DomainError as refusal:
            return Outcome(None, refusal)


class Outcome(NamedTuple, Generic[Answer]):
    """What came of it: an answer or a refusal."""

    answer: Answer | None
    refusal: DomainError | None

    @property
    def told(self) -> list[int]:
        """The figures that the refusal tells people."""
        return [int(figure) for figure in re.findall(r"\d+", str(self.refusal))]

    def then(self, *events: Event) -> None:
        """Exactly these events follow, in this order; `then()` says that nothing does."""
        assert self.refusal is None, f"refused: {self.refusal!r}"
        assert self.answer == list(events)

    def then_it_is(self, answer: Answer) -> None:
        """The question is answered like this."""
        assert self.refusal is None, f"refused: {self.refusal!r}"
        assert self.answer == answer

    def then_it_may(self) -> None:
        """No rule stands in the way."""
        assert self.refusal is None, f"refused: {self.refusal!r}"

    def then_refused(
        self, error: type[DomainError], *, retry_after_s: int | None = None, **members: Any
    ) -> None:
        """It is refused with this error, which carries these members and says when to try again."""
        assert self.refusal is not None, f"not refused, but: {self.answer!r}"
        assert_refused(self.refusal, error, retry_after_s, members)

    def then_refused_for(self, field: str) -> None:
        """It is refused because of this field, and says in words what is wrong with it."""
        assert_refused_for(self.refusal, field)


def assert_refused(
    refusal: DomainError, error: type[DomainError], retry_after_s: int | None, members: dict[str, Any]
) -> None:
    """A refusal is of one kind, speaks in sentences, and carries members and whole seconds for programs."""
    assert type(refusal) is error
    assert SENTENCES.fullmatch(refusal.detail)
    assert refusal.members == members
    assert refusal.retry_after_s == retry_after_s
    assert isinstance(refusal.retry_after_s, int | None)


def assert_refused_for(refusal: object, field: str) -> None:
    """Something is wrong with this field, and only with this."""
    assert isinstance(refusal, ValidationFailed), f"not refused for {field}, but: {refusal!r}"
    (error,) = refusal.members["errors"]
    assert error["field"] == field
    assert WORDS.fullmatch(error["message"])


def given(aggregate: Aggregate[State], *past: Event | Recorded) -> Given[State]:
    """What has happened: events, recorded at 12:00 unless they say otherwise."""
    state = aggregate.initial
    for happened in past:
        event, when = happened if isinstance(happened, Recorded) else (happened, at("12:00"))
        state = aggregate.evolve(state, event, when)
    return Given(state)
