"""The topic as another library reads it: all that consumers are promised, and nothing that it overlooks."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final
from uuid import UUID

import psycopg
import pytest

from infrastructure import codec, topic
from infrastructure.messages import Message, Place, StoredRow, Whose, message, opaque_message
from infrastructure.relay import Relay
from infrastructure.settings import Settings
from projections.partitions import partition_of
from tests.asynchronous import until
from tests.audit.database import store
from tests.audit.sales import a_sale_of_all_kinds, a_strict_sale
from tests.kafka.topic_check import Received, Row, check_topic, complaints, read_log

PARTITIONS: Final = 4
EPOCH: Final = "6b0f7f0e-4a4e-4a2b-9b59-3b8f4c2d1a10"

BEGIN_AGAIN: Final = (
    "UPDATE ticketing.topic SET position = 0",
    "UPDATE ticketing.topic_partitions SET last_position = 0",
)

SPOIL: Final = "UPDATE ticketing.ticketing_events SET state = 'no event' WHERE notification_id = %s"

Found = Mapping[int, list[Received]]


def rows() -> Sequence[Row]:
    """The log of a sale."""
    return [
        Row(position, str(UUID(bytes=id_)), version, topic_, state)
        for position, id_, version, topic_, state in a_strict_sale().rows()
    ]


def published(log: Sequence[Row]) -> Found:
    """What the relay makes of it."""
    found: Found = {partition: [] for partition in range(PARTITIONS)}
    for row in log:
        form = codec.read_form(row.state)
        partition = partition_of(form.partition_key, PARTITIONS)
        previous = found[partition][-1].position if found[partition] else 0
        stored = StoredRow(row.position, row.version, row.topic, row.state)
        made = message(stored, form, Place(EPOCH, partition, previous))
        found[partition].append(received(made, len(found[partition])))
    return found


def received(made: Message, offset: int) -> Received:
    return Received(made.partition, offset, made.key, made.value, tuple(made.headers))


def belongs(found: Found) -> Mapping[bytes, int]:
    """To which partitions the keys belong."""
    return {one.key or b"": one.partition for messages in found.values() for one in messages}


def busiest(found: Found) -> list[Received]:
    """The messages of the partition that has most."""
    return max(found.values(), key=len)


def altered(one: Received, name: str, text: bytes) -> Received:
    """The message with another header."""
    headers = tuple((other, text if other == name else said) for other, said in one.headers)
    return one._replace(headers=headers)


def test_what_the_relay_makes_of_a_log_is_as_promised() -> None:
    log = rows()
    found = published(log)
    assert list(complaints(found, log, belongs(found))) == []


def test_messages_may_be_repeated_as_they_were() -> None:
    log = rows()
    found = published(log)
    several = busiest(found)
    several[5:5] = several[2:5]
    assert list(complaints(found, log, belongs(found))) == []


def test_what_was_deleted_with_a_topic_is_not_missed_and_what_followed_is() -> None:
    log = rows()
    found = published(log)
    where = belongs(found)
    left = {one: [each for each in messages if each.position > 20] for one, messages in found.items()}
    assert list(complaints(left, log, where, range(21, log[-1].position + 1))) == []
    missed = list(complaints(left, log, where, range(20, log[-1].position + 1)))
    assert missed == ["1 events are not on the topic: [20]"]
    lose(busiest(left))
    assert any("it follows" in one for one in complaints(left, log, where, range(21, log[-1].position + 1)))


def test_what_was_recorded_since_is_not_missed() -> None:
    log = rows()
    found = published(log[:-3])
    assert list(complaints(found, log, belongs(published(log)), range(1, log[-3].position))) == []


def lose(messages: list[Received]) -> None:
    del messages[3]


def swap(messages: list[Received]) -> None:
    messages[3], messages[4] = messages[4], messages[3]


def repeat_otherwise(messages: list[Received]) -> None:
    messages.insert(5, messages[4]._replace(value=messages[3].value, offset=99))


def invent(messages: list[Received]) -> None:
    last = messages[-1]
    previous = str(last.position).encode()
    beyond = altered(altered(last, "ce_position", b"9999"), "ce_previousposition", previous)
    messages.append(altered(beyond, "ce_id", f"{EPOCH}/9999".encode()))


def change(name: str, text: bytes) -> Callable[[list[Received]], None]:
    def spoil(messages: list[Received]) -> None:
        messages[3] = altered(messages[3], name, text)

    return spoil


def drop_header(messages: list[Received]) -> None:
    messages[3] = messages[3]._replace(headers=messages[3].headers[:-1])


def double_header(messages: list[Received]) -> None:
    messages[3] = messages[3]._replace(headers=(*messages[3].headers, messages[3].headers[-1]))


def other_key(messages: list[Received]) -> None:
    messages[3] = messages[3]._replace(key=b"other")


def other_value(messages: list[Received]) -> None:
    messages[3] = messages[3]._replace(value=(messages[3].value or b"").replace(b'"', b' "', 1) + b" ")


WRONG: Final[Sequence[tuple[Callable[[list[Received]], None], str]]] = [
    (lose, "events are not on the topic"),
    (lose, "and says that it follows"),
    (swap, "comes after"),
    (repeat_otherwise, "differs from the first of its id"),
    (invent, "the log has no event at 9999"),
    (change("ce_previousposition", b"1"), "and says that it follows 1"),
    (change("ce_streamversion", b"77"), "the log has version"),
    (change("ce_type", b"queue.paused"), "the log has version"),
    (change("ce_type", b"seat.stolen"), "the document knows no message"),
    (change("ce_subject", b"seat/GALA"), "ce_subject is"),
    (change("ce_time", b"2026-01-01T00:00:00Z"), "ce_time is"),
    (change("ce_time", b"today"), 'is not a "date-time"'),
    (change("ce_commandid", EPOCH.encode()), "ce_commandid is"),
    (change("ce_epoch", str(UUID(int=5)).encode()), "is not its epoch and position"),
    (change("ce_id", f"{EPOCH}/1".encode()), "is not its epoch and position"),
    (drop_header, "is a required property"),
    (double_header, "a header stands there twice"),
    (other_key, "is not its partition key"),
    (other_value, "is not the payload that is stored"),
]


@pytest.mark.parametrize(("spoil", "said"), WRONG, ids=range(len(WRONG)))
def test_what_is_not_as_promised_is_told(spoil: Callable[[list[Received]], None], said: str) -> None:
    log = rows()
    found = published(log)
    where = belongs(found)
    spoil(busiest(found))
    assert any(said in complaint for complaint in complaints(found, log, where))


def test_a_key_in_a_partition_where_it_does_not_belong_is_told() -> None:
    log = rows()
    found = published(log)
    where = {key: (partition + 1) % PARTITIONS for key, partition in belongs(found).items()}
    assert any("its key belongs to" in complaint for complaint in complaints(found, log, where))


def test_what_cannot_be_read_must_be_what_is_stored() -> None:
    row = Row(1, str(UUID(int=1)), 1, "seat.held", b"no event")
    stored = StoredRow(row.position, row.version, row.topic, row.state)
    made = received(opaque_message(stored, Whose(UUID(int=1), "GALA"), Place(EPOCH, 0, 0)), 0)
    assert list(complaints({0: [made]}, [row], {b"GALA": 0})) == []
    other = made._replace(value=b"another")
    assert any("is not what is stored" in one for one in complaints({0: [other]}, [row], {b"GALA": 0}))


async def relay_all(dsn: str, settings: Settings, end: int) -> None:
    """Publish the log up to its end."""
    relay = Relay(dsn, settings, lambda: True, batch_events_max=20)
    stop = asyncio.Event()
    running = asyncio.create_task(relay.run(stop))
    await until(lambda: relay.standing.position >= end)
    stop.set()
    await running


def test_the_relay_keeps_all_that_consumers_are_promised(
    dsn: str, connection: psycopg.Connection[Any], kafka: str, topic_name: str
) -> None:
    """Also where all of it is published once more, and where an event cannot be read."""
    store(dsn, a_sale_of_all_kinds().rows())
    settings = Settings(kafka=(kafka,), kafka_topic=topic_name, kafka_partitions=PARTITIONS)
    topic.register(dsn, settings)
    end = read_log(dsn)[-1].position
    connection.execute(SPOIL, [end // 2])

    asyncio.run(relay_all(dsn, settings, end))
    assert check_topic(kafka, topic_name, read_log(dsn)) == []

    for statement in BEGIN_AGAIN:
        connection.execute(statement)
    asyncio.run(relay_all(dsn, settings, end))
    assert check_topic(kafka, topic_name, read_log(dsn)) == []
