"""The relay, with a real log and a real broker: everything, in order, again as it was where it must be."""

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from itertools import pairwise
from typing import Any, LiteralString, Self
from uuid import uuid4

import psycopg
import pytest
from kafka.admin import ConfigResource, ConfigResourceType, KafkaAdminClient
from structlog.testing import capture_logs

from aggregates.concert import ConcertAnnounced
from aggregates.event import RecordedEvent
from aggregates.seat import SeatHeld
from aggregates.stream import stream_id
from commands.ports import LogReplaced
from infrastructure import cluster, publisher, relay, topic
from infrastructure.messages import received
from infrastructure.relay import Relay
from infrastructure.settings import Settings
from infrastructure.unpublished import Deposed, Unpublished
from projections.feed import POLL_MAX_S
from projections.partitions import partition_of
from tests.aggregates.given import ANN, BEN
from tests.asynchronous import asynchronous, until
from tests.commands.sale import Sale
from tests.commands.steps import PRICE, inside, on_sale, pay, reserve
from tests.infrastructure.topic_reader import Found, on_topic
from tests.kafka.broker import Broker
from tests.projections.tables import write_log

PARTITIONS = 3

EPOCH: LiteralString = "SELECT epoch::text FROM ticketing.log_epochs ORDER BY number DESC LIMIT 1"

CHECKPOINT: LiteralString = "SELECT position FROM ticketing.topic"

LAST_POSITIONS: LiteralString = """
    SELECT partition, last_position FROM ticketing.topic_partitions ORDER BY partition
"""

END_RELAYS: LiteralString = """
    SELECT pg_terminate_backend(pid)
    FROM pg_stat_activity
    WHERE application_name = 'ticketing-relay' AND datname = current_database()
"""


@pytest.fixture
def events() -> Sequence[RecordedEvent]:
    """A short history of a concert and two wallets."""
    sale = Sale()
    sale.done(on_sale(), inside(BEN), inside(ANN, 2, balance=PRICE), reserve(ANN, 7), pay(ANN))
    return sale.log.events


@pytest.fixture
def settings(dsn: str, kafka: str, topic_name: str) -> Settings:
    return registered(dsn, kafka, topic_name)


def registered(dsn: str, kafka: str, topic_name: str) -> Settings:
    """A log whose topic is registered, and not made yet."""
    settings = Settings(kafka=(kafka,), kafka_topic=topic_name, kafka_partitions=PARTITIONS)
    topic.register(dsn, settings)
    return settings


NOTICED_WITHIN_S = 8.0
"""A deleted topic is looked for before a batch is given up."""


@asynccontextmanager
async def running(dsn: str, settings: Settings, **options: Any) -> AsyncIterator[Relay]:
    """A relay that leads, at work."""
    leading = Relay(dsn, settings, lambda: True, **options)
    stop = asyncio.Event()
    working = asyncio.create_task(leading.run(stop))
    try:
        yield leading
    finally:
        stop.set()
        await asyncio.wait([working])
        working.result()


async def relayed(dsn: str, settings: Settings, position: int, **options: Any) -> Relay:
    """Let a relay publish the log up to there."""
    async with running(dsn, settings, **options) as leading:
        await until(lambda: leading.standing.position >= position)
    return leading


def has_come_to(leading: Relay, position: int) -> bool:
    return leading.standing.position == position


def kafka_of(settings: Settings) -> str:
    return settings.required_kafka[0]


def checkpoint(connection: psycopg.Connection[Any]) -> int:
    ((position,),) = connection.execute(CHECKPOINT).fetchall()
    return int(position)


def comparable(message: Found) -> Found:
    return message._replace(headers=tuple(message.headers))


def by_partition(messages: Iterable[Found]) -> dict[int, list[Found]]:
    found = defaultdict(list)
    for one in messages:
        found[one.partition].append(one)
    return found


def assert_each_partition_is_in_order_without_a_hole(messages: Sequence[Found]) -> None:
    """Repeats, which are as they were, count once."""
    for of_partition in by_partition(dict.fromkeys(map(comparable, messages))).values():
        assert of_partition[0].previous_position == 0
        for before, after in pairwise(of_partition):
            assert after.previous_position == before.position


@pytest.mark.parametrize("batch_events_max", [5_000, 8])
@asynchronous
async def test_everything_stands_on_the_topic_in_the_order_of_the_log(
    dsn: str,
    connection: psycopg.Connection[Any],
    settings: Settings,
    events: Sequence[RecordedEvent],
    batch_events_max: int,
) -> None:
    write_log(connection, events)

    leading = await relayed(dsn, settings, len(events), batch_events_max=batch_events_max)

    messages = on_topic(kafka_of(settings), settings.kafka_topic)
    ((epoch,),) = connection.execute(EPOCH).fetchall()
    read = [received(one.value, one.headers) for one in messages]
    assert [one.recorded for one in sorted(read, key=lambda one: one.position)] == events
    assert {one.epoch for one in read} == {epoch}
    for one in messages:
        assert one.partition == partition_of(one.key.decode(), PARTITIONS)
    assert_each_partition_is_in_order_without_a_hole(messages)
    assert checkpoint(connection) == len(events)
    last = {partition: of_it[-1].position for partition, of_it in by_partition(messages).items()}
    assert dict(connection.execute(LAST_POSITIONS).fetchall()) == {0: 0, 1: 0, 2: 0} | last
    assert (leading.standing.published, leading.standing.failures) == (len(events), 0)


@asynchronous
async def test_what_is_appended_later_follows(
    dsn: str, connection: psycopg.Connection[Any], settings: Settings, events: Sequence[RecordedEvent]
) -> None:
    async with running(dsn, settings) as leading:
        for event in events:
            write_log(connection, [event])
            await until(partial(has_come_to, leading, event.position))
    messages = on_topic(kafka_of(settings), settings.kafka_topic)
    assert_each_partition_is_in_order_without_a_hole(messages)
    assert len(messages) == len(events)


@asynchronous
async def test_what_was_published_before_a_crash_comes_again_as_it_was(
    dsn: str, connection: psycopg.Connection[Any], settings: Settings, events: Sequence[RecordedEvent]
) -> None:
    write_log(connection, events)
    await relayed(dsn, settings, len(events))
    connection.execute("UPDATE ticketing.topic SET position = 0")
    connection.execute("UPDATE ticketing.topic_partitions SET last_position = 0")

    await relayed(dsn, settings, len(events))

    messages = on_topic(kafka_of(settings), settings.kafka_topic)
    copies = Counter((one.partition, one.key, one.value, tuple(one.headers)) for one in messages)
    assert set(copies.values()) == {2}
    assert len({one.header("ce_id") for one in messages}) == len(copies) == len(events)


@asynchronous
async def test_a_message_says_in_which_epoch_its_event_was_recorded(
    dsn: str, connection: psycopg.Connection[Any], settings: Settings, events: Sequence[RecordedEvent]
) -> None:
    write_log(connection, events)
    later = str(uuid4())
    connection.execute(
        """
        INSERT INTO ticketing.log_epochs (number, epoch, after_position, first_position, whereabouts)
        VALUES (2, %s, 4, 5, '{}')
        """,
        [later],
    )

    await relayed(dsn, settings, len(events))

    messages = on_topic(kafka_of(settings), settings.kafka_topic)
    of_later = [one.position for one in messages if one.header("ce_epoch").decode() == later]
    assert sorted(of_later) == list(range(5, len(events) + 1))
    assert all(one.header("ce_id").startswith(one.header("ce_epoch") + b"/") for one in messages)


@asynchronous
async def test_what_is_no_event_goes_where_its_stream_goes(
    dsn: str, connection: psycopg.Connection[Any], settings: Settings, events: Sequence[RecordedEvent]
) -> None:
    write_log(connection, events)
    announced, scheduled = (
        events[0],
        next(one for one in events[1:] if one.stream == events[0].stream and one.version == 2),
    )
    assert isinstance(announced.event, ConcertAnnounced)
    connection.execute(
        "UPDATE ticketing.ticketing_events SET state = 'nothing' WHERE notification_id = %s",
        [scheduled.position],
    )

    await relayed(dsn, settings, len(events))

    messages = on_topic(kafka_of(settings), settings.kafka_topic)
    (stray,) = [one for one in messages if one.position == scheduled.position]
    assert (stray.key.decode(), stray.value) == (announced.partition_key, b"nothing")
    assert stray.header("ce_subject").decode() == str(stream_id(announced.stream))
    assert_each_partition_is_in_order_without_a_hole(messages)


@asynchronous
async def test_a_relay_that_was_taken_for_dead_notes_nothing(
    dsn: str, connection: psycopg.Connection[Any], settings: Settings, events: Sequence[RecordedEvent]
) -> None:
    write_log(connection, events)
    late = await Unpublished.open(dsn, settings)
    messages = await late.messages(await late.read(8))
    await relayed(dsn, settings, len(events))
    noted = connection.execute(LAST_POSITIONS).fetchall()

    with pytest.raises(Deposed):
        await late.move(messages)

    await late.close()
    assert checkpoint(connection) == len(events)
    assert connection.execute(LAST_POSITIONS).fetchall() == noted


@asynchronous
async def test_a_relay_whose_checkpoint_was_moved_begins_anew(
    dsn: str, connection: psycopg.Connection[Any], settings: Settings, events: Sequence[RecordedEvent]
) -> None:
    async with running(dsn, settings) as leading:
        write_log(connection, events[:4])
        await until(lambda: leading.standing.position == 4)
        connection.execute("UPDATE ticketing.topic SET position = 2")
        write_log(connection, events[4:])
        await until(lambda: leading.standing.position == len(events))
    assert leading.standing.failures == 1
    assert checkpoint(connection) == len(events)


@asynchronous
async def test_a_lost_database_is_found_again(
    dsn: str, connection: psycopg.Connection[Any], settings: Settings, events: Sequence[RecordedEvent]
) -> None:
    async with running(dsn, settings) as leading:
        write_log(connection, events[:4])
        await until(lambda: leading.standing.position == 4)
        connection.execute(END_RELAYS)
        write_log(connection, events[4:])
        await until(lambda: leading.standing.position == len(events))
    messages = on_topic(kafka_of(settings), settings.kafka_topic)
    assert {one.position for one in messages} == {event.position for event in events}
    assert_each_partition_is_in_order_without_a_hole(messages)


@asynchronous
async def test_a_log_that_has_moved_ends_the_process(
    dsn: str, connection: psycopg.Connection[Any], settings: Settings
) -> None:
    connection.execute("""UPDATE ticketing.log_epochs SET whereabouts = '{"database": 1}'""")
    with pytest.raises(LogReplaced):
        await Relay(dsn, settings, lambda: True).run(asyncio.Event())


@asynchronous
async def test_who_does_not_lead_publishes_nothing(
    dsn: str, connection: psycopg.Connection[Any], settings: Settings, events: Sequence[RecordedEvent]
) -> None:
    write_log(connection, events)
    asked: list[bool] = []

    def leads() -> bool:
        asked.append(False)
        return asked[-1]

    standing_by, stop = Relay(dsn, settings, leads), asyncio.Event()
    working = asyncio.create_task(standing_by.run(stop))
    await until(lambda: len(asked) > 3 or standing_by.standing.published)
    stop.set()
    await working
    assert on_topic(kafka_of(settings), settings.kafka_topic) == []
    assert checkpoint(connection) == 0


@asynchronous
async def test_a_topic_that_is_deleted_is_made_anew_and_goes_on(
    dsn: str,
    connection: psycopg.Connection[Any],
    settings: Settings,
    events: Sequence[RecordedEvent],
) -> None:
    async with running(dsn, settings) as leading:
        write_log(connection, events[:4])
        await until(lambda: leading.standing.position == 4)
        await asyncio.to_thread(delete_topic, kafka_of(settings), settings.kafka_topic)
        write_log(connection, events[4:])
        await until(lambda: leading.standing.position == len(events), NOTICED_WITHIN_S)
    messages = on_topic(kafka_of(settings), settings.kafka_topic)
    assert {one.position for one in messages} == {event.position for event in events[4:]}
    await asyncio.to_thread(cluster.check_topic, settings)


@asynchronous
async def test_a_message_that_is_too_large_holds_up_what_follows_and_is_told(
    dsn: str,
    connection: psycopg.Connection[Any],
    settings: Settings,
    events: Sequence[RecordedEvent],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(relay, "REST_MIN_S", 0.01)
    monkeypatch.setattr(relay, "REST_MAX_S", 0.05)
    await asyncio.to_thread(cluster.ensure_topic, settings)
    (largest,) = [event for event in events if isinstance(event.event, SeatHeld)]
    with Limit(settings) as limit:
        grow(connection, events, largest.position)
        with capture_logs() as logs:
            async with running(dsn, settings) as leading:
                await until(lambda: leading.standing.failures > 3)
                assert leading.standing.failing == largest.position
                assert "MessageSizeTooLargeError" in leading.standing.error
                assert checkpoint(connection) == largest.position - 1
                before = on_topic(kafka_of(settings), settings.kafka_topic)
                limit.lift()
                await until(lambda: leading.standing.position == len(events))
                assert (leading.standing.failing, leading.standing.error) == (0, "")
    refused = [entry for entry in logs if entry["event"] == "message_refused"]
    assert {entry["position"] for entry in refused} == {largest.position}
    assert max(one.position for one in before if one.partition == partition_of(largest.partition_key, 3)) < (
        largest.position
    )
    repeats = Counter(one.position for one in on_topic(kafka_of(settings), settings.kafka_topic))
    assert max(repeats.values()) <= 2, "what stands before it is not published over and over"
    assert set(repeats) == {event.position for event in events}


@pytest.mark.timeout(90)
@asynchronous
async def test_a_broker_that_comes_and_goes_costs_nothing_but_time(
    dsn: str,
    connection: psycopg.Connection[Any],
    own_kafka: Broker,
    events: Sequence[RecordedEvent],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(publisher, "ACKNOWLEDGED_WITHIN_S", 1.0)
    monkeypatch.setattr("infrastructure.kafka_client.BOOTSTRAP_TIMEOUT_MS", 500)
    monkeypatch.setattr(relay, "REST_MAX_S", 0.2)
    settings = registered(dsn, own_kafka.address, "sale")
    async with running(dsn, settings) as leading:
        write_log(connection, events[:4])
        await until(lambda: leading.standing.position == 4)
        await asyncio.to_thread(own_kafka.kill)
        write_log(connection, events[4:9])
        await until(lambda: leading.standing.failures > 2)
        assert leading.standing.position == 4
        await asyncio.to_thread(own_kafka.start)
        await until(lambda: leading.standing.position == 9)
        own_kafka.suspend()
        write_log(connection, events[9:])
        failures = leading.standing.failures
        await until(lambda: leading.standing.failures > failures)
        own_kafka.resume()
        await until(lambda: leading.standing.position == len(events))
    messages = on_topic(own_kafka.address, "sale")
    assert {one.position for one in messages} == {event.position for event in events}
    assert_each_partition_is_in_order_without_a_hole(messages)


@asynchronous
async def test_a_relay_stops_soon_where_no_broker_answers(
    dsn: str, connection: psycopg.Connection[Any], own_kafka: Broker, events: Sequence[RecordedEvent]
) -> None:
    asked_at = [time.monotonic()]

    def leads() -> bool:
        asked_at.append(time.monotonic())
        return True

    settings = registered(dsn, own_kafka.address, "sale")
    leading, stop = Relay(dsn, settings, leads), asyncio.Event()
    working = asyncio.create_task(leading.run(stop))
    write_log(connection, events[:4])
    await until(lambda: leading.standing.position == 4)
    own_kafka.suspend()
    write_log(connection, events[4:])
    await until(lambda: time.monotonic() > asked_at[-1] + 10 * POLL_MAX_S)  # it is at work
    stop.set()
    await asyncio.wait_for(working, publisher.ACKNOWLEDGED_WITHIN_S / 2)
    own_kafka.resume()


class Limit:
    """The topic takes small messages only, until the limit is lifted."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._admin: Any = KafkaAdminClient(bootstrap_servers=list(settings.required_kafka))

    def __enter__(self) -> Self:
        self._set("2000")
        return self

    def __exit__(self, *raised: object) -> None:
        self._admin.close()

    def lift(self) -> None:
        """Take messages of a usual size."""
        self._set("1000000")

    def _set(self, message_bytes_max: str) -> None:
        topic_config = ConfigResource(
            ConfigResourceType.TOPIC,
            self._settings.kafka_topic,
            {"max.message.bytes": message_bytes_max, "retention.ms": "86400000"},
        )
        self._admin.alter_configs([topic_config])


def grow(connection: psycopg.Connection[Any], events: Sequence[RecordedEvent], position: int) -> None:
    """Write the events, of which one is larger than the others."""
    write_log(connection, events)
    connection.execute(
        """
        UPDATE ticketing.ticketing_events
        SET state = convert_to(
            replace(convert_from(state, 'UTF8'), '"payload":{', %s), 'UTF8'
        )
        WHERE notification_id = %s
        """,
        ['"payload":{"more":"' + "x" * 4_000 + '",', position],
    )


def delete_topic(kafka: str, name: str) -> None:
    admin: Any = KafkaAdminClient(bootstrap_servers=kafka)
    admin.delete_topics([name])
    admin.close()
