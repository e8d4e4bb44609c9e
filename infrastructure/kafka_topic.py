"""The topic as projectors read it: as a group of consumers, each of which gets some of the partitions.

Where a projection stands is written in PostgreSQL, with its rows. So the offsets that the group keeps are
only a hint where to begin: whatever comes twice is passed over by its position, and what is missing is told
by the position that each message names as the one before it, and read from the log. Nothing depends on who is
given which partition, either: the checkpoints are locked by whoever applies.
"""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import structlog
from kafka import KafkaConsumer
from kafka.consumer.fetcher import ConsumerRecord
from kafka.structs import OffsetAndMetadata, TopicPartition

from aggregates.event import RecordedEvent
from infrastructure.arrivals import Arrival, Assigned
from infrastructure.epochs import Epochs
from infrastructure.feed import PostgresFeed
from infrastructure.messages import NotOurs, Received, received
from projections.feed import Reading
from projections.partitions import Positions, partition_of

POLL_MS = 5
"""What has arrived by now is what counts: who asks decides how often."""

SESSION_MS, HEARTBEAT_MS = 6_000, 1_500
"""A consumer that is gone gives its partitions away after the shortest time that brokers allow by default.

Until then they stand still, and are read from the log.
"""

METADATA_MAX_AGE_MS = 10_000
"""So long it may take until a topic is noticed that was deleted and made anew."""

COMMIT_EVERY_S = 1.0
CLOSE_WITHIN_MS = 1_000

CONNECT_AGAIN_S = 1.0
EPOCHS_EVERY_S = 1.0

log = structlog.get_logger(__name__)


class _Came(NamedTuple):
    """A message that came, and where it stands."""

    partition: int
    offset: int
    received: Received


class KafkaTopic:
    """The partitions of the topic that the group has given to this process."""

    def __init__(
        self,
        name: str,
        options: Mapping[str, Any],
        feed: PostgresFeed,
        epochs: Callable[[], Awaitable[Epochs]],
    ) -> None:
        self.failures = 0
        """How often the topic was out of reach, as far as the client said so."""
        self._name = name
        self._options = options
        self._feed = feed
        self._read_epochs = epochs
        self._epochs: Epochs | None = None
        self._epochs_at = -math.inf
        self._assigned = Assigned()
        self._consumer: KafkaConsumer | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._commit_at = 0.0
        self._strangers = 0

    @property
    def partitions(self) -> Sequence[int]:
        """The partitions that are ours at the moment."""
        return self._assigned.partitions

    async def read(self, after: Positions, limit: int) -> Reading | None:
        """Return what has come of our partitions beyond `after`, about `limit` events at most.

        None where something before it did not come this way, or the topic is out of reach: the log has all.
        """
        self._assigned.forget(after)
        reading = self._assigned.reading(after)
        if reading is None or reading.events:
            return reading
        if self._consumer is None:
            self._connect_meanwhile()
            return None
        await self._poll(self._consumer, limit, len(after))
        return self._assigned.reading(after)

    async def close(self) -> None:
        """Leave the group, so that others get our partitions at once."""
        if self._connecting is not None:
            self._connecting.cancel()
            with suppress(asyncio.CancelledError):
                await self._connecting
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await asyncio.to_thread(self._leave, consumer)

    async def _poll(self, consumer: KafkaConsumer, limit: int, partitions: int) -> None:
        try:
            came = await asyncio.to_thread(self._came, consumer, limit)
        except Exception as error:  # noqa: BLE001 (whatever the client stumbles over, the log has all)
            self.failures += 1
            log.warning("topic_lost", topic=self._name, error=f"{type(error).__name__}: {error}")
            self._consumer = None
            self._assigned.assign(())
            await asyncio.to_thread(self._leave, consumer)
            return
        epochs = await self._epochs_of(came)
        told = await self._told_by_log(came)
        for partition, offset, message in came:
            arrivals = self._assigned.of(partition)
            if arrivals is None:
                continue
            recorded = message.recorded or told.get(message.position)
            is_ours = epochs.knows(message.epoch) and not epochs.has_lost(message.position)
            if is_ours and recorded is not None and _belongs_to(recorded, partition, partitions):
                arrivals.add(Arrival(message.previous_position, recorded, offset))
            else:
                arrivals.pass_over(offset)

    def _came(self, consumer: KafkaConsumer, limit: int) -> Sequence[_Came]:
        """Look what has come; in a thread, since the client waits in its own way."""
        records = consumer.poll(timeout_ms=POLL_MS, max_records=limit)
        self._assigned.assign({one.partition for one in consumer.assignment()})
        self._commit(consumer)
        came = []
        for of_partition in records.values():
            for record in of_partition:
                message = self._received(record)
                if message is not None:
                    came.append(_Came(record.partition, record.offset, message))
        return came

    def _received(self, record: ConsumerRecord) -> Received | None:
        try:
            return received(record.value, record.headers)
        except NotOurs as error:
            if not self._strangers:
                place = f"{record.partition}@{record.offset}"
                log.warning("message_not_ours", topic=self._name, place=place, error=str(error))
            self._strangers += 1
            return None

    async def _told_by_log(self, came: Sequence[_Came]) -> Mapping[int, RecordedEvent]:
        """What the log says of events that could not be made out from their messages."""
        unclear = [one.received.position for one in came if one.received.recorded is None]
        if not unclear:
            return {}
        return {recorded.position: recorded for recorded in await self._feed.read_at(unclear)}

    async def _epochs_of(self, came: Sequence[_Came]) -> Epochs:
        """The epochs of the log, read anew if a message names another: it was restored, or it is not ours."""
        epochs = self._epochs
        if epochs is None or (
            time.monotonic() > self._epochs_at + EPOCHS_EVERY_S
            and not all(epochs.knows(one.received.epoch) for one in came)
        ):
            self._epochs_at = time.monotonic()
            self._epochs = epochs = await self._read_epochs()
        return epochs

    def _commit(self, consumer: KafkaConsumer) -> None:
        if time.monotonic() < self._commit_at:
            return
        self._commit_at = time.monotonic() + COMMIT_EVERY_S
        if offsets := self._offsets():
            consumer.commit_async(offsets)

    def _offsets(self) -> Mapping[TopicPartition, OffsetAndMetadata]:
        return {
            TopicPartition(self._name, partition): OffsetAndMetadata(offset, "", -1)
            for partition, offset in self._assigned.next_offsets.items()
        }

    def _leave(self, consumer: KafkaConsumer) -> None:
        with suppress(Exception):
            if offsets := self._offsets():
                consumer.commit(offsets, timeout_ms=CLOSE_WITHIN_MS)
        with suppress(Exception):
            consumer.close(autocommit=False, timeout_ms=CLOSE_WITHIN_MS)

    def _connect_meanwhile(self) -> None:
        if self._connecting is None or self._connecting.done():
            self._connecting = asyncio.create_task(self._connect())

    async def _connect(self) -> None:
        try:
            self._consumer = await asyncio.to_thread(self._join)
        except Exception as error:  # noqa: BLE001 (likewise)
            self.failures += 1
            log.warning("topic_out_of_reach", topic=self._name, error=f"{type(error).__name__}: {error}")
            await asyncio.sleep(CONNECT_AGAIN_S)

    def _join(self) -> KafkaConsumer:
        return KafkaConsumer(
            self._name,
            **self._options,
            group_id=f"{self._name}.projections",
            allow_auto_create_topics=False,
            auto_offset_reset="earliest",
            enable_auto_commit=False,
            session_timeout_ms=SESSION_MS,
            heartbeat_interval_ms=HEARTBEAT_MS,
            metadata_max_age_ms=METADATA_MAX_AGE_MS,
        )


def _belongs_to(recorded: RecordedEvent, partition: int, partitions: int) -> bool:
    """Whether the message stands in its event's partition, and not in a topic with other partitions."""
    return not recorded.partition_key or partition_of(recorded.partition_key, partitions) == partition
