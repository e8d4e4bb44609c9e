"""A whole service without HTTP, on a real log and in real time: commands, a projector, and timers.

    sale.done(on_sale(max_active=1), waiting(ANN), waiting(BEN))
    sale.start_timer()
    sale.until(lambda: sale.events(TokenActivated))

It runs in the test's own thread: whoever works in the background does so while the test asks or waits.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from datetime import date, timedelta
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

import msgspec
import psycopg
import pytest
from psycopg import AsyncConnection

from aggregates.event import Event, RecordedEvent
from commands.bus import Answer, CommandBus
from commands.command import Command
from commands.ports import Append, EventLog, Wanted, Writes
from commands.run_sale import OpenSales
from commands.unit_of_work import ServiceRules
from infrastructure import codec
from infrastructure.event_log import PostgresEventLog
from infrastructure.feed import PostgresFeed
from infrastructure.read_models import ReadModels
from projections.projector import Projector
from projections.registry import PROJECTIONS
from tests.aggregates.given import CODE
from tests.commands.steps import announce, schedule
from workers.duty import Duty
from workers.timer import CommandTally, Timer

P = ParamSpec("P")
T = TypeVar("T")
E = TypeVar("E", bound=Event)

WITHIN_S = 20.0
"""Nothing here takes so long; the machine may be busy."""

LOOK_EVERY_S = 0.01

NOT_LONG = timedelta()

SHOW_DAY = date(2096, 4, 1)
"""Far ahead: these tests run by a real clock."""

LOG = "SELECT notification_id, originator_version, topic, state FROM ticketing.ticketing_events ORDER BY 1"


class LiveSale:
    """The service; it ends with the test."""

    def __init__(self, dsn: str) -> None:
        self.dsn = dsn
        self.tally = CommandTally()
        """What the timers' commands came to."""
        self._runner = asyncio.Runner()
        self._stop = asyncio.Event()
        self._servants: list[asyncio.Task[None]] = []
        self._guests: list[asyncio.Task[None]] = []
        self._buses: list[CommandBus] = []
        self._logs: list[PostgresEventLog] = []
        self._feed = PostgresFeed(dsn)
        self._projector = Projector(dsn, self._feed, PROJECTIONS)
        self.connection = psycopg.connect(dsn, autocommit=True)
        self.read_models = ReadModels(dsn)
        self._buses_ago: dict[timedelta, CommandBus] = {}
        self._run(self.read_models.__aenter__())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._run(self._end())
        self.connection.close()
        self._runner.close()

    def done(self, *steps: Any, ago: timedelta = NOT_LONG) -> None:
        """Do these things, each in an append of its own; none of them is refused.

        They can be done some time `ago`, as long as nothing was done since.
        """
        for command in flat(steps):
            (outcome,) = self.ask(command, ago=ago)
            assert not isinstance(outcome, Exception), (command, outcome)

    def ask(self, *commands: Command, ago: timedelta = NOT_LONG) -> Sequence[Any]:
        """Let these commands wait in line together, and return what became of them."""
        bus = self._bus(ago)

        async def ask() -> Sequence[Answer]:
            return await asyncio.gather(*(bus.execute(command) for command in commands))

        return [answer.outcome for answer in self._run(ask())]

    def events(self, event_type: type[E]) -> Sequence[E]:
        """Everything of this type that is in the log."""
        return [one.event for one in self.log() if isinstance(one.event, event_type)]

    def log(self) -> Sequence[RecordedEvent]:
        """The whole log."""
        with self.connection.cursor(binary=True) as cursor:
            return [codec.decode(*row) for row in cursor.execute(LOG).fetchall()]

    def project(self) -> None:
        """Bring the read models up to date, once."""

        async def project() -> None:
            while await self._projector.advance():
                pass

        self._run(project())

    def start_projector(self) -> None:
        """Keep the read models up to date from now on."""
        self._serve(self._projector.run(self._stop))

    def start_timer(self) -> None:
        """Let one more timer work, as if it led."""
        timer = Timer(self.start_bus(self.tally), self.read_models, always)
        self._serve(timer.run(self._stop))

    def start_bus(self, tally: CommandTally | None = None, ago: timedelta = NOT_LONG) -> CommandBus:
        """Start a bus with a connection of its own, as another process has."""
        event_log = PostgresEventLog(self.dsn)
        bus = CommandBus(LogAsItWas(event_log, ago), tally or CommandTally(), ServiceRules())
        self._logs.append(event_log)
        self._buses.append(bus)
        self._serve(bus.run())
        return bus

    def read(
        self,
        query: Callable[Concatenate[AsyncConnection[Any], P], Awaitable[T]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Ask a read model, or the log."""
        return self._run(self.read_models.read(query, *args, **kwargs))

    def round(self, duty: Duty) -> bool:
        """Do one round of a duty."""
        return self._run(duty.round())

    def until(self, condition: Callable[[], Any], within_s: float = WITHIN_S) -> None:
        """Let time pass until the condition holds."""
        deadline = time.monotonic() + within_s
        while not condition():
            assert time.monotonic() < deadline, "waited in vain"
            self._run(asyncio.sleep(LOOK_EVERY_S))

    def in_background(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Let this work go on whenever the test asks or waits; it is cancelled when the test ends."""
        task = self._runner.get_loop().create_task(work)
        self._guests.append(task)
        return task

    def _serve(self, work: Coroutine[Any, Any, None]) -> None:
        self._servants.append(self._runner.get_loop().create_task(work))

    def _bus(self, ago: timedelta) -> CommandBus:
        if ago not in self._buses_ago:
            self._buses_ago[ago] = self.start_bus(ago=ago)
        return self._buses_ago[ago]

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(work)

    async def _end(self) -> None:
        for guest in self._guests:
            guest.cancel()
        await asyncio.gather(*self._guests, return_exceptions=True)
        self._stop.set()
        for bus in self._buses:
            bus.close()
        await asyncio.gather(*self._servants)
        for event_log in self._logs:
            await event_log.close()
        await self._projector.close()
        await self._feed.close()
        await self.read_models.__aexit__()


class LogAsItWas:
    """The log, used some time ago. See `commands.ports.EventLog`."""

    def __init__(self, event_log: EventLog, ago: timedelta) -> None:
        self._log = event_log
        self._ago = ago

    async def begin(self, wanted: Wanted, deadline: float) -> Append:
        """Read the clock as it was."""
        append = await self._log.begin(wanted, deadline)
        append.reading = msgspec.structs.replace(append.reading, now=append.reading.now - self._ago)
        return append

    async def find(self, writes: Writes, deadline: float) -> Sequence[int] | None:
        """Look up what became of an append."""
        return await self._log.find(writes, deadline)


def always() -> bool:
    """Lead, whoever else does."""
    return True


def flat(steps: Any) -> Iterator[Command]:
    """Go through commands and lists of them."""
    for step in steps:
        if isinstance(step, Command):
            yield step
        else:
            yield from flat(step)


def on_sale(*, seats: int = 50, **policy: Any) -> list[Command]:
    """Announce the concert under this policy, schedule its performance, open the sale."""
    return [announce(**policy), schedule(seats=seats, day=SHOW_DAY), OpenSales(CODE)]


@pytest.fixture
def sale(dsn: str) -> Iterator[LiveSale]:
    """A service on a fresh database."""
    with LiveSale(dsn) as live:
        yield live
