"""What was recorded in the richest of many random histories, for tests that need real logs."""

from collections.abc import Sequence
from functools import cache
from typing import ClassVar

from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from aggregates.event import RecordedEvent
from tests.properties.machine import AnyHistory

EXAMPLES, STEPS = 30, 100


class Kept(AnyHistory):
    """Keeps what was recorded."""

    logs: ClassVar[list[Sequence[RecordedEvent]]] = []

    def teardown(self) -> None:
        super().teardown()
        if hasattr(self, "real"):
            self.logs.append(self.real.log.events)


@cache
def eventful_histories(count: int) -> Sequence[Sequence[RecordedEvent]]:
    """Return so many logs, the same in every run: together they hold as many kinds of events as can be."""
    Kept.logs.clear()
    examples = settings(
        max_examples=EXAMPLES, stateful_step_count=STEPS, derandomize=True, database=None, deadline=None
    )
    run_state_machine_as_test(Kept, settings=examples)
    told: set[str] = set()
    chosen: list[Sequence[RecordedEvent]] = []
    while len(chosen) < count:
        next_one = max(Kept.logs, key=lambda events: (len(_topics(events) - told), len(events)))
        told |= _topics(next_one)
        chosen.append(next_one)
        Kept.logs.remove(next_one)
    return chosen


def _topics(events: Sequence[RecordedEvent]) -> set[str]:
    return {event.event.topic for event in events}
