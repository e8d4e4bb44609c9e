"""Attempts put together: what a client wanted once, however often it had to ask."""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import msgspec

from tests.histories.record import Call, History

PASSING = frozenset({"OVERLOADED", "TRY_AGAIN", "STORE_UNAVAILABLE", "READ_MODEL_BEHIND"})
"""Refusals that tell nothing of the request itself."""

BEFORE_THE_LOG = frozenset(
    {
        "ADMIN_KEY_REQUIRED",
        "BAD_REQUEST",
        "BODY_TOO_LARGE",
        "IDEMPOTENCY_KEY_REUSED",
        "INTERNAL_ERROR",
        "METHOD_NOT_ALLOWED",
        "NOT_FOUND",
        "TOKEN_INVALID",
        "TOKEN_MISSING",
        "VALIDATION_FAILED",
    }
)
"""Refusals for which nothing is read from the log, or that are no answer of their own."""


class Operation(NamedTuple):
    """One command, with the time between which it has its one place."""

    kind: str
    call: Call
    """The attempt that was answered; the first one where none was."""
    sent: float
    answered: float
    """Infinite where nobody was told: then it may have happened at any time, or never."""
    view: Any
    """The answer's body."""
    error: str | None

    @property
    def is_known(self) -> bool:
        """Whether anyone was told what became of it."""
        return self.answered < math.inf

    @property
    def is_done(self) -> bool:
        """Whether it was told to have been done."""
        return self.is_known and self.error is None

    @property
    def position(self) -> int:
        """The Log-Position of the answer."""
        return self.call.position or 0


def operations_of(history: History) -> list[Operation]:
    """Put together the commands of a history, in the order in which they were sent."""
    found: list[Operation] = []
    for attempts in requests_by_key(history.calls).values():
        found += _operations(attempts)
    for call in history.calls:
        if call.method != "GET" and call.key is None:
            found += _operations([call])
    return sorted(found, key=lambda operation: operation.sent)


def requests_by_key(calls: Iterable[Call]) -> dict[tuple[Any, ...], list[Call]]:
    """The attempts under each key of each caller, a list for each different request."""
    requests: defaultdict[tuple[Any, ...], list[Call]] = defaultdict(list)
    for call in calls:
        if call.method != "GET" and call.key is not None:
            body = msgspec.json.encode(call.body, order="deterministic")
            caller = call.user_id or "admin"
            requests[caller, call.key, call.method, call.path, call.token_id, body].append(call)
    return dict(requests)


def is_recorded(call: Call) -> bool:
    """Whether this answer must be kept for its key (rule I1)."""
    if call.status is None or call.error in PASSING | BEFORE_THE_LOG:
        return False
    return call.status < 400 or call.retry_after is None


def _operations(attempts: Sequence[Call]) -> list[Operation]:
    recorded = [call for call in attempts if is_recorded(call)]
    passing = [
        _operation(call, call.sent, [call])
        for call in attempts
        if call.status is not None and call.retry_after is not None and call.status >= 400
        if call.error not in PASSING | BEFORE_THE_LOG
    ]
    possible = [call for call in attempts if not _is_certainly_nothing(call)]
    if recorded:
        sent = min(call.sent for call in possible)
        return [*passing, _operation(min(recorded, key=_answered), sent, recorded)]
    unknown = [call for call in possible if not is_answered(call)]
    return [*passing, _operation(unknown[0], unknown[0].sent, ())] if unknown else passing


def _operation(call: Call, sent: float, answers: Sequence[Call]) -> Operation:
    answered = min(map(_answered, answers), default=math.inf)
    return Operation(call.kind, call, sent, answered, call.view, call.error)


def is_answered(call: Call) -> bool:
    """Whether the answer says what became of this request."""
    return call.status is not None and call.error not in PASSING | {"INTERNAL_ERROR"}


def _answered(call: Call) -> float:
    return math.inf if call.answered is None else call.answered


def _is_certainly_nothing(call: Call) -> bool:
    if call.never_sent:
        return True
    return call.error in PASSING | BEFORE_THE_LOG - {"INTERNAL_ERROR"} and not (
        call.error == "STORE_UNAVAILABLE" and (call.view or {}).get("outcome") == "UNKNOWN"
    )
