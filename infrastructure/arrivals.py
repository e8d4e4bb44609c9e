"""What has arrived of one partition of the topic: events without a gap between them, to be applied.

Each message names the event before it in its partition. One that names an event which has not arrived begins
anew: what is missing before it is for the log to say. One that has arrived already is passed over.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from aggregates.event import RecordedEvent
from projections.feed import Reading
from projections.partitions import Positions


class Arrival(NamedTuple):
    """An event that has arrived."""

    previous_position: int
    """The event before it in its partition: nothing of the partition stands between them."""
    recorded: RecordedEvent
    offset: int
    """Of its message in the partition."""


class Arrivals:
    """The events of one partition, from those that have been applied on."""

    def __init__(self) -> None:
        self.next_offset: int | None = None
        """Where to go on reading, should all that is not held here have been applied; None if unknown."""
        self._held: deque[Arrival] = deque()
        self._begins_after: int | None = None

    def add(self, arrival: Arrival) -> None:
        """Take in the next message."""
        reached = self._held[-1].recorded.position if self._held else self._begins_after
        if reached is not None and arrival.recorded.position <= reached:
            self.pass_over(arrival.offset)
            return
        if reached is None or arrival.previous_position > reached:
            self._held.clear()
            self._begins_after = arrival.previous_position
        self._held.append(arrival)

    def pass_over(self, offset: int) -> None:
        """Note that a message holds nothing to be applied."""
        if not self._held:
            self.next_offset = offset + 1

    def forget(self, applied: int) -> None:
        """Let go of what has been applied."""
        while self._held and self._held[0].recorded.position <= applied:
            self.next_offset = self._held.popleft().offset + 1
        if self._begins_after is None or applied > self._begins_after:
            self._begins_after = applied

    def connect_to(self, applied: int) -> bool:
        """Whether nothing is missing between what has been applied and what is held here."""
        return self._begins_after is None or self._begins_after <= applied

    def beyond(self, applied: int) -> Iterator[RecordedEvent]:
        """Yield the events that have not been applied."""
        return (one.recorded for one in self._held if one.recorded.position > applied)


class Assigned:
    """What has arrived of the partitions that are ours, which others may get at any time."""

    def __init__(self) -> None:
        self._arrivals: Mapping[int, Arrivals] = {}

    @property
    def partitions(self) -> Sequence[int]:
        """The partitions that are ours."""
        return sorted(self._arrivals)

    @property
    def next_offsets(self) -> Mapping[int, int]:
        """Where to go on reading each partition, as far as that is known."""
        offsets = {partition: arrivals.next_offset for partition, arrivals in self._arrivals.items()}
        return {partition: offset for partition, offset in offsets.items() if offset is not None}

    def assign(self, partitions: Iterable[int]) -> None:
        """Have these partitions from now on, and keep what has arrived of those that we had."""
        self._arrivals = {one: self._arrivals.get(one) or Arrivals() for one in partitions}

    def of(self, partition: int) -> Arrivals | None:
        """What has arrived of a partition; None where it is not ours."""
        return self._arrivals.get(partition)

    def forget(self, applied: Positions) -> None:
        """Let go of what has been applied."""
        for partition, arrivals in self._arrivals.items():
            arrivals.forget(applied[partition])

    def reading(self, after: Positions, limit: int) -> Reading | None:
        """Return up to `limit` events beyond `after`; None where one before them has not arrived."""
        events: list[RecordedEvent] = []
        until: dict[int, int] = {}
        for partition, arrivals in self._arrivals.items():
            if not arrivals.connect_to(after[partition]):
                return None
            came = list(arrivals.beyond(after[partition]))
            if came:
                events += came
                until[partition] = came[-1].position
        events.sort(key=lambda recorded: recorded.position)
        reading = Reading(events, {partition: after[partition] for partition in until}, until)
        return reading.first(limit) if len(events) > limit else reading
