"""A command bus at work: what runs it, asks it, and counts what it tells its observer."""

import asyncio
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Generic, Self, TypeVar
from uuid import UUID

from commands.bus import Answer, CommandBus
from commands.command import Command
from commands.ports import EventLog
from commands.unit_of_work import ServiceRules
from tests.commands.sale import WithKey

Log = TypeVar("Log", bound=EventLog)


class RunningBus(Generic[Log]):
    """A bus that runs until the end of the context, and what it tells its observer."""

    def __init__(self, log: Log, rules: ServiceRules | None = None) -> None:
        self.log = log
        self.appends: list[tuple[int, int]] = []
        """How many commands and events each batch had."""
        self.seconds: list[float] = []
        """How long each took."""
        self.outcomes: list[tuple[Command, Any]] = []
        """What was told of each command."""
        self.conflicts = 0
        self.bus = CommandBus(log, self, rules or ServiceRules())
        self.running: asyncio.Task[None]

    async def __aenter__(self) -> Self:
        self.running = asyncio.create_task(self.bus.run())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bus.close()
        await asyncio.wait([self.running])

    async def ask(self, *commands: Command | WithKey) -> Sequence[Answer]:
        """Let these commands wait in line together."""
        return await asyncio.gather(*(self.execute(command) for command in commands))

    async def done(self, *steps: Any) -> None:
        """Do these things one after another; none of them is refused."""
        for step in steps:
            if isinstance(step, Command):
                answer = await self.execute(step)
                assert not isinstance(answer.outcome, Exception), (step, answer.outcome)
            else:
                await self.done(*step)

    async def execute(self, command: Command | WithKey, *, causation_id: UUID | None = None) -> Answer:
        """Ask for one thing."""
        if isinstance(command, Command):
            return await self.bus.execute(command, causation_id=causation_id)
        return await self.bus.execute(command.command, causation_id=causation_id, keyed=command.keyed)

    def decided(self, command: Command, outcome: Any) -> None:
        """See `commands.bus.BusObserver`."""
        self.outcomes.append((command, outcome))

    def appended(self, commands: int, events: int, seconds: float) -> None:
        """See `commands.bus.BusObserver`."""
        self.appends.append((commands, events))
        self.seconds.append(seconds)

    def conflicted(self) -> None:
        """See `commands.bus.BusObserver`."""
        self.conflicts += 1
