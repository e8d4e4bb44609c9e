"""L1, L2, S4, S5: nobody buys what is not on sale, or more than one may."""

import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence

from tests.histories.checker.clock import decided_at, seconds
from tests.histories.checker.operations import Operation
from tests.histories.checker.violation import Violation

ENDS_A_HOLD = frozenset({"leave", "pay", "release"})


def violations(operations: Sequence[Operation]) -> Iterator[Violation]:
    """Look into each sale."""
    by_concert: defaultdict[str | None, list[Operation]] = defaultdict(list)
    for operation in operations:
        is_refund = operation.kind == "refund" and operation.is_done
        code = operation.view["concert_code"] if is_refund else operation.call.code
        by_concert[code].append(operation)
    may_have_less = {operation.call.user_id for operation in operations if _may_be_refund(operation)}
    for of_concert in by_concert.values():
        yield from _closed_violations(of_concert)
        yield from _begun_violations(of_concert)
        yield from _limit_violations(of_concert, may_have_less)
        yield from _open_violations(of_concert)


def _closed_violations(operations: Iterable[Operation]) -> Iterator[Violation]:
    """L1: from closing until opening there is no joining and no reserving."""
    switches = [operation for operation in operations if operation.kind in {"open", "close"}]
    closings = [switch for switch in switches if switch.kind == "close" and switch.is_done]
    openings = [switch for switch in switches if switch.kind == "open" and switch.error is None]
    for operation in operations:
        if operation.kind not in {"join", "reserve"} or operation.call.status != 201:
            continue
        for closing in closings:
            may_be_open = any(
                opening.answered > closing.sent and opening.sent < operation.answered for opening in openings
            )
            if closing.answered < operation.sent and not may_be_open:
                yield Violation("L1", "sold while sales were closed", [closing.call, operation.call])


def _begun_violations(operations: Iterable[Operation]) -> Iterator[Violation]:
    """L2: nobody reserves what has begun."""
    scheduled = {
        (operation.view["date"], operation.view["start_time"]): operation
        for operation in operations
        if operation.kind == "schedule" and operation.is_done
    }
    for operation in operations:
        at = decided_at(operation) if operation.kind == "reserve" else None
        body = operation.call.body or {}
        performance = scheduled.get((body.get("date"), body.get("start_time")))
        if at is not None and performance is not None and seconds(performance.view["starts_at"]) <= at:
            yield Violation("L2", "reserved after it had begun", [performance.call, operation.call])


def _limit_violations(
    operations: Iterable[Operation], may_have_less: Collection[str | None]
) -> Iterator[Violation]:
    """S4: nobody has bought more seats at once than any policy of the concert has allowed."""
    most = _most_seats(operations)
    bought: defaultdict[str | None, list[Operation]] = defaultdict(list)
    for operation in operations:
        user_id = operation.call.user_id
        if operation.kind in {"pay", "refund"} and operation.is_done and user_id not in may_have_less:
            bought[operation.call.user_id].append(operation)
    for user_id, of_user in bought.items():
        seats = 0
        for operation in sorted(of_user, key=lambda operation: operation.position):
            count = len(operation.view["seat_numbers"])
            seats += count if operation.kind == "pay" else -count
            if seats > most:
                calls = [operation.call for operation in of_user]
                yield Violation("S4", f"{seats} seats bought by {user_id}", calls)
                break


def _may_be_refund(operation: Operation) -> bool:
    return operation.kind == "refund" and not operation.is_known


def _most_seats(operations: Iterable[Operation]) -> float:
    most = 0
    for operation in operations:
        body = operation.call.body or {}
        policy = body.get("policy") if operation.kind == "announce" else body
        if operation.kind in {"announce", "change policy"} and operation.error is None and policy:
            most = max(most, policy.get("max_seats_per_user", 0))
    return most or math.inf


def _open_violations(operations: Iterable[Operation]) -> Iterator[Violation]:
    """S5: a token opens no reservation while it has one."""
    opened: defaultdict[str | None, list[tuple[float, Operation]]] = defaultdict(list)
    endings: defaultdict[str | None, list[Operation]] = defaultdict(list)
    for operation in operations:
        at = decided_at(operation)
        if operation.kind == "reserve" and at is not None:
            opened[operation.call.token_id].append((at, operation))
        elif operation.kind in ENDS_A_HOLD:
            endings[operation.call.token_id].append(operation)
    for token_id, of_token in opened.items():
        of_token.sort(key=lambda one: one[0])
        for index, (at, second) in enumerate(of_token[1:]):
            first = of_token[index][1]
            may_have_ended = any(
                ending.answered > first.sent and ending.sent < second.answered for ending in endings[token_id]
            )
            if at < seconds(first.view["hold_expires_at"]) and not may_have_ended:
                yield Violation("S5", "two open reservations of one token", [first.call, second.call])
