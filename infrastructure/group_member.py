"""A member of the group of consumers that read the topic, in a thread of its own.

kafka-python 3.0.12 loses track of a rebalance that its view of the topic has brought about (its first look at
it, a topic made anew) and that does not end within one call of `poll`: it then has no partitions for ever, or
goes on with those of others, and tells the group nothing more. So it is reminded of a rebalance that is under
way; the calls are long, which takes a thread, since each that comes too early begins another; and it joins
when it knows the topic.
"""

import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from kafka import KafkaConsumer
from kafka.consumer.fetcher import ConsumerRecord
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.structs import OffsetAndMetadata, TopicPartition

from infrastructure.kafka_client import open_client

POLL_MS = 250
"""Messages are handed on as soon as they come; so long it takes at most to stop."""

FETCH_WAIT_MS, FETCH_BYTES_MIN = 25, 65_536
"""The brokers gather what comes within that time, or until it is so much."""

SESSION_MS, HEARTBEAT_MS = 6_000, 500
"""A member that is gone gives its partitions away after the shortest time that brokers allow by default.

Until then they stand still, and are read from the log. The others learn of it with their next heartbeat.
"""

METADATA_MAX_AGE_MS = 5_000
"""So long it may take until a topic is noticed that was deleted and made anew."""

POLL_RECORDS_MAX, HELD_MAX = 5_000, 10_000
"""So many messages are read at once, and wait to be taken; more stay with the brokers."""

COMMIT_EVERY_S = 1.0

CLOSE_WITHIN_S = 0.4
"""Twice, where no broker answers, and a poll before: less than those who stop processes wait for a worker."""


class GroupMember(threading.Thread):
    """Reads what the group gives to it until it is stopped, or fails."""

    def __init__(self, topic: str, options: Mapping[str, Any]) -> None:
        super().__init__(name="topic", daemon=True)
        self.failure: Exception | None = None
        """What ended it."""
        self.partitions: frozenset[int] = frozenset()
        """Those that are ours at the moment."""
        self._topic = topic
        self._options = options
        self._told_to_stop = threading.Event()
        self._came: list[ConsumerRecord] = []
        self._taken = threading.Condition()
        self._next_offsets: Mapping[int, int] = {}
        self._commit_at = 0.0

    def take(self, next_offsets: Mapping[int, int]) -> Sequence[ConsumerRecord]:
        """Return what has come since the last time; whoever takes our place begins at these offsets."""
        with self._taken:
            came, self._came = self._came, []
            self._next_offsets = next_offsets
            self._taken.notify()
        return came

    def stop(self) -> None:
        """Leave the group, so that others get our partitions at once; do not wait for long."""
        self._told_to_stop.set()
        with self._taken:
            self._taken.notify()
        self.join(POLL_MS / 1_000 + 2 * CLOSE_WITHIN_S)

    def run(self) -> None:
        """Read until stopped. Whatever the client stumbles over ends it."""
        try:
            consumer = self._opened()
            try:
                consumer.subscribe([self._topic])
                consumer.topics()  # now it knows the topic, see above
                while not self._told_to_stop.is_set():
                    self._poll(consumer)
            finally:
                self._leave(consumer)
        except Exception as error:  # noqa: BLE001 (who has started it is told)
            self.failure = error
        finally:
            self.partitions = frozenset()

    def _opened(self) -> KafkaConsumer:
        return open_client(
            KafkaConsumer,
            {
                **self._options,
                "group_id": f"{self._topic}.projections",
                "partition_assignment_strategy": [CooperativeStickyAssignor],
                "auto_offset_reset": "earliest",
                "enable_auto_commit": False,
                "max_poll_records": POLL_RECORDS_MAX,
                "fetch_max_wait_ms": FETCH_WAIT_MS,
                "fetch_min_bytes": FETCH_BYTES_MIN,
                "session_timeout_ms": SESSION_MS,
                "heartbeat_interval_ms": HEARTBEAT_MS,
                "metadata_max_age_ms": METADATA_MAX_AGE_MS,
            },
        )

    def _poll(self, consumer: Any) -> None:
        coordinator = consumer._coordinator  # noqa: SLF001 (see above)
        if coordinator._join_task is not None:  # noqa: SLF001
            coordinator.rejoin_needed = True
        records = consumer.poll(timeout_ms=POLL_MS)
        with self._taken:
            self.partitions = frozenset(one.partition for one in consumer.assignment())
            for of_partition in records.values():
                self._came += of_partition
            while len(self._came) >= HELD_MAX and not self._told_to_stop.is_set():
                self._taken.wait()
        if time.monotonic() > self._commit_at:
            self._commit_at = time.monotonic() + COMMIT_EVERY_S
            if offsets := self._offsets():
                consumer.commit_async(offsets)

    def _leave(self, consumer: KafkaConsumer) -> None:
        within_ms = int(CLOSE_WITHIN_S * 1_000)
        with suppress(Exception):
            if offsets := self._offsets():
                consumer.commit(offsets, timeout_ms=within_ms)
        with suppress(Exception):
            consumer.close(autocommit=False, timeout_ms=within_ms)

    def _offsets(self) -> Mapping[TopicPartition, OffsetAndMetadata]:
        return {
            TopicPartition(self._topic, partition): OffsetAndMetadata(offset, "", -1)
            for partition, offset in self._next_offsets.items()
            if partition in self.partitions
        }
