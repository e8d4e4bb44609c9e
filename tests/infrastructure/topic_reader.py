"""What stands on a topic, read as anybody could: all of it, from the beginning."""

from collections.abc import Sequence
from contextlib import closing
from typing import Any, NamedTuple

from kafka import KafkaConsumer
from kafka.structs import TopicPartition


class Found(NamedTuple):
    """A message on the topic."""

    partition: int
    key: bytes
    value: bytes
    headers: Sequence[tuple[str, bytes]]

    @property
    def position(self) -> int:
        """The position of its event."""
        return int(self.header("ce_position"))

    @property
    def previous_position(self) -> int:
        """The position before it in its partition."""
        return int(self.header("ce_previousposition"))

    def header(self, name: str) -> bytes:
        """Return one of its headers, which it must have."""
        return dict(self.headers)[name]


def on_topic(kafka: str, topic: str) -> Sequence[Found]:
    """Read the whole topic, partition by partition."""
    consumer: Any = KafkaConsumer(bootstrap_servers=kafka, group_id=None, max_poll_records=10_000)
    with closing(consumer):
        partitions = [
            TopicPartition(topic, number) for number in sorted(consumer.partitions_for_topic(topic))
        ]
        ends = consumer.end_offsets(partitions)
        consumer.assign(partitions)
        consumer.seek_to_beginning(*partitions)
        found: dict[TopicPartition, list[Found]] = {partition: [] for partition in partitions}
        while any(consumer.position(partition) < ends[partition] for partition in partitions):
            for partition, records in consumer.poll(timeout_ms=1_000).items():
                found[partition] += [
                    Found(partition.partition, record.key, record.value, record.headers) for record in records
                ]
    return [message for partition in partitions for message in found[partition]]
