"""The working copy on which a batch of commands is decided, one command after another.

Handlers load states and record events here. Nothing reaches the log before the whole batch is decided, and a
command that is refused leaves no trace in the copy.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Concatenate, NamedTuple, ParamSpec, TypeVar, cast
from uuid import UUID

from aggregates import queue
from aggregates.errors import DomainError
from aggregates.event import Event
from aggregates.ids import ConcertCode, TokenId, UserId
from aggregates.queue import Draft
from aggregates.stream import Stream
from aggregates.wallet import ChargeLimits
from commands.ports import Known, NewEvent, NewName, Reading, nothing_known

S = TypeVar("S")
P = ParamSpec("P")

SNAPSHOT_EVERY = 500
"""A stream is snapshotted when it grows past each multiple: loading one reads at most so many events."""


class Visit(NamedTuple):
    """One token's way through one concert's sale; its events carry the token id as correlation id."""

    code: ConcertCode
    token_id: TokenId


class Refused(NamedTuple):
    """A refusal that is recorded: the error is answered, and the events stay."""

    error: DomainError


class ServiceRules(NamedTuple):
    """The settings of the whole service that decisions depend on."""

    charge_limits: ChargeLimits = ChargeLimits()
    wallet_needs_token: bool = False


class StreamsNeeded(Exception):
    """A handler asked for a stream that has not been read under this lock."""

    def __init__(self, stream: Stream[Any]) -> None:
        super().__init__(stream.name)
        self.stream = stream


class UnitOfWork:
    """The states that a batch has read, and what its commands have made of them so far."""

    def __init__(self, reading: Reading, rules: ServiceRules, batch_id: UUID) -> None:
        self.now: datetime = reading.now
        self.rules = rules
        self.events: list[NewEvent] = []
        self.names: list[NewName] = []
        self._hearing = reading.hearing
        self._known: Mapping[str, Known] = reading.known
        self._batch_id = batch_id
        self._working: dict[str, Known] = {}
        self._drafts: dict[ConcertCode, Draft] = {}
        self._undo: list[Callable[[], None]] = []
        self._command_id = self._causation_id = batch_id

    def begin(self, command_id: UUID, causation_id: UUID) -> None:
        """Start one command; what it records can be taken back until the next begins."""
        self._command_id, self._causation_id = command_id, causation_id
        self._undo.clear()

    def take_back(self) -> None:
        """Forget everything that the command of the last `begin` has recorded."""
        for undo in reversed(self._undo):
            undo()
        self._undo.clear()

    def load(self, stream: Stream[S]) -> S:
        """Return the state of a stream as it is at this command's place in the log."""
        return cast("S", self._at(stream).state)

    def record(self, stream: Stream[Any], events: Sequence[Event], visit: Visit | None = None) -> None:
        """Append events to a stream, in this command's name.

        Within a visit they carry its token id as correlation id, and its concert as partition key where
        the stream has none of its own.
        """
        if events:
            self._record(self._at(stream), events, visit)

    def create(self, stream: Stream[Any], event: Event, visit: Visit | None = None) -> None:
        """Record the first event of a stream whose id was drawn for this command: there is nothing to read.

        Should somebody have the same id, the append is a version conflict.
        """
        self._record(nothing_known(stream), [event], visit)

    def _record(self, known: Known, events: Sequence[Event], visit: Visit | None) -> None:
        stream, state, version = known.stream, known.state, known.version
        evolve = stream.aggregate.evolve
        self._undo.append(self._restore(stream.name, len(self.events)))
        for event in events:
            version += 1
            state = evolve(state, event, self.now)
            self.events.append(self._new_event(stream, version, event, visit))
        self._working[stream.name] = Known(stream, state, version)

    def queue(self, code: ConcertCode) -> Draft:
        """Return what this batch has made of the concert's queue so far."""
        draft = self._drafts.get(code)
        return queue.draft(self.load(queue.stream(code))) if draft is None else draft

    def change_queue(
        self,
        code: ConcertCode,
        change: Callable[Concatenate[Draft, P], Draft],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Draft:
        """Apply one of the queue's decisions; the batch's changes are merged when it ends."""
        before = self.queue(code)
        after = change(before, *args, **kwargs)
        self._undo.append(lambda: self._drafts.__setitem__(code, before))
        self._drafts[code] = after
        return after

    def write_name(self, user_id: UserId, name: str | None) -> None:
        """Write, or erase with None, a user's name in the table beside the log."""
        self._undo.append(self._forget_name)
        self.names.append(NewName(user_id, name))

    def silent_since(self, token_id: TokenId, at_the_earliest: datetime) -> datetime | None:
        """Q8: since when a token has not been heard from, None where we could not have heard it."""
        if self._hearing.since is None:
            return None
        last_heard_at = self._hearing.last_heard_at.get(token_id, at_the_earliest)
        return max(at_the_earliest, last_heard_at, self._hearing.since)

    def merge_queues(self) -> None:
        """Record what the batch made of each queue, in the batch's own name, and end the batch.

        Nothing is left that could be taken back: such steps point back at their unit of work, and so would
        keep all that the batch has made until the garbage collector came for it.
        """
        self.begin(self._batch_id, self._batch_id)
        for code, draft in self._drafts.items():
            self.record(queue.stream(code), queue.events(draft))
        self._undo.clear()

    def states(self) -> Mapping[str, Known]:
        """The states of the streams that were recorded on."""
        return self._working

    def snapshots(self) -> list[Known]:
        """The long streams that grew past a multiple of SNAPSHOT_EVERY."""
        return [
            known
            for name, known in self._working.items()
            if known.stream.aggregate.shape is not None
            and known.version // SNAPSHOT_EVERY > self._known[name].version // SNAPSHOT_EVERY
        ]

    def _at(self, stream: Stream[Any]) -> Known:
        known = self._working.get(stream.name) or self._known.get(stream.name)
        if known is None:
            raise StreamsNeeded(stream)
        return known

    def _forget_name(self) -> None:
        self.names.pop()

    def _restore(self, name: str, event_count: int) -> Callable[[], None]:
        before = self._working.get(name)

        def undo() -> None:
            del self.events[event_count:]
            if before is None:
                self._working.pop(name, None)
            else:
                self._working[name] = before

        return undo

    def _new_event(self, stream: Stream[Any], version: int, event: Event, visit: Visit | None) -> NewEvent:
        correlation_id, partition_key = self._command_id, stream.partition_key
        if visit is not None:
            correlation_id, partition_key = visit.token_id, partition_key or visit.code
        return NewEvent(
            stream, version, event, partition_key, self._command_id, correlation_id, self._causation_id
        )
