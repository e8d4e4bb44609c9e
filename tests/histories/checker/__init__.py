"""Holds a whole history against the rules of domain.md and the promises of api.md.

Pure: it reads nothing but the calls, and shares nothing with what it checks.
"""

from collections.abc import Iterator

from tests.histories.checker import (
    contract,
    positions,
    queue,
    records,
    repeats,
    sales,
    seat_maps,
    seats,
    wallets,
)
from tests.histories.checker.clock import DatabaseClock, LogClock
from tests.histories.checker.operations import operations_of
from tests.histories.checker.violation import Violation
from tests.histories.record import History

__all__ = ["Violation", "check"]


def check(history: History) -> list[Violation]:
    """Return everything that no order of events under the rules explains."""
    return list(_violations(history))


def _violations(history: History) -> Iterator[Violation]:
    operations = operations_of(history)
    clock, log_clock = DatabaseClock(operations), LogClock(operations)
    yield from contract.violations(history)
    yield from clock.violations()
    yield from log_clock.violations()
    yield from repeats.violations(history)
    yield from positions.violations(history, operations)
    yield from queue.violations(history, operations, clock)
    yield from wallets.violations(history, operations, clock)
    yield from sales.violations(operations)
    yield from records.violations(history, operations, clock)
    by_performance = seats.seat_histories(operations, clock)
    yield from seats.violations(by_performance, clock)
    yield from seats.position_violations(by_performance, log_clock)
    yield from seat_maps.violations(history, by_performance, clock)
