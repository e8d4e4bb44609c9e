"""What a bus remembers of streams: their states, each true up to one position of the log.

Own appends move it on. What others have appended since is read under the append lock with every batch
(`Reading.changed`), and forgotten here. So what is remembered need not be read again, and yet every decision
rests on the streams as they are at its place in the log.
"""

from collections import OrderedDict
from collections.abc import Mapping, Sequence

from commands.ports import Known, NewEvent, Reading

STATES_MAX = 50_000
"""About 1 KiB each: every seat of a large arena and everyone who is buying."""


class Memory:
    """The states of the streams that were used last."""

    def __init__(self, states_max: int = STATES_MAX) -> None:
        self.until = 0
        """Up to this position of the log everything here is true."""
        self._states_max = states_max
        self._known: OrderedDict[str, Known] = OrderedDict()

    def find(self, name: str) -> Known | None:
        """What is remembered of a stream."""
        return self._known.get(name)

    def read_on(self, reading: Reading) -> None:
        """Forget what others have changed up to where the log was read."""
        if reading.changed is None:
            self._known.clear()
        else:
            for name in reading.changed:
                self._known.pop(name, None)
        self.until = reading.position

    def keep(
        self,
        read: Mapping[str, Known],
        decided: Mapping[str, Known],
        events: Sequence[NewEvent],
        positions: Sequence[int],
    ) -> None:
        """Take over what a batch has read, and made of it with these events, now at these positions."""
        known = self._known
        for name, state in read.items():
            known[name] = state
            known.move_to_end(name)
        last_positions = {
            event.stream.name: position for event, position in zip(events, positions, strict=False)
        }
        for name, position in last_positions.items():
            last = decided[name]
            known[name] = Known(last.stream, last.state, last.version, position)
        if events and positions[-1] == self.until + len(events):
            self.until = positions[-1]  # else somebody wrote past the lock meanwhile, or a number was lost
        while len(known) > self._states_max:
            known.popitem(last=False)

    def clear(self) -> None:
        """Forget everything."""
        self._known.clear()
        self.until = 0
