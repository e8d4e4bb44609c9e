"""The search for an order finds one exactly where trying all of them does."""

import math
from collections.abc import Iterator, Sequence
from itertools import combinations, permutations
from typing import NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.histories.checker.search import Placed, State, linearize


class Add(NamedTuple):
    """Adds to a counter, and tells what it then shows; not before, or not after, some moment."""

    amount: int
    told: int | None
    not_before: float = -math.inf
    before: float = math.inf


def step(state: State[int], add: Add) -> Iterator[State[int]]:
    total, now = state.value + add.amount, max(state.now, add.not_before)
    if add.told in {None, total} and now < add.before:
        yield State(total, now)


moments = st.integers(0, 8).map(float)
adds = st.builds(
    Add,
    st.integers(0, 2),
    st.one_of(st.none(), st.integers(0, 4)),
    st.one_of(st.just(-math.inf), moments),
    st.one_of(st.just(math.inf), moments),
)
calls = st.tuples(moments, st.one_of(st.integers(0, 4).map(float), st.just(math.inf)), adds).map(
    lambda call: Placed(call[0], call[0] + call[1], call[2])
)


def is_explained(order: Sequence[Placed[Add]]) -> bool:
    """Whether these can have happened in this order, each between call and answer."""
    total, now = 0, -math.inf
    for start, end, add in order:
        state = next(step(State(total, max(now, start)), add), None)
        if state is None or state.now > end:
            return False
        total, now = state
    return True


@settings(max_examples=300)
@given(st.lists(calls, max_size=5))
def test_an_order_is_found_where_there_is_one(operations: list[Placed[Add]]) -> None:
    required = [one for one in operations if one.end < math.inf]
    optional = [one for one in operations if one.end == math.inf]
    there_is_one = any(
        is_explained(order)
        for count in range(len(optional) + 1)
        for chosen in combinations(optional, count)
        for order in permutations([*required, *chosen])
    )
    found = linearize(operations, 0, step)
    assert found.found == there_is_one
    assert not found.given_up
    if found.found:
        assert is_explained(found.placed)
        assert len([one for one in found.placed if one.end < math.inf]) == len(required)


def test_what_nobody_can_explain_is_shown_with_what_comes_before_it() -> None:
    fine, wrong = Placed(0.0, 1.0, Add(1, 1)), Placed(2.0, 3.0, Add(1, 5))
    order = linearize([wrong, fine], 0, step)
    assert (order.found, order.placed, order.stuck) == (False, [fine], [wrong])
