"""The database's clock, as far as the answers give it away."""

import math
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from datetime import datetime
from itertools import accumulate, pairwise

from tests.histories.checker.operations import Operation
from tests.histories.checker.violation import Violation

DECIDED_AT = {"join": "issued_at", "reserve": "created_at", "pay": "paid_at", "refund": "refunded_at"}
"""Where an answer says when it was decided."""

DRIFT_S_MAX = 0.5
"""Two clocks of one machine drift apart by so much at most, while a history lasts."""


def seconds(moment: str | datetime) -> float:
    """A time of the database, in seconds."""
    return (datetime.fromisoformat(moment) if isinstance(moment, str) else moment).timestamp()


def decided_at(operation: Operation) -> float | None:
    """When it was decided, by the database's clock; None where the answer does not say."""
    field = DECIDED_AT.get(operation.kind)
    if field is None or not operation.is_done or (operation.kind, operation.call.status) == ("join", 200):
        return None
    return seconds(operation.view[field])


class DatabaseClock:
    """Between which moments of the recording a time of the database lies."""

    def __init__(self, operations: Iterable[Operation]) -> None:
        """Each answer that names its time bounds how far the two clocks are apart."""
        least, most = -math.inf, math.inf
        for operation in operations:
            at = decided_at(operation)
            if at is not None:
                least = max(least, at - operation.answered)
                most = min(most, at - operation.sent)
        self._least, self._most = min(least, most), max(least, most)
        self.apart_s = max(0.0, least - most)

    def earliest(self, at: float) -> float:
        """The database's clock showed `at` no earlier than then."""
        return at - self._most

    def latest(self, at: float) -> float:
        """The database's clock showed `at` no later than then."""
        return at - self._least

    def violations(self) -> list[Violation]:
        """One clock decides: the times in the answers agree with when the answers came."""
        if self.apart_s <= DRIFT_S_MAX:
            return []
        return [Violation("TIME", f"times in answers are off by {self.apart_s:.3f} s")]


class LogClock:
    """The same clock by Log-Position: between which positions of the log a time of the database lies."""

    def __init__(self, operations: Iterable[Operation]) -> None:
        """What is decided at one position is decided at one time, and what stands later no earlier."""
        told = sorted(
            (
                (operation.position, at, operation)
                for operation in operations
                if (at := decided_at(operation)) is not None
            ),
            key=lambda told: told[:2],
        )
        self._told = told
        self._positions = [float(position) for position, _, _ in told]
        self._times = list(accumulate((at for _, at, _ in told), max))

    def earliest(self, at: float) -> float:
        """Before this position the clock did not show `at`."""
        before = bisect_left(self._times, at)
        return self._positions[before - 1] if before else -math.inf

    def latest(self, at: float) -> float:
        """From this position on the clock showed `at` or later."""
        before = bisect_left(self._times, at)
        return self._positions[before] if before < len(self._positions) else math.inf

    def violations(self) -> Iterator[Violation]:
        """Recorded times never run backwards."""
        for (_, at, earlier), (_, then, later) in pairwise(self._told):
            if then < at:
                yield Violation(
                    "TIME", "decided later in the log, and earlier in time", [earlier.call, later.call]
                )
