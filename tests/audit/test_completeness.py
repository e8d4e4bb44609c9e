"""Nothing in a log can be changed, left out or told twice unnoticed, but for what is listed here."""

from collections.abc import Iterator
from copy import copy
from datetime import datetime, timedelta
from typing import Any

import pytest

from audit.replay import READINGS, Replay
from tests.audit.crowd import Crowd
from tests.audit.log_builder import LogBuilder, StoredEvent, StoredRow
from tests.audit.sales import a_sale_of_all_kinds, a_strict_sale

LEAVE_NO_TRACE = {
    "wallet.charged",  # unless it was spent
    "token.cancelled",  # unless the gate has come by
    "queue.seats_withdrawn",
    "queue.paused",
    "concert.sales_closed",
    "concert.policy_changed",
}

SAY_NOTHING_NEW = {
    "wallet.charged",
    "concert.policy_changed",
    "concert.sales_opened",
    "concert.sales_closed",
}

FREE = {
    "concert.announced": {"title", "description", "category", "venue", "time_zone", "policy"},
    "concert.policy_changed": {"policy"},
    "concert.performance_scheduled": {"end_time", "starts_at"},
    "wallet.charged": {"amount"},
    "token.issued": {"token_id"},  # of a token that never held a seat
    "token.cancelled": {"reason"},
    "token.seats_released": {"reason"},
    "seat.hold_released": {"reason"},
    "reservation.cancelled": {"reason"},
}
"""What an event is free to say."""


def sales() -> list[LogBuilder]:
    return [a_sale_of_all_kinds(), a_strict_sale()]


def a_crowd() -> LogBuilder:
    log = LogBuilder()
    log.events = [event for written in Crowd(log, buyers=30).concerts(1) for event in written]
    return log


def is_noticed(rows: list[StoredRow]) -> bool:
    replay = Replay()
    replay.apply_all(rows)
    replay.close()
    return bool(replay.books.breaches.count)


def test_a1_between_them_these_sales_record_every_event_there_is() -> None:
    recorded = {event.topic for log in sales() for event in log.events}
    assert recorded == set(READINGS)
    assert not any(is_noticed(log.rows()) for log in sales())


@pytest.mark.parametrize("log", [a_crowd(), *sales()], ids=["crowd", "all kinds", "strict"])
def test_a1_no_event_can_be_left_out_unnoticed(log: LogBuilder) -> None:
    unnoticed = set()
    for left_out in log.events:
        rows = [event.row() for event in _moved(log.events, left_out, by=-1) if event is not left_out]
        if not is_noticed(rows):
            unnoticed.add(left_out.topic)
    assert unnoticed <= LEAVE_NO_TRACE


@pytest.mark.parametrize("log", [a_crowd(), *sales()], ids=["crowd", "all kinds", "strict"])
def test_a1_no_event_can_be_told_twice_unnoticed(log: LogBuilder) -> None:
    unnoticed = set()
    for told_twice in log.events:
        again = copy(told_twice)
        again.version += 1
        rows: list[StoredRow] = []
        for event in _moved(log.events, told_twice, by=1):
            rows += [event.row(), again.row()] if event is told_twice else [event.row()]
        in_order = [(position, *row[1:]) for position, row in enumerate(rows, start=1)]
        if not is_noticed(in_order):
            unnoticed.add(told_twice.topic)
    assert unnoticed <= SAY_NOTHING_NEW


@pytest.mark.parametrize("log", sales(), ids=["all kinds", "strict"])
def test_a1_nothing_that_an_event_tells_can_be_changed_unnoticed(log: LogBuilder) -> None:
    rows = log.rows()
    unnoticed = []
    for index, event in enumerate(log.events):
        for member, value in event.payload.items():
            changed = copy(event)
            changed.payload = {**event.payload, member: _another(value)}
            if not is_noticed([*rows[:index], changed.row(), *rows[index + 1 :]]):
                unnoticed.append((event.topic, member))
    assert [(topic, member) for topic, member in unnoticed if member not in FREE.get(topic, ())] == []


def _moved(events: list[StoredEvent], since: StoredEvent, by: int) -> Iterator[StoredEvent]:
    """The events, with the versions of those moved that come after one of the same stream."""
    for event in events:
        if event.stream == since.stream and event.version > since.version:
            moved = copy(event)
            moved.version += by
            yield moved
        else:
            yield event


def _another(value: Any) -> Any:
    match value:
        case bool():
            return not value
        case int():
            return value + 1
        case datetime():
            return value + timedelta(seconds=1)
        case str():
            return value[:-1] + ("0" if value[-1:] != "0" else "1")
        case (*first, int(last)):
            return (*first, last + 1)
        case dict():
            return {**value, "2026-05-01T10:00": 1}
        case _:
            return None
