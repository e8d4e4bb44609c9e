"""I1, I2: a repeat is answered as the first time, byte for byte; another request under the key is not."""

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from tests.histories.checker.operations import is_recorded, requests_by_key
from tests.histories.checker.violation import Violation
from tests.histories.record import Call, History


def violations(history: History) -> Iterator[Violation]:
    """Compare all answers under each key."""
    taken: defaultdict[Any, list[Call]] = defaultdict(list)
    for (caller, key, *_), attempts in requests_by_key(history.calls).items():
        recorded = [call for call in attempts if is_recorded(call)]
        if len({(call.status, call.answer, call.position) for call in recorded}) > 1:
            yield Violation("I1", "a repeat was answered otherwise", recorded)
        if recorded:
            taken[caller, key].append(recorded[0])
    for different in taken.values():
        if len(different) > 1:
            yield Violation("I2", "one key was good for two requests", different)
