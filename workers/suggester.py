"""Making suggestions: what a read model says is due becomes a command, once until it can know better.

A read model lags, so what it suggests may have been done. That costs a command that changes nothing, never a
wrong event. It is not sent again while the first is under way, nor before the read model has passed the log
position of its answer, and then ever more rarely.
"""

import asyncio
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from itertools import islice
from typing import NamedTuple
from uuid import uuid4

import structlog

from aggregates.errors import DomainError
from commands.bus import Answer, CommandBus
from commands.command import Command

AT_ONCE = 512
"""So many commands of one duty wait on the bus together: two batches, of which one is being appended."""

FAILED_AGAIN_AFTER_S = 0.5
AGAIN_AFTER_MIN_S, AGAIN_AFTER_MAX_S = 1.0, 60.0

log = structlog.get_logger(__name__)


class _Made(NamedTuple):
    """A suggestion that was answered."""

    position: int
    again_at: float
    """By a monotonic clock."""
    again_after_s: float


class Suggester:
    """Sends one duty's suggestions and remembers them, for as long as this process leads."""

    def __init__(self, bus: CommandBus, leads: Callable[[], bool]) -> None:
        self._bus = bus
        self._leads = leads
        self._made: dict[Hashable, _Made] = {}

    @property
    def remembered(self) -> int:
        """How many suggestions a query may still return in vain."""
        return len(self._made)

    async def make(self, position: int, due: Mapping[Hashable, Command]) -> Sequence[Hashable]:
        """Send what is new among all that is due by a read model at `position`; return what was sent.

        At most AT_ONCE at a time: the rest is left for the next round.
        """
        self._forget(position, due)
        fresh = dict(islice(((key, due[key]) for key in due if self._may_make(key, position)), AT_ONCE))
        answers = await send(self._bus, self._leads, list(fresh.values()))
        for key, answer in zip(fresh, answers, strict=False):
            self._note(key, answer)
        return list(fresh)[: len(answers)]

    def _forget(self, position: int, due: Mapping[Hashable, Command]) -> None:
        """Drop what the read model has seen and does not suggest any more."""
        seen = [key for key, made in self._made.items() if made.position <= position and key not in due]
        for key in seen:
            del self._made[key]

    def _may_make(self, key: Hashable, position: int) -> bool:
        made = self._made.get(key)
        return made is None or (made.position <= position and made.again_at <= time.monotonic())

    def _note(self, key: Hashable, answer: Answer) -> None:
        if isinstance(answer.outcome, Exception):
            self._made[key] = _Made(0, time.monotonic() + FAILED_AGAIN_AFTER_S, AGAIN_AFTER_MIN_S)
            return
        before = self._made.get(key)
        again_after_s = (
            AGAIN_AFTER_MIN_S if before is None else min(2 * before.again_after_s, AGAIN_AFTER_MAX_S)
        )
        self._made[key] = _Made(answer.position, time.monotonic() + again_after_s, again_after_s)


async def send(bus: CommandBus, leads: Callable[[], bool], commands: Sequence[Command]) -> Sequence[Answer]:
    """Send the commands of one round together, if this process leads, and tell of those that failed."""
    if not commands or not leads():
        return []
    round_id = uuid4()
    answers = await asyncio.gather(*(bus.execute(command, causation_id=round_id) for command in commands))
    for command, answer in zip(commands, answers, strict=True):
        _tell(command, answer)
    return answers


def _tell(command: Command, answer: Answer) -> None:
    name = type(command).__name__
    match answer.outcome:
        case DomainError() as refusal:
            log.info("suggestion_refused", command=name, code=refusal.code)
        case Exception() as defect:
            log.error("suggestion_failed", command=name, exc_info=defect)
