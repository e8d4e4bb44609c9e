"""The real service in one process: two command buses on one log in memory, as two API processes share one.

What a bus remembers of streams goes out of date whenever the other one appends. Appends meet trouble when the
test says so: somebody else was faster, or the log does not say whether it has recorded.
"""

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from aggregates.event import RecordedEvent
from commands.batch import Keyed
from commands.bus import Answer, CommandBus
from commands.command import Command
from commands.ports import KeyOfCaller, Known, OutcomeUnknown, VersionConflict, Writes, evolved, nothing_known
from commands.unit_of_work import ServiceRules
from infrastructure.in_memory_log import InMemoryEventLog
from tests.aggregates.strategies import round_trip
from tests.properties.model.service import Wish


def reply_to(outcome: Any) -> bytes:
    """What goes on record for a key: the outcome as it prints."""
    return repr(outcome).encode()


class TroubledLog(InMemoryEventLog):
    """Its next appends fail as they can fail."""

    def __init__(self, clock: datetime) -> None:
        super().__init__(clock)
        self.conflicts = 0
        """So many appends meet a version conflict."""
        self.answer_is_lost = False
        """The next append is recorded, and nobody hears of it."""

    def append(self, writes: Writes) -> Sequence[int]:
        if self.conflicts:
            self.conflicts -= 1
            raise VersionConflict
        positions = super().append(writes)
        if self.answer_is_lost:
            self.answer_is_lost = False
            raise OutcomeUnknown
        return positions


class Unobserved:
    """Counts nothing."""

    def decided(self, command: Command, outcome: Any) -> None:
        """Nobody asks."""

    def appended(self, commands: int, events: int, seconds: float) -> None:
        """Nobody asks."""

    def conflicted(self) -> None:
        """Nobody asks."""


class RealService:
    """Two buses, and a clock that the test sets (`log.clock`)."""

    def __init__(self, rules: ServiceRules, clock: datetime) -> None:
        self.log = TroubledLog(clock)
        self._rules = rules
        self._loop = asyncio.new_event_loop()
        self._buses = [self._start(), self._start()]
        self._remembered: dict[str, Known] = {}

    def ask(self, wishes: Sequence[Wish], bus: int) -> tuple[Sequence[Answer], Sequence[RecordedEvent]]:
        """Let these wait in line together at one of the buses; return the answers, and what was recorded."""
        position = len(self.log.events)
        answers = self._loop.run_until_complete(self._execute(wishes, bus))
        return answers, self.log.events[position:]

    def restart(self, bus: int) -> None:
        """One process ends, and another begins that remembers nothing."""
        self._loop.run_until_complete(self._stop(bus))
        self._buses[bus] = self._start()

    def stop(self) -> None:
        """End both, and check that what they remember is what the log says."""
        for bus in range(len(self._buses)):
            self._loop.run_until_complete(self._stop(bus))
        self._loop.close()
        for known in self._remembered.values():
            if known.stream.aggregate.shape is not None:
                assert self._from_a_snapshot(known).state == self._from_scratch(known).state, (
                    known.stream.name
                )

    def _start(self) -> tuple[CommandBus, asyncio.Task[None]]:
        bus = CommandBus(self.log, Unobserved(), self._rules)
        return bus, self._loop.create_task(bus.run())

    async def _stop(self, bus: int) -> None:
        stopping, running = self._buses[bus]
        stopping.close()
        await running
        memory = stopping._memory
        self._remembered |= memory._known
        for name, known in memory._known.items():
            events = [event for event in self.log.events[: memory.until] if event.stream == name]
            assert known == evolved(nothing_known(known.stream), events), name

    async def _execute(self, wishes: Sequence[Wish], bus: int) -> Sequence[Answer]:
        executing, _ = self._buses[bus]
        return await asyncio.gather(*(executing.execute(wish.command, keyed=_keyed(wish)) for wish in wishes))

    def _from_scratch(self, known: Known) -> Known:
        return self.log.up_to_date(nothing_known(known.stream))

    def _from_a_snapshot(self, known: Known) -> Known:
        """As a bus that starts from a snapshot of half of the stream knows it."""
        stream = known.stream
        events = [event for event in self.log.events if event.stream == stream.name]
        half = evolved(nothing_known(stream), events[: len(events) // 2])
        return self.log.up_to_date(
            Known(stream, round_trip(half.state, stream.aggregate.shape), half.version, half.position)
        )


def _keyed(wish: Wish) -> Keyed | None:
    if wish.key is None:
        return None
    return Keyed(KeyOfCaller(wish.key.caller, wish.key.key), wish.key.request, reply_to)
