"""Whole visits: token, poll, dates, seats, reserve, charge, pay."""

import time
from collections import Counter, deque
from collections.abc import Callable, Generator, Sequence
from typing import Final, NamedTuple, TypeAlias, TypeVar

import msgspec

from bench import calls
from bench.calls import HALL_DAYS, HALL_SEATS, Buyer
from bench.client import Answer, Flow
from bench.measured import Like, UnexpectedAnswer

T = TypeVar("T")

Steps: TypeAlias = Generator[bytes, Answer, T]
"""Part of a flow."""

WAITING: Final = 4
"""How many more join over a connection before it asks whether a visitor was let in.

So it is never idle, and asks once where others would ask ten times: the calls of a visit are in proportion.
"""

WARM_SHARE: Final = 0.4
"""Of its time comes on top of the measurement: until all connections have so many who wait."""

SECONDS_MIN: Final = 2.0
"""However brief all else is: until visits are complete."""

CONCERT_SEATS: Final = HALL_DAYS * HALL_SEATS
"""Visitors come to one concert after another, one for each seat."""


class _Visitor(NamedTuple):
    place: int
    code: str
    buyer: Buyer


class Visits:
    """Visitors come one after another; while some wait to be let in, their connection serves others."""

    def __init__(self, code_of: Callable[[int], str], users: Sequence[str], warm_s: float) -> None:
        """`code_of` names one concert after another; what is asked in the first `warm_s` is not counted."""
        self._counts_from = time.perf_counter() + warm_s
        self._code_of = code_of
        self._coming = iter(enumerate(users))
        self._read = msgspec.json.Decoder(Buyer).decode
        self._first: dict[str, Like] = {}
        self._counts: Counter[str] = Counter()
        self._bytes: Counter[str] = Counter()

    def follow(self) -> Flow:
        """Serve visitors over one connection: for each that joins, see to the one who has waited longest."""
        waiting: deque[_Visitor] = deque()
        while True:
            coming = next(self._coming, None)
            if coming is not None:
                waiting.append((yield from self._join(*coming)))
            elif not waiting:
                return
            if coming is None or len(waiting) > WAITING:
                visitor = waiting.popleft()
                if (yield from self._is_let_in(visitor)):
                    yield from self._buy(visitor)
                else:
                    waiting.append(visitor)

    def _join(self, place: int, user_id: str) -> Steps[_Visitor]:
        code = self._code_of(place // CONCERT_SEATS)
        answer = yield from self._ask("token", 201, calls.join(code, user_id))
        return _Visitor(place, code, self._read(answer.body))

    def _is_let_in(self, visitor: _Visitor) -> Steps[bool]:
        asked = calls.read(f"{calls.concert(visitor.code)}/token", visitor.buyer.token)
        answer = yield from self._ask("poll", 200, asked)
        return self._read(answer.body).status == "ACTIVE"

    def _buy(self, visitor: _Visitor) -> Steps[None]:
        """Look at dates and seats, take a seat that is nobody else's, charge, pay."""
        code, token = visitor.code, visitor.buyer.token
        day, seat = divmod(visitor.place % CONCERT_SEATS, HALL_SEATS)
        yield from self._ask("dates", 200, calls.read(f"{calls.concert(code)}/dates", token))
        yield from self._ask("seats", 200, calls.read(calls.seat_map(code, day), token))
        yield from self._ask("reserve", 201, calls.reserve(code, day, seat, token))
        yield from self._ask("charge", 201, calls.charge(visitor.buyer.user_id))
        yield from self._ask("pay", 201, calls.pay(token))

    def _ask(self, step: str, expected: int, asked: bytes) -> Steps[Answer]:
        answer = yield asked
        if answer.status != expected:
            raise UnexpectedAnswer(f"in a visit, {step}: {answer}")
        if step not in self._first:
            self._first[step] = Like(asked.partition(b" ")[0].decode(), asked, expected, 0)
        if time.perf_counter() >= self._counts_from:
            self._counts[step] += 1
            self._bytes[step] += len(answer.body)
        return answer

    def likes(self) -> list[Like]:
        """One request of each step, with the mean length of its answers."""
        return [
            like._replace(body_bytes=self._bytes[step] // max(1, self._counts[step]))
            for step, like in self._first.items()
        ]

    def remark(self) -> str:
        """How often a visitor asked before they were let in."""
        return f"{self._counts['poll'] / max(1, self._counts['dates']):.2f} polls a visit"
