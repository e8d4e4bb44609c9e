"""API: Log-Positions agree with real time, and nobody reads behind what they asked for."""

from collections.abc import Iterator, Sequence

from tests.histories.checker.operations import Operation
from tests.histories.checker.violation import Violation
from tests.histories.record import History

DECIDED_IN_THE_LOG = frozenset(
    {
        "CHARGE_NOT_ALLOWED_WHILE_HOLDING",
        "HOLD_EXPIRED",
        "INSUFFICIENT_BALANCE",
        "RESERVATION_ALREADY_OPEN",
        "RESERVATION_NOT_OPEN",
        "SALES_NOT_OPEN",
        "SEAT_ALREADY_HELD",
        "SEAT_ALREADY_SOLD",
        "SEAT_LIMIT_EXCEEDED",
        "TOKEN_ENDED",
        "TOKEN_EXPIRED",
        "TOKEN_NOT_ACTIVE",
    }
)


def violations(history: History, operations: Sequence[Operation]) -> Iterator[Violation]:
    """Look at every answer's position."""
    yield from _order_violations(operations)
    for call in history.calls:
        is_read = call.method == "GET" and call.status in {200, 304}
        if is_read and call.position is not None and call.position < call.min_position:
            yield Violation("API", "a read reflects less than its Min-Log-Position", [call])


def _order_violations(operations: Sequence[Operation]) -> Iterator[Violation]:
    """What was answered before another was sent stands before it in the log."""
    decided = [
        operation
        for operation in operations
        if operation.is_known and (operation.is_done or operation.error in DECIDED_IN_THE_LOG)
    ]
    ends = sorted((one for one in decided if _has_recorded(one)), key=lambda one: one.answered)
    last, passed = None, 0
    for operation in sorted(decided, key=lambda one: one.sent):
        while passed < len(ends) and ends[passed].answered < operation.sent:
            if last is None or ends[passed].position > last.position:
                last = ends[passed]
            passed += 1
        if last is None or last.position < operation.position:
            continue
        if last.position > operation.position or _has_recorded(operation):
            yield Violation(
                "API", "asked after another's answer, and stands before it", [last.call, operation.call]
            )


def _has_recorded(operation: Operation) -> bool:
    """Whether it certainly recorded events of its own."""
    if operation.kind in {"join", "register"}:
        return operation.call.status == 201
    if operation.kind in {"charge", "leave", "pay", "refund", "release", "reserve"}:
        return operation.is_done or operation.error == "INSUFFICIENT_BALANCE"
    return operation.call.status == 201
