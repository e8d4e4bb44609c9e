"""Linearizability: is there one order of overlapping operations that explains all their answers?

The search of Wing and Gong, with what it has tried remembered (Lowe). An operation may come next if no other
that is still to be placed was answered before it was sent. Time passes as little as it can from one to the
next, so that what depends on a deadline is judged exactly.
"""

import math
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from typing import Generic, NamedTuple, TypeVar, cast

S = TypeVar("S", bound=Hashable)
O = TypeVar("O")  # noqa: E741 (operation)

STEPS_MAX = 300_000
"""Beyond it nothing is decided; no history of ours has come near."""


class Placed(NamedTuple, Generic[O]):
    """An operation, and between when it has its place. One without an end may never have happened."""

    start: float
    end: float
    operation: O


class State(NamedTuple, Generic[S]):
    """How things stand, and since when at the earliest."""

    value: S
    now: float


Step = Callable[[State[S], O], Iterable[State[S]]]
"""What an operation may lead to; nothing where its answer does not fit."""


class Order(NamedTuple, Generic[S, O]):
    """What the search came to."""

    found: bool
    """Whether there is an order that explains everything."""
    placed: Sequence[Placed[O]]
    """That order; otherwise the longest that explains something."""
    values: Sequence[S]
    """How things stood after each of them."""
    stuck: Sequence[Placed[O]] = ()
    """Those of which none can come next."""
    given_up: bool = False


def linearize(operations: Iterable[Placed[O]], start: S, step: Step[S, O]) -> Order[S, O]:
    """Search for one order that agrees with real time and with every answer."""
    waiting = sorted(operations, key=lambda placed: (placed.start, placed.end))
    return _Search(waiting, step).run(start)


_Path = tuple[int, Hashable, "_Path"] | None


class _Frame(NamedTuple):
    first: int
    """All before it have been placed."""
    beyond: frozenset[int]
    """Those placed of the others."""
    required: int
    """How many of those placed must have happened."""
    value: Hashable
    now: float
    path: _Path


class _Search(Generic[S, O]):
    def __init__(self, waiting: Sequence[Placed[O]], step: Step[S, O]) -> None:
        self._waiting = waiting
        self._step = step
        self._required = sum(placed.end < math.inf for placed in waiting)

    def run(self, start: S) -> Order[S, O]:
        best = _Frame(0, frozenset(), 0, start, -math.inf, None)
        stack = [best]
        earliest: dict[tuple[int, frozenset[int], Hashable], float] = {}
        for _ in range(STEPS_MAX):
            if not stack:
                return self._stuck(best)
            frame = stack.pop()
            if frame.required == self._required:
                return self._order(frame)
            seen = (frame.first, frame.beyond, frame.value)
            if earliest.get(seen, math.inf) <= frame.now:
                continue
            earliest[seen] = frame.now
            if frame.required > best.required:
                best = frame
            stack += reversed(list(self._following(frame)))
        return self._stuck(best)._replace(given_up=True)

    def _next(self, frame: _Frame) -> list[int]:
        """Those that may come next, the earliest answered first."""
        end, following = math.inf, []
        for index in range(frame.first, len(self._waiting)):
            placed = self._waiting[index]
            if placed.start > end:
                break
            if index not in frame.beyond:
                following.append(index)
                end = min(end, placed.end)
        return sorted(following, key=lambda index: self._waiting[index].end)

    def _following(self, frame: _Frame) -> Iterator[_Frame]:
        for index in self._next(frame):
            placed = self._waiting[index]
            state = State(cast("S", frame.value), max(frame.now, placed.start))
            for value, now in self._step(state, placed.operation):
                if now <= placed.end:
                    first, beyond = self._with(frame, index)
                    required = frame.required + (placed.end < math.inf)
                    yield _Frame(first, beyond, required, value, now, (index, value, frame.path))

    def _with(self, frame: _Frame, index: int) -> tuple[int, frozenset[int]]:
        first, beyond = frame.first, set(frame.beyond) | {index}
        while first in beyond:
            beyond.remove(first)
            first += 1
        return first, frozenset(beyond)

    def _order(self, frame: _Frame) -> Order[S, O]:
        placed, values, path = [], [], frame.path
        while path is not None:
            index, value, path = path
            placed.append(self._waiting[index])
            values.append(cast("S", value))
        return Order(True, placed[::-1], values[::-1])

    def _stuck(self, frame: _Frame) -> Order[S, O]:
        stuck = [self._waiting[index] for index in self._next(frame)]
        return self._order(frame)._replace(found=False, stuck=stuck)
