"""The event log in memory: the same contract as PostgreSQL's, with a clock that tests set, and no server."""

import asyncio
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from uuid import UUID

from aggregates.event import RecordedEvent
from aggregates.ids import UserId
from commands.ports import (
    Appended,
    Hearing,
    KeyOfCaller,
    Known,
    LogUnavailable,
    NewEvent,
    Reading,
    RecordedOutcome,
    VersionConflict,
    Wanted,
    Writes,
    evolved,
)


class InMemoryEventLog:
    """A log that lasts as long as its process, and is never out of reach.

    `begin` and `find` are the port that the command bus uses. `read` and `append` are the same without the
    lock, for callers who decide by themselves, or who play a writer that takes no lock.
    """

    def __init__(self, clock: datetime) -> None:
        self.clock = clock
        """What the clock says. It may be set to any time, also back; recorded times increase all the same."""
        self.hearing = Hearing()
        """What the tables beside the log say about who was heard from."""
        self.names: dict[UserId, str | None] = {}
        self._events: list[RecordedEvent] = []
        self._by_stream: defaultdict[str, list[RecordedEvent]] = defaultdict(list)
        self._outcomes: dict[KeyOfCaller, RecordedOutcome] = {}
        self._outcome_of_command: dict[UUID, KeyOfCaller] = {}
        self._lock = asyncio.Lock()

    @property
    def events(self) -> Sequence[RecordedEvent]:
        """Everything that was recorded, in order."""
        return self._events

    @property
    def outcomes(self) -> Mapping[KeyOfCaller, RecordedOutcome]:
        """The answers on record for idempotency keys."""
        return self._outcomes

    async def begin(self, wanted: Wanted, deadline: float) -> "InMemoryAppend":
        """Take the append lock and read. See `commands.ports.EventLog`."""
        await self._take_lock(deadline)
        try:
            return InMemoryAppend(self, self._lock, self.read(wanted))
        except BaseException:
            self._lock.release()
            raise

    async def find(self, writes: Writes, deadline: float) -> Sequence[int] | None:
        """Look an append up by what only it can have written. See `commands.ports.EventLog`."""
        await self._take_lock(deadline)
        try:
            if writes.events:
                return self._find_events(writes.events)
            return self._find_outcomes(writes)
        finally:
            self._lock.release()

    def read(self, wanted: Wanted) -> Reading:
        """Read what a batch wants. Raises VersionConflict where what was known is not so."""
        now = self.clock
        if self._events:
            now = max(now, self._events[-1].recorded_at + timedelta(microseconds=1))
        return Reading(
            now,
            len(self._events),
            {known.stream.name: self.up_to_date(known) for known in wanted.streams},
            {key: self._outcomes[key] for key in wanted.keys if key in self._outcomes},
            self.hearing,
            self._appended(wanted.appended_since) if wanted.appended_since else None,
        )

    def _appended(self, since: int) -> list[Appended]:
        return [
            Appended(event.stream, event.version, partial(_itself, event)) for event in self._events[since:]
        ]

    def up_to_date(self, known: Known) -> Known:
        """Add to what is known of a stream the events that follow. Raises VersionConflict as `read` does."""
        events = self._by_stream[known.stream.name]
        last_known = events[known.version - 1 : known.version] if known.version else []
        if [event.position for event in last_known] != ([known.position] if known.version else []):
            raise VersionConflict
        return evolved(known, events[known.version :])

    def append(self, writes: Writes) -> Sequence[int]:
        """Record all or nothing, and return as `Append.commit` does. Raises VersionConflict."""
        versions = {event.stream.name: len(self._by_stream[event.stream.name]) for event in writes.events}
        for event in writes.events:
            versions[event.stream.name] += 1
            if event.version != versions[event.stream.name]:
                raise VersionConflict
        if any(outcome.key in self._outcomes for outcome in writes.outcomes):
            raise VersionConflict
        positions = [self._add(event, writes.recorded_at) for event in writes.events]
        for outcome in writes.outcomes:
            recorded = RecordedOutcome(outcome.request, outcome.reply, len(self._events))
            self._outcomes[outcome.key] = recorded
            self._outcome_of_command[outcome.command_id] = outcome.key
        self.names |= {named.user_id: named.name for named in writes.names}
        return positions or [len(self._events)]

    async def _take_lock(self, deadline: float) -> None:
        try:
            async with asyncio.timeout_at(deadline):
                await self._lock.acquire()
        except TimeoutError as error:
            raise LogUnavailable from error

    def _add(self, event: NewEvent, recorded_at: datetime) -> int:
        recorded = RecordedEvent(
            len(self._events) + 1,
            event.stream.name,
            event.version,
            event.event,
            event.partition_key,
            recorded_at,
            event.command_id,
            event.correlation_id,
            event.causation_id,
        )
        self._events.append(recorded)
        self._by_stream[recorded.stream].append(recorded)
        return recorded.position

    def _find_events(self, wanted: Sequence[NewEvent]) -> Sequence[int] | None:
        found = list(self._matching(wanted))
        return found if len(found) == len(wanted) else None

    def _matching(self, wanted: Sequence[NewEvent]) -> Iterator[int]:
        for event in wanted:
            for recorded in self._by_stream[event.stream.name][event.version - 1 : event.version]:
                if recorded.command_id == event.command_id:
                    yield recorded.position

    def _find_outcomes(self, writes: Writes) -> Sequence[int] | None:
        for outcome in writes.outcomes:
            if self._outcome_of_command.get(outcome.command_id) != outcome.key:
                return None
            return [self._outcomes[outcome.key].position]
        return None


def _itself(event: RecordedEvent) -> RecordedEvent:
    return event


class InMemoryAppend:
    """A place in the log, held by the lock. See `commands.ports.Append`."""

    def __init__(self, event_log: InMemoryEventLog, lock: asyncio.Lock, reading: Reading) -> None:
        self.reading = reading
        self._log = event_log
        self._lock: asyncio.Lock | None = lock

    async def read_more(self, streams: Sequence[Known]) -> None:
        """Read further streams at the same place in the log."""
        for known in streams:
            self.reading.known[known.stream.name] = self._log.up_to_date(known)

    async def commit(self, writes: Writes) -> Sequence[int]:
        """Append, and leave the place."""
        try:
            return self._log.append(writes)
        finally:
            await self.give_up()

    async def give_up(self) -> None:
        """Leave the place; once left, nothing changes."""
        lock, self._lock = self._lock, None
        if lock is not None:
            lock.release()
