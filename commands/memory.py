"""What a bus remembers of streams: their states, each true up to one position of the log.

Own appends move it on, and so do others': what they have appended since is read under the append lock with
every batch (`Reading.appended`). So what is remembered need not be read again, and yet every decision rests
on the streams as they are at its place in the log.
"""

from collections import OrderedDict
from collections.abc import Mapping, Sequence

from aggregates.registry import stream_of
from commands.ports import Appended, BrokenHistory, Known, NewEvent, Reading, evolved, nothing_known

STATES_MAX = 50_000
"""About 1 KiB each: every seat of a large arena and everyone who is buying."""


class Memory:
    """The states of the streams that were used last."""

    def __init__(self, states_max: int = STATES_MAX, *, learns: bool = True) -> None:
        """`learns`: whether streams that others begin are remembered, too."""
        self.until = 0
        """Up to this position of the log everything here is true."""
        self._states_max = states_max
        self._learns = learns
        self._known: OrderedDict[str, Known] = OrderedDict()

    def find(self, name: str) -> Known | None:
        """What is remembered of a stream."""
        return self._known.get(name)

    def read_on(self, reading: Reading) -> None:
        """Take over what others have appended up to where the log was read; where that is untold, forget."""
        if reading.appended is None:
            self._known.clear()
        else:
            for appended in reading.appended:
                self._follow(appended)
            self._make_room()
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
        self._make_room()

    def clear(self) -> None:
        """Forget everything."""
        self._known.clear()
        self.until = 0

    def _follow(self, appended: Appended) -> None:
        """Add an event to what is remembered of its stream, or forget that stream."""
        name, version = appended.stream, appended.version
        known = self._known.get(name)
        if known is None and not (self._learns and version == 1):
            return
        if known is not None and version <= known.version:
            return  # an own one, read again
        try:
            recorded = appended.read()
        except BrokenHistory:
            self._known.pop(name, None)
            return
        known = known or nothing_known(stream_of(recorded))
        if version == known.version + 1:
            self._known[name] = evolved(known, [recorded])
        else:
            del self._known[name]

    def _make_room(self) -> None:
        while len(self._known) > self._states_max:
            self._known.popitem(last=False)
