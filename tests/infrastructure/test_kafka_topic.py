"""The topic as projectors read it, from a real broker: each event once, whatever is wrong with it."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import psycopg
import pytest
from kafka import KafkaProducer
from kafka.admin import KafkaAdminClient
from msgspec.structs import replace

from aggregates.event import RecordedEvent
from infrastructure import cluster, codec
from infrastructure.epochs import Epoch, Epochs
from infrastructure.feed import PostgresFeed
from infrastructure.kafka_client import client_options
from infrastructure.kafka_topic import KafkaTopic
from infrastructure.messages import Message, Place, StoredRow, message
from infrastructure.settings import Settings
from projections.partitions import partition_of
from projections.projector import Projector
from projections.registry import PROJECTIONS
from tests.asynchronous import asynchronous, until
from tests.kafka.broker import Broker
from tests.projections import tables
from tests.projections.partitioned import publish, register
from tests.projections.read_models import project, projecting
from tests.projections.test_projector import sold_out

PARTITIONS = 4

HANDED_OVER_WITHIN_S = 5.0

EPOCH = UUID(int=7)

LOG = Epochs([Epoch(1, EPOCH, 0, None, 1)])


def settings(kafka: str, topic_name: str) -> Settings:
    return Settings(kafka=(kafka,), kafka_topic=topic_name, kafka_partitions=PARTITIONS)


def messages(events: Sequence[RecordedEvent], epoch: str = str(EPOCH)) -> Sequence[Message]:
    """What a relay makes of a log."""
    last = dict.fromkeys(range(PARTITIONS), 0)
    made = []
    for event in events:
        state = tables.stored_state(event)
        partition = partition_of(event.partition_key, PARTITIONS)
        row = StoredRow(event.position, event.version, event.event.topic, state)
        made.append(message(row, codec.read_form(state), Place(epoch, partition, last[partition])))
        last[partition] = event.position
    return made


def send(kafka: str, topic_name: str, messages: Sequence[Message]) -> None:
    producer = KafkaProducer(bootstrap_servers=kafka, allow_auto_create_topics=False)
    sent = [
        producer.send(topic_name, one.value, key=one.key, headers=list(one.headers), partition=one.partition)
        for one in messages
    ]
    producer.flush()
    for future in sent:
        future.get()
    producer.close()


class CountingFeed(PostgresFeed):
    """Knows how many events were read from the log."""

    count = 0

    async def read(self, after: int, limit: int) -> Sequence[RecordedEvent]:
        events = await super().read(after, limit)
        self.count += len(events)
        return events


class OverTopic:
    """A log of so many events, a topic, and a projector that follows it."""

    def __init__(self, dsn: str, kafka: str, topic_name: str, events: Sequence[RecordedEvent]) -> None:
        self.feed = CountingFeed(dsn)
        self.topic = KafkaTopic(
            topic_name, client_options(settings(kafka, topic_name)), self.feed, self.epochs
        )
        self.projector = Projector(dsn, self.feed, PROJECTIONS, topic=self.topic)
        self.known = LOG
        self._events = events

    async def epochs(self) -> Epochs:
        return self.known

    def has_applied_all(self) -> bool:
        reached = [standing.position for standing in self.projector.standings.values()]
        return min(reached) >= len(self._events)

    async def join(self) -> None:
        """Be given partitions, before anything is applied."""
        nothing = dict.fromkeys(range(PARTITIONS), 0)

        async def joined() -> None:
            while not self.topic.partitions:
                await self.topic.read(nothing, 1)
                await asyncio.sleep(0.005)

        await asyncio.wait_for(joined(), 20)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        stop = asyncio.Event()
        async with projecting(self.projector), asyncio.TaskGroup() as tasks:
            tasks.create_task(self.projector.run(stop))
            try:
                yield
            finally:
                stop.set()
        await self.topic.close()
        await self.feed.close()


def rows(connection: psycopg.Connection[Any]) -> Mapping[str, Sequence[str]]:
    projected = dict(tables.projected(connection))
    del projected["ticketing.projection_checkpoints"]
    return projected


@pytest.fixture(scope="module")
def events() -> Sequence[RecordedEvent]:
    return sold_out()


@pytest.fixture
def right(dsn: str, connection: psycopg.Connection[Any], events: Sequence[RecordedEvent]) -> Any:
    """What the read models are to be; the log is there, and on the topic, and they are not."""
    project(dsn, events)
    found = rows(connection)
    tables.empty(connection)
    tables.write_log(connection, events)
    register(connection, PARTITIONS)
    publish(connection, len(events), PARTITIONS)
    return found


@pytest.fixture
def over(dsn: str, kafka: str, topic_name: str, events: Sequence[RecordedEvent]) -> OverTopic:
    cluster.ensure_topic(settings(kafka, topic_name))
    return OverTopic(dsn, kafka, topic_name, events)


@asynchronous
async def test_what_is_on_the_topic_is_applied_without_the_log(
    kafka: str, topic_name: str, over: OverTopic, connection: Any, right: Any, events: Sequence[RecordedEvent]
) -> None:
    send(kafka, topic_name, messages(events))
    await over.join()
    async with over.running():
        await until(over.has_applied_all)
    assert rows(connection) == right
    assert over.feed.count == 0


@asynchronous
async def test_repeats_are_passed_over_and_holes_are_filled_from_the_log(
    kafka: str, topic_name: str, over: OverTopic, connection: Any, right: Any, events: Sequence[RecordedEvent]
) -> None:
    published = messages(events)
    half = len(published) // 2
    send(kafka, topic_name, [*published[:half], *published[half - 20 : half], *published[half + 15 : -10]])
    await over.join()
    async with over.running():
        await until(over.has_applied_all)
    assert rows(connection) == right
    applied = [standing.events for standing in over.projector.standings.values()]
    assert applied == [len(events)] * len(PROJECTIONS)


@asynchronous
async def test_what_is_not_of_this_log_is_passed_over(
    kafka: str, topic_name: str, over: OverTopic, connection: Any, right: Any, events: Sequence[RecordedEvent]
) -> None:
    published = messages(events)
    others = messages(events[-10:], epoch=str(UUID(int=8)))
    strange = [one._replace(headers=()) for one in published[:3]]
    elsewhere = [one._replace(partition=(one.partition + 1) % PARTITIONS) for one in published[:3]]
    send(kafka, topic_name, [*others, *strange, *elsewhere, *published])
    await over.join()
    async with over.running():
        await until(over.has_applied_all)
    assert rows(connection) == right
    assert over.feed.count == 0


@asynchronous
async def test_what_a_restore_has_lost_is_passed_over(
    kafka: str, topic_name: str, over: OverTopic, connection: Any, right: Any, events: Sequence[RecordedEvent]
) -> None:
    kept = len(events)
    lost = [replace(event, position=kept + 5 + place) for place, event in enumerate(events[:20])]
    send(kafka, topic_name, messages([*events, *lost]))
    over.known = Epochs(
        [Epoch(1, EPOCH, 0, None, 1), Epoch(2, UUID(int=9), kept, events[-1].recorded_at, 10**15)]
    )
    await over.join()
    async with over.running():
        await until(over.has_applied_all)
    assert rows(connection) == right
    assert max(standing.position for standing in over.projector.standings.values()) == kept


@asynchronous
async def test_an_epoch_that_began_meanwhile_is_learned(
    kafka: str, topic_name: str, over: OverTopic, connection: Any, right: Any, events: Sequence[RecordedEvent]
) -> None:
    half = len(events) // 2
    send(kafka, topic_name, messages(events)[:half])
    await over.join()
    async with over.running():
        await until(lambda: over.projector.standings["queue"].events > 0)
        begun = UUID(int=9)
        over.known = Epochs([Epoch(1, EPOCH, 0, None, 1), Epoch(2, begun, half, None, half + 1)])
        send(kafka, topic_name, messages(events, epoch=str(begun))[half:])
        await until(over.has_applied_all)
    assert rows(connection) == right


@asynchronous
async def test_an_event_that_cannot_be_made_out_is_asked_of_the_log(
    kafka: str, topic_name: str, over: OverTopic, connection: Any, right: Any, events: Sequence[RecordedEvent]
) -> None:
    published = list(messages(events))
    published[7] = published[7]._replace(value=b"{")
    send(kafka, topic_name, published)
    await over.join()
    async with over.running():
        await until(over.has_applied_all)
    assert rows(connection) == right
    assert over.feed.count == 0


@asynchronous
async def test_two_share_the_partitions_and_one_that_stops_hands_its_own_over(
    dsn: str, kafka: str, topic_name: str, over: OverTopic, right: Any, events: Sequence[RecordedEvent]
) -> None:
    other = OverTopic(dsn, kafka, topic_name, events)
    async with over.running():
        async with other.running():
            await until(lambda: len(over.topic.partitions) == len(other.topic.partitions) == PARTITIONS // 2)
            assert {*over.topic.partitions, *other.topic.partitions} == set(range(PARTITIONS))
        await until(lambda: len(over.topic.partitions) == PARTITIONS, HANDED_OVER_WITHIN_S)


@asynchronous
async def test_a_topic_that_was_deleted_and_made_anew_is_followed(
    kafka: str, topic_name: str, over: OverTopic, connection: Any, right: Any, events: Sequence[RecordedEvent]
) -> None:
    half = len(events) // 2
    send(kafka, topic_name, messages(events)[:half])
    await over.join()
    async with over.running():
        await until(lambda: over.projector.standings["queue"].events > 0)
        admin = KafkaAdminClient(bootstrap_servers=kafka)
        await asyncio.to_thread(admin.delete_topics, [topic_name])
        await until(over.has_applied_all)
        await asyncio.to_thread(cluster.ensure_topic, settings(kafka, topic_name))
        admin.close()
    assert rows(connection) == right


@asynchronous
async def test_a_broker_that_is_away_is_not_waited_for_and_found_again(
    dsn: str, own_kafka: Broker, topic_name: str, connection: Any, right: Any, events: Sequence[RecordedEvent]
) -> None:
    told = settings(own_kafka.address, topic_name)
    await asyncio.to_thread(cluster.ensure_topic, told)
    own_kafka.kill()
    over = OverTopic(dsn, own_kafka.address, topic_name, events)
    async with over.running():
        await until(over.has_applied_all)
        assert over.feed.count > 0
        assert over.topic.partitions == []
        await asyncio.to_thread(own_kafka.start)
        await until(lambda: len(over.topic.partitions) == PARTITIONS)
    assert rows(connection) == right


@asynchronous
async def test_partitions_that_somebody_has_added_are_nobodys(
    kafka: str, topic_name: str, over: OverTopic, connection: Any, right: Any, events: Sequence[RecordedEvent]
) -> None:
    """A relay publishes nothing to them, and there is no checkpoint for them."""
    admin: Any = KafkaAdminClient(bootstrap_servers=kafka)  # those who wrote types for it knew an older one
    await asyncio.to_thread(admin.create_partitions, {topic_name: PARTITIONS + 2})
    await asyncio.to_thread(admin.close)
    send(kafka, topic_name, messages(events))
    await over.join()
    async with over.running():
        await until(over.has_applied_all)
        assert over.topic.partitions == list(range(PARTITIONS))
    assert rows(connection) == right
