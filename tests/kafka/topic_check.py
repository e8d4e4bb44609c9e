"""Reads a whole topic with another library, and holds it to all that consumers are promised.

librdkafka reads, and says to which partition a key belongs; the AsyncAPI document says what a message is
like; the rows of the log say what must be there. Nothing is taken from the product's own code.

`check_topic` is for logs that were never restored from a backup: afterwards a topic may also hold events that
the log has lost.
"""

import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Final, LiteralString, NamedTuple
from uuid import uuid4

import psycopg
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from tests.kafka import topic_document

WAIT_S: Final = 20.0
BATCH: Final = 10_000
POLL_S: Final = 0.05
"""So long a batch that is not full is waited for."""
WARNINGS: Final = 4
"""As syslog counts: librdkafka is to keep the rest to itself."""

COMPLAINTS_MAX: Final = 20
"""One mistake may spoil every message."""

LOG: LiteralString = """
    SELECT notification_id, originator_id::text, originator_version, topic, state
    FROM ticketing.ticketing_events
    ORDER BY notification_id
"""

FIELDS: Final = {
    "ce_subject": "stream",
    "ce_partitionkey": "partition_key",
    "ce_commandid": "command_id",
    "ce_correlationid": "correlation_id",
    "ce_causationid": "causation_id",
    "ce_time": "recorded_at",
}
"""The headers that say what stands around the payload, by the names that the log has for it."""


class Row(NamedTuple):
    """An event as it stands in the log."""

    position: int
    stream_id: str
    version: int
    topic: str
    state: bytes


class Received(NamedTuple):
    """A message as it stands on the topic."""

    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]

    @property
    def words(self) -> dict[str, str]:
        """Its headers."""
        return {name: text.decode() for name, text in self.headers}

    @property
    def position(self) -> int:
        """Of its event in the log."""
        return int(self.words["ce_position"])

    def same_as(self, other: "Received") -> bool:
        """Whether the one is a repeat of the other."""
        return (self.partition, *self[2:]) == (other.partition, *other[2:])

    def __str__(self) -> str:
        return f"partition {self.partition}, offset {self.offset}"


def read_log(dsn: str) -> Sequence[Row]:
    """Read all that was recorded."""
    with psycopg.connect(dsn) as connection:
        return [Row(*row) for row in connection.execute(LOG)]


def check_topic(bootstrap: str, topic: str, rows: Sequence[Row]) -> Sequence[str]:
    """Read the topic, and return what is not as it should be; `rows` are those of the log."""
    return check_found(bootstrap, topic, read_topic(bootstrap, topic), rows)


def check_found(
    bootstrap: str,
    topic: str,
    found: Mapping[int, Sequence[Received]],
    rows: Sequence[Row],
    required: range | None = None,
) -> Sequence[str]:
    """Return what is not as it should be about what was read; for `required` see `complaints`."""
    keys = {message.key or b"" for messages in found.values() for message in messages}
    belongs = partitions_of_keys(bootstrap, topic, keys, len(found))
    return list(islice(complaints(found, rows, belongs, required), COMPLAINTS_MAX))


def read_topic(bootstrap: str, topic: str) -> Mapping[int, Sequence[Received]]:
    """Read what stands on the topic by now, by partition."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": f"{topic}.check",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "allow.auto.create.topics": False,
        }
    )
    try:
        partitions = consumer.list_topics(topic, WAIT_S).topics[topic].partitions
        consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING) for partition in partitions])
        return _read_to_the_end(consumer, partitions)
    finally:
        consumer.close()


def _read_to_the_end(consumer: Consumer, partitions: Iterable[int]) -> Mapping[int, Sequence[Received]]:
    found: dict[int, list[Received]] = {partition: [] for partition in sorted(partitions)}
    unread = set(found)
    deadline = time.monotonic() + WAIT_S
    while unread:
        if time.monotonic() > deadline:
            raise TimeoutError(f"the partitions {sorted(unread)} cannot be read to their end")
        for message in consumer.consume(BATCH, POLL_S):
            deadline = time.monotonic() + WAIT_S
            partition, error = message.partition(), message.error()
            if error is None and partition is not None:
                found[partition].append(_received(message, partition))
            elif error is not None and error.code() == KafkaError._PARTITION_EOF and partition is not None:
                unread.discard(partition)
            else:
                raise RuntimeError(f"the topic cannot be read: {error}")
    return found


def _received(message: Message, partition: int) -> Received:
    headers: Any = message.headers() or ()
    return Received(partition, message.offset() or 0, message.key(), message.value(), tuple(headers))


def partitions_of_keys(
    bootstrap: str, topic: str, keys: Iterable[bytes], partitions: int
) -> Mapping[bytes, int]:
    """Ask librdkafka where a producer with Kafka's default partitioner would have put these keys."""
    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": WARNINGS})
    keys_topic = f"{topic}.keys.{uuid4()}"
    for made in admin.create_topics([NewTopic(keys_topic, partitions, 1)]).values():
        made.result(WAIT_S)
    found: dict[bytes, int] = {}

    def delivered(error: KafkaError | None, message: Message) -> None:
        if error is not None:
            raise RuntimeError(f"the partition of a key cannot be asked for: {error}")
        key, partition = message.key(), message.partition()
        found[key or b""] = -1 if partition is None else partition

    producer = Producer({"bootstrap.servers": bootstrap, "partitioner": "murmur2"})
    for key in keys:
        producer.produce(keys_topic, key=key, value=b"", on_delivery=delivered)
        producer.poll(0)
    producer.flush(WAIT_S)
    for deleted in admin.delete_topics([keys_topic]).values():
        deleted.result(WAIT_S)
    return found


def complaints(
    found: Mapping[int, Sequence[Received]],
    rows: Sequence[Row],
    belongs: Mapping[bytes, int],
    required: range | None = None,
) -> Iterator[str]:
    """Tell what is not as it should be; `belongs` says to which partition a key belongs.

    The events at the positions `required` must be on the topic: all, unless what was on it before was deleted
    with it, or some may have been recorded since it was read. Where it was deleted, what comes first in a
    partition may follow anything that was not required.
    """
    is_whole = required is None or 1 in required
    log = {row.position: row for row in rows}
    seen: dict[int, Received] = {}
    for messages in found.values():
        last = 0 if is_whole else _lost_before(messages)
        for message in messages:
            wrong = list(_of_form(message))
            yield from (f"{message}: {one}" for one in wrong)
            if wrong:
                continue
            if message.position in seen:
                if not message.same_as(seen[message.position]):
                    yield f"{message}: differs from the first of its id, at {seen[message.position]}"
                continue
            seen[message.position] = message
            yield from (f"{message}: {one}" for one in _of_place(message, last, belongs))
            yield from (f"{message}: {one}" for one in _of_event(message, log.get(message.position)))
            last = message.position
    must_be_there = log.keys() if required is None else log.keys() & set(required)
    if missing := sorted(must_be_there - seen.keys()):
        yield f"{len(missing)} events are not on the topic: {missing[:COMPLAINTS_MAX]}"


def _lost_before(messages: Sequence[Received]) -> int:
    """The position of what stood before the first of these, and is not there any more; 0 if none."""
    return min((int(message.words["ce_previousposition"]) for message in messages), default=0)


def _of_form(message: Received) -> Iterator[str]:
    """Whether it is what the AsyncAPI document says."""
    words = message.words
    if len(words) != len(message.headers):
        yield "a header stands there twice"
    if message.key is None or message.value is None:
        yield "it has no key, or no value"
    else:
        yield from topic_document.complaints(words, message.value)
        if message.key.decode() != words.get("ce_partitionkey"):
            yield f"its key {message.key!r} is not its partition key"
    if words.get("ce_id") != f"{words.get('ce_epoch')}/{words.get('ce_position')}":
        yield f"its id {words.get('ce_id')} is not its epoch and position"


def _of_place(message: Received, last: int, belongs: Mapping[bytes, int]) -> Iterator[str]:
    """Whether it stands where it should, behind what should stand before it."""
    if message.partition != belongs[message.key or b""]:
        yield f"its key belongs to partition {belongs[message.key or b'']}"
    if message.position <= last:
        yield f"its position {message.position} comes after {last}"
    previous = int(message.words["ce_previousposition"])
    if previous != last:
        yield f"it follows {last} and says that it follows {previous}"


def _of_event(message: Received, row: Row | None) -> Iterator[str]:
    """Whether it says what the log says."""
    if row is None:
        yield f"the log has no event at {message.position}"
        return
    words = message.words
    if (words["ce_type"], int(words["ce_streamversion"])) != (row.topic, row.version):
        yield f"it is {words['ce_type']}, the log has version {row.version}, {row.topic}"
    if words["content-type"] == topic_document.OPAQUE:
        if (message.value, words["ce_subject"]) != (row.state, row.stream_id):
            yield "it is not what is stored"
        return
    stored, value = json.loads(row.state), message.value or b""
    if value not in row.state or json.loads(value) != stored["payload"]:
        yield "its value is not the payload that is stored"
    for header, field in FIELDS.items():
        if words[header] != stored[field]:
            yield f"{header} is {words[header]}, the log has {stored[field]}"
