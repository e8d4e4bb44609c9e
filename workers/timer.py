"""The timer: does what becomes due. One process leads; any number of others stand by (architecture: "Timer").

It reads the read models and sends commands, which decide again on the streams: whatever it gets wrong costs a
command that changes nothing. What is due is judged by the database's clock, never by this process's.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import structlog

from aggregates.errors import DomainError
from commands.bus import CommandBus
from commands.command import Command
from commands.errors import StoreUnavailable
from commands.memory import Memory
from infrastructure.event_log import PostgresEventLog
from infrastructure.leader import Leader
from infrastructure.pause import pause
from infrastructure.read_models import ReadModels
from infrastructure.settings import Settings
from infrastructure.worker_status import Facts, WorkerStatus
from workers.duty import Duty
from workers.expiry import Expiry
from workers.gate import Gate
from workers.housekeeping import Housekeeping
from workers.silence import Silence
from workers.suggester import Suggester
from workers.timetable import Timetable

ROLE = "timer"

ROUND_EVERY_S = 0.1
"""Short against the half second within which people are let in, and the second within which holds expire."""

BACKLOG_EVERY_S = 0.01
"""With a backlog a round follows at once, but never in a loop that does nothing else."""

SILENCE_EVERY_S = 1.0
HOUSEKEEPING_EVERY_S = 60.0

DEFECT_PAUSE_S = 1.0
"""A round that failed in an unforeseen way is tried again, and must not fill the log."""

log = structlog.get_logger(__name__)


class Timer:
    """All duties, each at a pace of its own so that none holds up another."""

    def __init__(self, bus: CommandBus, read_models: ReadModels, leads: Callable[[], bool]) -> None:
        self._leads = leads
        self._expiry = Expiry(read_models, Suggester(bus, leads))
        self._duties: tuple[tuple[Duty, float], ...] = (
            (self._expiry, ROUND_EVERY_S),
            (Gate(bus, read_models, leads), ROUND_EVERY_S),
            (Timetable(read_models, Suggester(bus, leads)), ROUND_EVERY_S),
            (Silence(read_models, Suggester(bus, leads)), SILENCE_EVERY_S),
            (Housekeeping(read_models), HOUSEKEEPING_EVERY_S),
        )

    @property
    def lateness_s(self) -> float:
        """How long after its deadline the last expiry was recorded."""
        return self._expiry.lateness_s

    async def run(self, stop: asyncio.Event) -> None:
        """Attend to all duties until `stop`."""
        async with asyncio.TaskGroup() as tasks:
            for duty, every_s in self._duties:
                tasks.create_task(self._attend(duty, every_s, stop))

    async def _attend(self, duty: Duty, every_s: float, stop: asyncio.Event) -> None:
        while not stop.is_set():
            began = time.monotonic()
            wait_s = await self._round(duty, every_s)
            await pause(max(BACKLOG_EVERY_S, began + wait_s - time.monotonic()), stop)

    async def _round(self, duty: Duty, every_s: float) -> float:
        """Do one round; return how long after its beginning the next one is to begin."""
        if not self._leads():
            return every_s
        try:
            return BACKLOG_EVERY_S if await duty.round() else every_s
        except StoreUnavailable:
            return max(every_s, DEFECT_PAUSE_S)
        except Exception:  # one duty's defect must not end the others
            log.exception("timer_round_failed", duty=type(duty).__name__)
            return max(every_s, DEFECT_PAUSE_S)


class CommandTally:
    """Counts what became of the timer's commands. See `commands.bus.BusObserver`."""

    def __init__(self) -> None:
        self.outcomes: Counter[str] = Counter()
        """By the command's name and its outcome: `OK`, or the code of the refusal."""
        self.conflicts = 0

    def decided(self, command: Command, outcome: Any) -> None:
        """Count a command."""
        label = "OK"
        if isinstance(outcome, Exception):
            label = outcome.code if isinstance(outcome, DomainError) else "INTERNAL_ERROR"
        self.outcomes[f"{type(command).__name__} {label}"] += 1

    def appended(self, commands: int, events: int, seconds: float) -> None:
        """Pass over how large the batches are."""

    def conflicted(self) -> None:
        """Count a batch that is decided anew."""
        self.conflicts += 1


class TimerProcess:
    """One process that leads, or stands by until it does."""

    def __init__(self, settings: Settings) -> None:
        self._dsn = settings.required_database_url
        self._rules = settings.service_rules
        self._leader = Leader(self._dsn, ROLE)
        self._tally = CommandTally()
        self._timer: Timer | None = None

    async def run(self, stop: asyncio.Event) -> None:
        """Run until `stop`; what was sent by then is answered."""
        event_log = PostgresEventLog(self._dsn)
        memory = Memory(learns=False)  # what buyers begin is seldom the timer's concern
        bus = CommandBus(event_log, self._tally, self._rules, memory)
        status = WorkerStatus(self._dsn, ROLE, self._facts)
        async with ReadModels(self._dsn) as read_models, asyncio.TaskGroup() as tasks:
            tasks.create_task(status.run(stop))
            running = tasks.create_task(bus.run())
            try:
                await self._leader.lead(lambda: self._attend(bus, read_models, stop), stop)
            finally:
                bus.close()
                await running
                await event_log.close()

    async def _attend(self, bus: CommandBus, read_models: ReadModels, stop: asyncio.Event) -> None:
        """Lead: begin with nothing remembered."""
        self._timer = Timer(bus, read_models, lambda: self._leader.leads)
        try:
            await self._timer.run(stop)
        finally:
            self._timer = None

    def _facts(self) -> Facts:
        return {
            "leads": self._leader.leads,
            "lateness_s": None if self._timer is None else self._timer.lateness_s,
            "commands": dict(self._tally.outcomes),
            "conflicts": self._tally.conflicts,
        }


async def run(settings: Settings, stop: asyncio.Event) -> None:
    """Run one timer process until `stop` is set. Raises SettingsError without a database."""
    await TimerProcess(settings).run(stop)
