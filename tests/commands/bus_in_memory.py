"""A command bus on a log in memory: troubles come when they are ordered, and waiting takes no time."""

import asyncio
import functools
import selectors
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from enum import Enum, auto
from typing import Any, ParamSpec

from commands.ports import (
    Append,
    BrokenHistory,
    Known,
    LogReplaced,
    LogUnavailable,
    OutcomeUnknown,
    VersionConflict,
    Wanted,
    Writes,
)
from commands.unit_of_work import ServiceRules
from infrastructure.in_memory_log import InMemoryEventLog
from tests.aggregates.given import at
from tests.commands import running_bus

P = ParamSpec("P")


class Trouble(Enum):
    """What goes wrong with one step at the log."""

    UNREACHABLE = auto()
    """When it begins, or looks an append up."""
    REPLACED = auto()
    """Likewise: it is no longer the log that it was."""
    BROKEN = auto()
    """Likewise: it holds an event that cannot be read."""
    LOCKED = auto()
    """Somebody else keeps the append lock, for longer than anybody looks."""
    CONFLICT = auto()
    """When it commits, and so the others."""
    DEFECT = auto()
    LOST_COMMIT = auto()
    """Nobody can tell, and nothing was recorded."""
    LOST_ACKNOWLEDGEMENT = auto()
    """Nobody can tell, and all was recorded."""


class TroubledLog:
    """A log in memory that has the troubles that are ordered. See `commands.ports.EventLog`."""

    def __init__(self) -> None:
        self.log = InMemoryEventLog(at("12:00"))
        self.begin_troubles: deque[Trouble | None] = deque()
        self.commit_troubles: deque[Trouble | None] = deque()
        self.find_troubles: deque[Trouble | None] = deque()
        self.wanted: list[Wanted] = []
        """What each append asked for when it began."""
        self.read_more: list[Sequence[Known]] = []
        """What appends then asked for besides."""
        self.finds = 0
        """How often an append was looked up."""

    @property
    def reads(self) -> int:
        """How many round trips went into reading."""
        return len(self.wanted) + len(self.read_more)

    async def begin(self, wanted: Wanted, deadline: float) -> "TroubledAppend":
        """Take the append lock, then read."""
        self.wanted.append(wanted)
        _be_there(_next(self.begin_troubles))
        return TroubledAppend(await self.log.begin(wanted, deadline), self)

    async def find(self, writes: Writes, deadline: float) -> Sequence[int] | None:
        """Look up what became of an append."""
        self.finds += 1
        trouble = _next(self.find_troubles)
        _be_there(trouble)
        somebody = await self.log.begin(Wanted([]), deadline) if trouble is Trouble.LOCKED else None
        try:
            return await self.log.find(writes, deadline)
        finally:
            if somebody is not None:
                await somebody.give_up()


class TroubledAppend:
    """See `commands.ports.Append`."""

    def __init__(self, append: Append, log: TroubledLog) -> None:
        self._append = append
        self._log = log
        self.reading = append.reading

    async def read_more(self, streams: Sequence[Known]) -> None:
        """Read further streams at the same place in the log."""
        self._log.read_more.append(streams)
        await self._append.read_more(streams)

    async def commit(self, writes: Writes) -> Sequence[int]:
        """Append, or do not, and say so, or do not."""
        match _next(self._log.commit_troubles):
            case Trouble.CONFLICT:
                raise VersionConflict
            case Trouble.DEFECT:
                raise ZeroDivisionError
            case Trouble.LOST_COMMIT:
                await self.give_up()
                raise OutcomeUnknown
            case Trouble.LOST_ACKNOWLEDGEMENT:
                await self._append.commit(writes)
                raise OutcomeUnknown
            case _:
                return await self._append.commit(writes)

    async def give_up(self) -> None:
        """Leave the place without recording anything."""
        await self._append.give_up()


class RunningBus(running_bus.RunningBus[TroubledLog]):
    """A bus on a log in memory."""

    def __init__(self, log: TroubledLog | None = None, rules: ServiceRules | None = None) -> None:
        super().__init__(log or TroubledLog(), rules)


def in_no_time(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Run a test that is a coroutine in an event loop whose clock jumps to whatever it waits for."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        with asyncio.Runner(loop_factory=_JumpingLoop) as runner:
            runner.run(test(*args, **kwargs))

    return run


class _JumpingLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now_s


class _JumpingSelector(selectors.DefaultSelector):
    now_s = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready:
            assert timeout is not None, "everybody waits for somebody else"
            self.now_s += timeout
        return ready


def _be_there(trouble: Trouble | None) -> None:
    match trouble:
        case Trouble.UNREACHABLE:
            raise LogUnavailable
        case Trouble.REPLACED:
            raise LogReplaced
        case Trouble.BROKEN:
            raise BrokenHistory
        case _:
            pass


def _next(troubles: deque[Trouble | None]) -> Trouble | None:
    return troubles.popleft() if troubles else None
