"""The bus: runs commands in batches, each batch in one append (group commit, without a timer).

While one batch is being appended the next one gathers, so a busy service appends large batches and an idle
one answers at once. Under the append lock a batch reads, decides and appends; an answer leaves only after the
append that it rests on has committed.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar, cast
from uuid import UUID

import structlog

from aggregates.ids import TokenId
from aggregates.stream import Stream
from commands.batch import Decided, Keyed, MoreNeeded, Submission, decide
from commands.command import Command
from commands.errors import HistoryUnreadable, Overloaded, StoreUnavailable, TryAgain
from commands.fresh_ids import fresh_id
from commands.memory import Memory
from commands.ports import (
    Append,
    BrokenHistory,
    EventLog,
    Known,
    LogReplaced,
    LogUnavailable,
    OutcomeUnknown,
    VersionConflict,
    Wanted,
    nothing_known,
)
from commands.table import HANDLERS
from commands.unit_of_work import ServiceRules

WAITING_MAX = 10_000
"""More would wait longer than their callers do."""

BATCH_COMMANDS_MAX = 256
"""Larger batches append hardly faster, and hold the lock for longer."""

TRIES_MAX = 5
"""A batch that met a version conflict so often gives up with TRY_AGAIN."""

READS_MAX = 8
"""A command finds its streams in three reads at most; a batch of them that needs more is a defect."""

APPEND_DEADLINE_S = 5.0
"""An append that has not committed after so long is given up."""

FIND_DEADLINE_S = 3.0
"""So much longer a caller waits to hear whether an append of unknown outcome is in the log.

It takes 2 s to end a backend that still holds the append lock for a client that is gone.
"""

RETRY_PAUSE_S = 0.05

S = TypeVar("S")

_Streams = dict[str, Stream[Any]]
"""By their names."""

log = structlog.get_logger(__name__)


class Answer(NamedTuple):
    """What became of a command."""

    outcome: Any
    """Its result, the DomainError that refused it, or another exception: a defect.

    None where `recorded` is an earlier answer.
    """
    position: int
    """The log's position at which the outcome holds."""
    recorded: bytes | None = None
    """The answer on record for the command's idempotency key."""


class BusObserver(Protocol):
    """Who counts what the bus does."""

    def decided(self, command: Command, outcome: Any) -> None:
        """A command was answered with a result or a DomainError."""
        ...

    def appended(self, commands: int, events: int, seconds: float) -> None:
        """A batch was appended."""
        ...

    def conflicted(self) -> None:
        """A batch met a version conflict and is decided anew."""
        ...


class _Waiting(NamedTuple):
    submission: Submission
    answered: asyncio.Future[Answer]


class CommandBus:
    """Takes commands, and answers each after its append. One per process; `run` does the work."""

    def __init__(
        self, event_log: EventLog, observer: BusObserver, rules: ServiceRules, memory: Memory | None = None
    ) -> None:
        self._log = event_log
        self._observer = observer
        self._rules = rules
        self._waiting: deque[_Waiting] = deque()
        self._arrived = asyncio.Event()
        self._closing = False
        self._memory = memory or Memory()

    async def execute(
        self, command: Command, *, causation_id: UUID | None = None, keyed: Keyed | None = None
    ) -> Answer:
        """Run a command and return what became of it; refusals are returned, not raised.

        A caller who stops waiting does not stop the command.
        """
        if len(self._waiting) >= WAITING_MAX or self._closing:
            return Answer(Overloaded(), 0)
        command_id = fresh_id()
        submission = Submission(command, command_id, causation_id or command_id, keyed)
        waiting = _Waiting(submission, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        self._arrived.set()
        return await waiting.answered

    def close(self) -> None:
        """Take no more commands; `run` ends when those that wait have been answered."""
        self._closing = True
        self._arrived.set()

    async def run(self) -> None:
        """Run batches until closed and drained. When it is cut off, those who wait are told so.

        Raises LogReplaced: nothing that is remembered here may be decided on.
        """
        try:
            while self._waiting or not self._closing:
                if not self._waiting:
                    self._arrived.clear()
                    await self._arrived.wait()
                    continue
                await self._run_batch(self._take_batch())
        finally:
            self._closing = True
            self._answer(self._waiting, [Answer(StoreUnavailable("NONE"), 0)] * len(self._waiting))

    def _take_batch(self) -> list[_Waiting]:
        size = min(len(self._waiting), BATCH_COMMANDS_MAX)
        return [self._waiting.popleft() for _ in range(size)]

    async def _run_batch(self, batch: list[_Waiting]) -> None:
        """Answer a batch, or put back what it did not get to: it keeps its place before later arrivals."""
        try:
            answers = await self._settle([waiting.submission for waiting in batch])
        except LogReplaced:
            self._answer(batch, [Answer(StoreUnavailable("NONE"), 0)] * len(batch))
            raise
        except LogUnavailable:
            batch += self._waiting
            self._waiting.clear()
            answers = [Answer(StoreUnavailable("NONE"), 0)] * len(batch)
        except BaseException:
            self._answer(batch, [_unknown(waiting.submission) for waiting in batch])
            raise
        self._waiting.extendleft(reversed(batch[len(answers) :]))
        self._answer(batch, answers)

    def _answer(self, batch: Iterable[_Waiting], answers: Sequence[Answer]) -> None:
        answered = list(zip(batch, answers, strict=False))
        for waiting, answer in answered:
            if not waiting.answered.done():
                waiting.answered.set_result(answer)
        for waiting, answer in answered:
            self._observer.decided(waiting.submission.command, answer.outcome)

    async def _settle(self, submissions: Sequence[Submission]) -> Sequence[Answer]:
        """Run a batch, or as much of it as goes together, until it is appended or keeps conflicting.

        A stream that cannot be read, and a defect outside of the handlers, halves the batch, so that in the
        end it meets only what caused it.
        Raises LogUnavailable at the deadline.
        """
        clock = asyncio.get_running_loop().time
        deadline = clock() + APPEND_DEADLINE_S
        tries = 0
        while True:
            try:
                appended = await self._attempt(submissions, deadline)
            except VersionConflict:
                tries += 1
                self._memory.clear()
                self._observer.conflicted()
                if tries == TRIES_MAX:
                    return [Answer(TryAgain(), 0)] * len(submissions)
            except LogUnavailable:
                if clock() + RETRY_PAUSE_S >= deadline:
                    raise
                await asyncio.sleep(RETRY_PAUSE_S)
            except LogReplaced:
                raise
            except _Unsettled as unsettled:
                return [_unknown(submission) for submission in submissions[: unsettled.commands]]
            except Exception as defect:  # noqa: BLE001 (it is logged, and answered)
                answer = self._failed(defect, len(submissions))
                if len(submissions) == 1:
                    return [answer]
                submissions = submissions[: len(submissions) // 2]
            else:
                return self._conclude(*appended)

    def _failed(self, defect: Exception, commands: int) -> Answer:
        """Say why no batch with this in it can be appended."""
        if isinstance(defect, BrokenHistory):
            log.error("history_broken", reason=str(defect), commands=commands)
            return Answer(HistoryUnreadable(), 0)
        log.error("batch_failed", commands=commands, exc_info=defect)
        self._memory.clear()
        return Answer(defect, 0)

    async def _attempt(
        self, submissions: Sequence[Submission], deadline: float
    ) -> tuple[Append, Decided, Sequence[int], float]:
        started = time.perf_counter()
        streams = self._streams(submissions, self._memory.find)
        append = await self._log.begin(self._wanted(submissions, streams), deadline)
        try:
            self._memory.read_on(append.reading)
            decided = await self._decide(append, submissions, streams)
            positions = await self._commit(append, decided)
        except BaseException:
            await append.give_up()
            raise
        return append, decided, positions, time.perf_counter() - started

    def _conclude(
        self, append: Append, decided: Decided, positions: Sequence[int], seconds: float
    ) -> Sequence[Answer]:
        self._memory.keep(append.reading.known, decided.states, decided.writes.events, positions)
        self._observer.appended(len(decided.decisions), len(decided.writes.events), seconds)
        position = positions[-1] if positions else append.reading.position
        return _answers(decided, position)

    async def _decide(self, append: Append, submissions: Sequence[Submission], streams: _Streams) -> Decided:
        """Decide, reading on for as long as what was read, or a handler, asks for more."""
        batch_id = fresh_id()
        known = append.reading.known

        def find(name: str) -> Known | None:
            return known.get(name) or self._memory.find(name)

        has_news = bool(append.reading.appended) or any(read.version for read in known.values())
        for _ in range(READS_MAX):
            await self._recall(append, streams)
            if has_news and (also := self._streams(submissions, find)).keys() - streams.keys():
                streams = also
                continue
            try:
                return decide(submissions, append.reading, self._rules, batch_id)
            except MoreNeeded as more:
                streams = {stream.name: stream for stream in more.streams}
                streams |= self._streams(submissions, find)
        raise AssertionError("a batch keeps needing more streams")

    async def _recall(self, append: Append, streams: _Streams) -> None:
        """Have the reading know these streams: as they are remembered, else read."""
        known = append.reading.known
        unread: list[Known] = []
        for name, stream in streams.items():
            if name in known:
                continue
            remembered = self._memory.find(name)
            if remembered is None:
                unread.append(nothing_known(stream))
            else:
                known[name] = remembered
        if unread:
            await append.read_more(unread)

    async def _commit(self, append: Append, decided: Decided) -> Sequence[int]:
        if not decided.writes:
            await append.give_up()
            return ()
        try:
            return await append.commit(decided.writes)
        except OutcomeUnknown:
            return await self._find(decided)

    async def _find(self, decided: Decided) -> Sequence[int]:
        """Look an append up whose outcome the log did not say; it is never guessed, never simply repeated."""
        log.warning("append_outcome_unknown", events=len(decided.writes.events))
        clock = asyncio.get_running_loop().time
        deadline = clock() + FIND_DEADLINE_S
        while clock() < deadline:
            try:
                found = await self._log.find(decided.writes, deadline)
            except LogUnavailable:
                await asyncio.sleep(RETRY_PAUSE_S)
                continue
            except LogReplaced:
                break  # this log cannot say what became of it in the one that is gone
            if found is None:
                raise VersionConflict
            return found
        raise _Unsettled(len(decided.decisions))

    def _wanted(self, submissions: Sequence[Submission], streams: _Streams) -> Wanted:
        keys = [submission.keyed.key for submission in submissions if submission.keyed is not None]
        silent: list[TokenId] = []
        for submission in submissions:
            token_id = HANDLERS[type(submission.command)].silence_of(submission.command)
            if token_id is not None:
                silent.append(token_id)
        find = self._memory.find
        unread = [nothing_known(stream) for name, stream in streams.items() if find(name) is None]
        return Wanted(unread, keys, silent, self._memory.until)

    def _streams(self, submissions: Sequence[Submission], find: Callable[[str], Known | None]) -> _Streams:
        def peek(stream: Stream[S]) -> S | None:
            known = find(stream.name)
            return None if known is None else cast("S", known.state)

        return {
            stream.name: stream
            for submission in submissions
            for stream in HANDLERS[type(submission.command)].streams(submission.command, peek)
        }


class _Unsettled(Exception):
    """The outcome of an append stayed unknown to the deadline."""

    def __init__(self, commands: int) -> None:
        super().__init__(commands)
        self.commands = commands


def _unknown(submission: Submission) -> Answer:
    return Answer(StoreUnavailable("UNKNOWN", repeatable=submission.keyed is not None), 0)


def _answers(decided: Decided, position: int) -> Sequence[Answer]:
    answers: list[Answer] = []
    for decision in decided.decisions:
        if decision.recorded is None:
            answers.append(Answer(decision.outcome, position, decision.reply))
        else:
            recorded_at = decision.recorded.position or position
            answers.append(Answer(None, recorded_at, decision.recorded.reply))
    return answers
