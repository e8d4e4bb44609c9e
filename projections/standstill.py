"""Noticing that a topic does not bring what the log has, so that the log is read in its place.

That may be the fault of whoever publishes, of the cluster, or of a projector that holds a partition and does
nothing with it. Each of them may come back at any time, and what two projectors apply is applied once.
"""

from collections import deque

from projections.partitions import Positions

LOOK_EVERY_S = 0.25

STILL_S = 1.25
"""So long a topic may be late, or a partition stand still, as far as two looks show it.

Both together are less than readers wait for what they have seen, and leave time to read the log.
"""

FROM_LOG_S = 5.0
"""Where a partition stood still, the log is read for so long, until the topic is tried again."""


class Standstill:
    """What was seen of a topic during the last moments. Times are by any clock that goes on evenly."""

    def __init__(self) -> None:
        self.lasts = False
        """Whether the log is to be read."""
        self._looks: deque[tuple[float, int]] = deque()
        self._seen: dict[int, tuple[int, float]] = {}
        self._from_log_until = 0.0

    def look(self, now: float, *, log: int, topic: int, partitions: Positions) -> None:
        """Note how far the log goes, how far the topic does, and what has been applied of each partition."""
        if self._stands_still(now, topic, partitions):
            self._from_log_until = now + FROM_LOG_S
        self._looks.append((now, log))
        while len(self._looks) > 1 and self._looks[1][0] <= now - STILL_S:
            self._looks.popleft()
        then, log_then = self._looks[0]
        is_late = then <= now - STILL_S and topic < log_then
        self.lasts = is_late or now < self._from_log_until

    def _stands_still(self, now: float, topic: int, partitions: Positions) -> bool:
        for partition, position in partitions.items():
            seen = self._seen.get(partition)
            if seen is None or position > seen[0] or position >= topic:
                self._seen[partition] = position, now
        return any(now - self._seen[partition][1] >= STILL_S for partition in partitions)
