"""The log as a feed: everything, once, in order, in whole appends, also beside writers that take no lock."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from itertools import pairwise
from typing import Any, LiteralString, TypeVar

import psycopg
import pytest

from aggregates.event import Event, RecordedEvent
from aggregates.seat import SeatHeld
from aggregates.stream import stream_id
from infrastructure import feed
from infrastructure.feed import PostgresFeed
from projections.feed import Unreadable, stream_id_of
from tests.aggregates.given import ANN, BEN
from tests.commands.sale import Sale
from tests.commands.steps import PRICE, inside, on_sale, pay, reserve
from tests.infrastructure.damage import NO_END, NO_EVENT, NO_TEXT, NO_TIME_ZONE
from tests.projections.tables import write_log

T = TypeVar("T")

END_FEEDS: LiteralString = """
    SELECT pg_terminate_backend(pid)
    FROM pg_stat_activity
    WHERE application_name = 'ticketing-feed' AND datname = current_database()
"""


UNKNOWN_TOPIC: LiteralString = """
    UPDATE ticketing.ticketing_events SET topic = 'seat.painted' WHERE notification_id = %s
"""

WRONG_PAYLOAD: LiteralString = """
    UPDATE ticketing.ticketing_events
    SET state = convert_to(replace(convert_from(state, 'UTF8'), '"user_id"', '"whose"'), 'UTF8')
    WHERE notification_id = %s
"""


@pytest.fixture
def events() -> Sequence[RecordedEvent]:
    """A short history; its last append is a payment, of seven events."""
    sale = Sale()
    sale.done(on_sale(), inside(BEN), inside(ANN, 2, balance=PRICE), reserve(ANN, 7), pay(ANN))
    return sale.log.events


def reading(dsn: str, read: Callable[[PostgresFeed], Awaitable[T]]) -> T:
    async def run() -> T:
        following = PostgresFeed(dsn)
        try:
            return await read(following)
        finally:
            await following.close()

    return asyncio.run(run())


def read_once(dsn: str, after: int, limit: int) -> Sequence[RecordedEvent]:
    return reading(dsn, lambda following: following.read(after, limit))


def test_an_empty_log_has_nothing_to_read(dsn: str) -> None:
    assert read_once(dsn, 0, 10) == []
    assert reading(dsn, PostgresFeed.last_position) == 0


def test_events_come_as_they_were_recorded(
    dsn: str, connection: psycopg.Connection[Any], events: Sequence[RecordedEvent]
) -> None:
    write_log(connection, events)

    assert read_once(dsn, 0, 1_000) == events
    assert read_once(dsn, 7, 1_000) == events[7:]
    assert read_once(dsn, len(events), 1_000) == []
    assert reading(dsn, PostgresFeed.last_position) == len(events)


@pytest.mark.parametrize("limit", range(7, 20))
def test_a_long_log_comes_in_whole_appends(
    dsn: str, connection: psycopg.Connection[Any], events: Sequence[RecordedEvent], limit: int
) -> None:
    write_log(connection, events)

    async def read_all(following: PostgresFeed) -> list[Sequence[RecordedEvent]]:
        batches: list[Sequence[RecordedEvent]] = []
        while batch := await following.read(batches[-1][-1].position if batches else 0, limit):
            batches.append(batch)
        return batches

    batches = reading(dsn, read_all)

    assert [event for batch in batches for event in batch] == events
    for batch, following in pairwise(batches):
        assert len(batch) <= limit
        assert batch[-1].recorded_at < following[0].recorded_at


def test_an_append_that_is_longer_than_the_limit_comes_in_parts(
    dsn: str, connection: psycopg.Connection[Any], events: Sequence[RecordedEvent]
) -> None:
    write_log(connection, events)

    assert events[-7].recorded_at == events[-1].recorded_at
    assert read_once(dsn, len(events) - 7, 4) == events[-7:-3]


def test_what_cannot_be_read_goes_with_the_append_before_it(
    dsn: str, connection: psycopg.Connection[Any], events: Sequence[RecordedEvent]
) -> None:
    write_log(connection, events)
    connection.execute(NO_EVENT, [len(events) - 1])

    assert read_once(dsn, 0, len(events) - 1) == events[:-7], "all of the payment is left for later"


def test_positions_that_were_rolled_back_are_passed_over(
    dsn: str, connection: psycopg.Connection[Any], events: Sequence[RecordedEvent]
) -> None:
    write_log(connection, [event for event in events if event.position not in (1, 5, 6)])

    assert [event.position for event in read_once(dsn, 0, 1_000)] == [
        event.position for event in events if event.position not in (1, 5, 6)
    ]


def test_what_stands_behind_an_append_under_way_waits_for_it(
    dsn: str,
    connection: psycopg.Connection[Any],
    events: Sequence[RecordedEvent],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(feed, "APPEND_LOOKS_MAX", 3)
    write_log(connection, events[:2])
    with psycopg.connect(dsn) as foreign_writer:
        write_log(foreign_writer, events[2:4])
        write_log(connection, events[4:])

        assert read_once(dsn, 0, 1_000) == events[:2]
        assert read_once(dsn, 2, 1_000) == []
        foreign_writer.commit()

    assert read_once(dsn, 2, 1_000) == events[2:]


def test_an_append_that_ends_while_the_feed_waits_is_not_missed(
    dsn: str,
    connection: psycopg.Connection[Any],
    events: Sequence[RecordedEvent],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(feed, "APPEND_LOOKS_MAX", 100_000)
    with psycopg.connect(dsn) as foreign_writer:
        write_log(foreign_writer, events[:6])
        write_log(connection, events[6:])

        async def read(following: PostgresFeed) -> Sequence[RecordedEvent]:
            waiting = asyncio.create_task(following.read(0, 1_000))
            await asyncio.sleep(feed.APPEND_LOOK_S)
            assert not waiting.done()
            foreign_writer.commit()
            return await waiting

        assert reading(dsn, read) == events


def test_what_is_appended_while_the_feed_waits_is_left_for_the_next_reading(
    dsn: str, connection: psycopg.Connection[Any], events: Sequence[RecordedEvent]
) -> None:
    write_log(connection, [event for event in events[:6] if event.position != 1])
    foreign_writer = psycopg.connect(dsn)

    class OvertakenFeed(PostgresFeed):
        async def _appends_have_ended(self) -> bool:
            ended = await super()._appends_have_ended()
            write_log(foreign_writer, events[6:8])
            write_log(connection, events[8:])
            return ended

    async def read() -> Sequence[RecordedEvent]:
        following = OvertakenFeed(dsn)
        try:
            return await following.read(0, 1_000)
        finally:
            await following.close()

    with foreign_writer:
        assert asyncio.run(read()) == events[1:6]


def test_a_lost_connection_is_told_once_and_made_anew(
    dsn: str, connection: psycopg.Connection[Any], events: Sequence[RecordedEvent]
) -> None:
    write_log(connection, events)

    async def read(following: PostgresFeed) -> Sequence[RecordedEvent]:
        await following.read(0, 10)
        connection.execute(END_FEEDS)
        with pytest.raises(psycopg.OperationalError):
            await following.read(0, 10)
        return await following.read(0, 1_000)

    assert reading(dsn, read) == events


@pytest.mark.parametrize(
    ("change", "meant", "reason"),
    [
        (UNKNOWN_TOPIC, None, "UnknownTopic: seat.painted"),
        (WRONG_PAYLOAD, SeatHeld, "ValidationError: "),
        (NO_EVENT, SeatHeld, "DecodeError: "),
        (NO_TEXT, SeatHeld, "UnicodeDecodeError: "),
        (NO_END, SeatHeld, "RecursionError: "),
        (NO_TIME_ZONE, SeatHeld, "ValidationError: "),
    ],
)
def test_what_cannot_be_read_comes_as_such_in_its_place(
    dsn: str,
    connection: psycopg.Connection[Any],
    events: Sequence[RecordedEvent],
    change: LiteralString,
    meant: type[Event] | None,
    reason: str,
) -> None:
    write_log(connection, events)
    (held,) = [event for event in events if isinstance(event.event, SeatHeld)]
    connection.execute(change, [held.position])

    read = read_once(dsn, 0, 1_000)

    unreadable = read[held.position - 1]
    assert isinstance(unreadable.event, Unreadable)
    assert unreadable.event.meant is meant
    assert unreadable.event.error.startswith(reason)
    assert stream_id_of(unreadable) == stream_id(held.stream)
    assert unreadable.stream in {held.stream, str(stream_id(held.stream))}
    assert (unreadable.position, unreadable.version) == (held.position, held.version)
    assert unreadable.recorded_at == held.recorded_at
    assert [event for event in read if event is not unreadable] == [
        event for event in events if event is not held
    ]


def test_events_are_read_at_chosen_positions(
    dsn: str, connection: psycopg.Connection[Any], events: Sequence[RecordedEvent]
) -> None:
    write_log(connection, events)

    assert reading(dsn, lambda following: following.read_at([9, 3, 1_000])) == [events[2], events[8]]
