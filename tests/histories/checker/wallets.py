"""W1, P1–P4: every balance that anyone was told is explained by one order of charges, debits and refunds."""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from tests.histories.checker.clock import DatabaseClock, seconds
from tests.histories.checker.operations import Operation
from tests.histories.checker.search import Placed, State, linearize
from tests.histories.checker.violation import Violation
from tests.histories.record import Call, History

TYPES = {"charge": "CHARGED", "pay": "DEBITED", "refund": "REFUNDED"}


class Movement(NamedTuple):
    """A line of a wallet's entries."""

    position: int
    type: str
    amount: int
    balance: int
    payment_id: str | None
    recorded_at: str


def violations(
    history: History, operations: Sequence[Operation], clock: DatabaseClock
) -> Iterator[Violation]:
    """Look into each wallet."""
    by_user: defaultdict[str, list[Operation]] = defaultdict(list)
    for operation in operations:
        if operation.kind in {*TYPES, "reserve"} and operation.call.user_id is not None:
            by_user[operation.call.user_id].append(operation)
    entries, looks = _answered(history, "entries"), _answered(history, "wallet")
    for user_id, of_user in by_user.items():
        yield from _order_violations(user_id, of_user)
    for user_id, pages in entries.items():
        movements: dict[int, Movement] = {}
        yield from _page_violations(user_id, pages, movements)
        told = [movements[position] for position in sorted(movements)]
        yield from _sum_violations(user_id, told, pages)
        moving = [operation for operation in by_user.get(user_id, []) if operation.kind in TYPES]
        yield from _operation_violations(user_id, told, moving, pages)
        yield from _look_violations(user_id, told, looks[user_id], clock)


def _order_violations(user_id: str, operations: Sequence[Operation]) -> Iterator[Violation]:
    """Search for an order of all that moved the wallet, or told its balance."""
    prices = {operation.view["amount"] for operation in operations if operation.is_done}

    def step(state: State[int], operation: Operation) -> Iterator[State[int]]:
        return _after(state, operation, prices)

    placed = [
        Placed(operation.sent, operation.answered, operation)
        for operation in operations
        if operation.kind in TYPES
        if operation.is_done or not operation.is_known or operation.error == "INSUFFICIENT_BALANCE"
    ]
    order = linearize(placed, 0, step)
    if not order.found and not order.given_up:
        calls = [one.operation.call for one in [*order.placed[-4:], *order.stuck]]
        yield Violation("W1", f"no order explains the balances of {user_id}", calls)


def _after(state: State[int], operation: Operation, prices: Iterable[int]) -> Iterator[State[int]]:
    balance, now = state
    if operation.error == "INSUFFICIENT_BALANCE":
        if operation.view["balance"] == balance < operation.view["amount"]:
            yield state
    elif operation.is_known:
        after = balance + _signed(operation, operation.view["amount"])
        if after == operation.view["balance"] >= 0:
            yield State(after, now)
    else:
        amounts = [operation.call.body["amount"]] if operation.kind == "charge" else prices
        for after in {balance + _signed(operation, amount) for amount in amounts}:
            if after >= 0:
                yield State(after, now)


def _signed(operation: Operation, amount: int) -> int:
    return -amount if operation.kind == "pay" else amount


def _answered(history: History, kind: str) -> defaultdict[str, list[Call]]:
    pages: defaultdict[str, list[Call]] = defaultdict(list)
    for call in history.calls:
        if call.kind == kind and call.status == 200 and call.user_id is not None:
            pages[call.user_id].append(call)
    return pages


def _page_violations(
    user_id: str, pages: Iterable[Call], movements: dict[int, Movement]
) -> Iterator[Violation]:
    """What was recorded stays as it is, on whatever page it stands."""
    for call in pages:
        for item in call.view["items"]:
            movement = Movement(**item)
            if movements.setdefault(movement.position, movement) != movement:
                yield Violation("W1", f"an entry of {user_id} has changed: {movement}", [call])


def _sum_violations(user_id: str, told: Iterable[Movement], pages: Sequence[Call]) -> Iterator[Violation]:
    balance = 0
    for movement in told:
        balance += -movement.amount if movement.type == "DEBITED" else movement.amount
        if movement.balance != balance or balance < 0:
            yield Violation("W1", f"the entries of {user_id} do not add up at {movement}", pages)
            return


def _operation_violations(
    user_id: str, told: Sequence[Movement], operations: Sequence[Operation], pages: Sequence[Call]
) -> Iterator[Violation]:
    """Every entry is what one command did, and every command that was answered has its entry."""
    if not _are_whole(pages):
        return
    reached = max(call.position or 0 for call in pages)
    left = list(told)
    for operation in operations:
        if not operation.is_done or operation.position > reached:
            continue
        found = next((movement for movement in left if _is_of(movement, operation)), None)
        if found is None:
            yield Violation("W1", f"an answered {operation.kind} of {user_id} has no entry", [operation.call])
        else:
            left.remove(found)
    for movement in left:
        if not any(_may_be_of(movement, operation) for operation in operations if not operation.is_known):
            yield Violation("W1", f"nobody asked for {movement} of {user_id}", pages)


def _are_whole(pages: Sequence[Call]) -> bool:
    """Whether the pages go to the end of the list."""
    return any(call.view["next"] is None for call in pages)


def _is_of(movement: Movement, operation: Operation) -> bool:
    view = operation.view
    return (
        movement[1:4] == (TYPES[operation.kind], view["amount"], view["balance"])
        and (operation.kind == "charge" or movement.payment_id == view["payment_id"])
        and movement.position <= operation.position
    )


def _may_be_of(movement: Movement, operation: Operation) -> bool:
    if operation.kind == "charge" and operation.call.body["amount"] != movement.amount:
        return False
    return movement.type == TYPES[operation.kind]


def _look_violations(
    user_id: str, told: Sequence[Movement], looks: Iterable[Call], clock: DatabaseClock
) -> Iterator[Violation]:
    """A balance that was read is that of a moment, and not of one before the position that it names."""
    positions = [movement.position for movement in told]
    for call in looks:
        reached = bisect_right(positions, call.position or 0)
        before = told[reached - 1].balance if reached else 0
        later = {
            movement.balance
            for movement in told[reached:]
            if clock.earliest(seconds(movement.recorded_at)) <= (call.answered or 0)
        }
        if call.view["balance"] not in {before, *later}:
            yield Violation("W1", f"{user_id} never had this balance then", [call])
