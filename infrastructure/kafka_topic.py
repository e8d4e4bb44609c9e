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
from typing import Any, NamedTuple

import structlog
from kafka.consumer.fetcher import ConsumerRecord

from aggregates.event import RecordedEvent
from infrastructure.arrivals import Arrival, Assigned
from infrastructure.epochs import Epochs
from infrastructure.feed import PostgresFeed
from infrastructure.group_member import GroupMember
from infrastructure.messages import NotOurs, Received, received
from projections.feed import Reading
from projections.partitions import Positions, partition_of

JOIN_AGAIN_S = 1.0
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
        self._member: GroupMember | None = None
        self._join_at = -math.inf
        self._strangers = 0

    @property
    def partitions(self) -> Sequence[int]:
        """The partitions that are ours at the moment."""
        return self._assigned.partitions

    async def read(self, after: Positions, limit: int) -> Reading | None:
        """Return what has come of our partitions beyond `after`, `limit` events at most.

        None where something before it did not come this way, or the topic is out of reach: the log has all.
        """
        self._assigned.forget(after)
        reading = self._assigned.reading(after, limit)
        if reading is None or reading.events:
            return reading
        member = self._joined()
        if member is None:
            return None
        await self._take(member, len(after))
        return self._assigned.reading(after, limit)

    async def close(self) -> None:
        """Leave the group, so that others get our partitions at once."""
        member, self._member = self._member, None
        if member is not None:
            await asyncio.to_thread(member.stop)

    def _joined(self) -> GroupMember | None:
        """The member that reads for us; a new one, if it has failed, a while after the last."""
        if self._member is not None and self._member.failure is not None:
            error = self._member.failure
            log.warning("topic_lost", topic=self._name, error=f"{type(error).__name__}: {error}")
            self.failures += 1
            self._member = None
            self._assigned.assign(())
        if self._member is None and time.monotonic() > self._join_at + JOIN_AGAIN_S:
            self._join_at = time.monotonic()
            self._member = GroupMember(self._name, self._options)
            self._member.start()
        return self._member

    async def _take(self, member: GroupMember, partitions: int) -> None:
        records = member.take(self._assigned.next_offsets)
        # Who adds partitions to the topic in the cluster adds none to the log: they stay empty.
        self._assigned.assign(one for one in member.partitions if one < partitions)
        came = [
            _Came(record.partition, record.offset, message)
            for record in records
            if (message := self._received(record)) is not None
        ]
        if not came:
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


def _belongs_to(recorded: RecordedEvent, partition: int, partitions: int) -> bool:
    """Whether the message stands in its event's partition, and not in a topic with other partitions."""
    return not recorded.partition_key or partition_of(recorded.partition_key, partitions) == partition
