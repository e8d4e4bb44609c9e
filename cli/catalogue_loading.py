"""Loading a catalogue: through the commands, adding what the log lacks and touching nothing that it has."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import date, datetime
from typing import Any, Final, LiteralString, NamedTuple
from zoneinfo import ZoneInfo

import msgspec
from psycopg import AsyncConnection

from aggregates import concert
from aggregates.concert import Concert
from aggregates.errors import ConcertAlreadyExists, DomainError, PerformanceAlreadyExists
from aggregates.ids import ConcertCode, PerformanceName, StartTime, performance_name
from cli.catalogue_format import Catalogue, CatalogueConcert, CataloguePerformance, Sales, day_of
from commands.announce_concert import AnnounceConcert
from commands.bus import CommandBus
from commands.command import Command
from commands.run_sale import OpenSales
from commands.schedule_performance import SchedulePerformance
from commands.unit_of_work import ServiceRules
from infrastructure import codec
from infrastructure.event_log import PostgresEventLog

CONNECT_TIMEOUT_S: Final = 5

EVENTS_OF_STREAM: Final[LiteralString] = """
    SELECT notification_id, originator_version, topic, state
    FROM ticketing.ticketing_events
    WHERE originator_id = %s
    ORDER BY originator_version
"""

LOG_IS_EMPTY: Final[LiteralString] = "SELECT NOT EXISTS (SELECT FROM ticketing.ticketing_events)"


class Loaded(NamedTuple):
    """What became of one concert of the file."""

    code: str
    announced: bool
    performances_added: int
    performances_known: int
    sales_opened: bool
    differences: Sequence[str]
    """What the log says otherwise than the file; it was left so."""

    @property
    def changed(self) -> bool:
        """Whether anything was recorded."""
        return self.announced or self.sales_opened or self.performances_added > 0


class NotLoaded(Exception):
    """A rule refused a part of the catalogue; what was loaded before it stays, and loading again goes on."""


class _Recorded(NamedTuple):
    """A concert as the log has it."""

    concert: Concert
    announced_at: datetime | None


class _Unobserved:
    """Nobody counts what a loading does."""

    def decided(self, command: Command, outcome: Any) -> None: ...

    def appended(self, commands: int, events: int, seconds: float) -> None: ...

    def conflicted(self) -> None: ...


async def log_is_empty(dsn: str) -> bool:
    """Tell whether nothing was ever recorded."""
    async with await AsyncConnection.connect(dsn, connect_timeout=CONNECT_TIMEOUT_S) as connection:
        cursor = await connection.execute(LOG_IS_EMPTY)
        return (await cursor.fetchall())[0] == (True,)


async def is_announced(dsn: str, code: ConcertCode) -> bool:
    """Tell whether the log knows this concert."""
    async with await AsyncConnection.connect(dsn, connect_timeout=CONNECT_TIMEOUT_S) as connection:
        cursor = await connection.execute(EVENTS_OF_STREAM, [concert.stream(code).id])
        return bool(await cursor.fetchall())


async def load(dsn: str, catalogue: Catalogue) -> Sequence[Loaded]:
    """Load a catalogue; loading it again changes nothing. Raises NotLoaded."""
    async with (
        _running_bus(dsn) as bus,
        await AsyncConnection.connect(dsn, autocommit=True, connect_timeout=CONNECT_TIMEOUT_S) as connection,
    ):
        return [await _Loading(bus, connection, entry).run() for entry in catalogue.concerts]


@asynccontextmanager
async def _running_bus(dsn: str) -> AsyncIterator[CommandBus]:
    event_log = PostgresEventLog(dsn)
    bus = CommandBus(event_log, _Unobserved(), ServiceRules())
    running = asyncio.create_task(bus.run())
    try:
        yield bus
    finally:
        bus.close()
        await running
        await event_log.close()


class _Loading:
    """Loads one concert."""

    def __init__(self, bus: CommandBus, connection: AsyncConnection[Any], entry: CatalogueConcert) -> None:
        self._bus = bus
        self._connection = connection
        self._entry = entry
        self._code = ConcertCode(entry.code)

    async def run(self) -> Loaded:
        """Announce it, schedule its performances and open its sale, as far as the log lacks that."""
        announced = await self._announce()
        recorded = await self._read()
        loaded_on = self._day_of(recorded)
        known = [
            performance
            for performance in self._entry.performances
            if self._name(performance, loaded_on) in recorded.concert.performances
        ]
        added = await asyncio.gather(
            *(
                self._schedule(performance, loaded_on)
                for performance in self._entry.performances
                if performance not in known
            )
        )
        return Loaded(
            self._entry.code,
            announced,
            sum(added),
            len(self._entry.performances) - sum(added),
            await self._open_sales(recorded.concert),
            list(self._differences(recorded.concert, known, loaded_on)),
        )

    async def _read(self) -> _Recorded:
        cursor = await self._connection.execute(EVENTS_OF_STREAM, [concert.stream(self._code).id])
        state, announced_at = Concert(), None
        for position, version, topic, stored in await cursor.fetchall():
            recorded: Any = codec.decode(position, version, topic, bytes(stored))
            announced_at = announced_at or recorded.recorded_at
            state = concert.evolve(state, recorded.event, recorded.recorded_at)
        return _Recorded(state, announced_at)

    def _day_of(self, recorded: _Recorded) -> date:
        """The day on which the concert was first loaded, by the clock of its venue."""
        if recorded.announced_at is None:
            raise NotLoaded(f"{self._code}: was announced, and is not in the log")
        return recorded.announced_at.astimezone(ZoneInfo(recorded.concert.time_zone)).date()

    def _name(self, performance: CataloguePerformance, loaded_on: date) -> PerformanceName:
        return performance_name(day_of(performance, loaded_on), StartTime(performance.start_time))

    async def _announce(self) -> bool:
        if (await self._read()).announced_at is not None:
            return False
        announcement = msgspec.structs.asdict(self._entry.announcement())
        return await self._execute(AnnounceConcert(**announcement), ConcertAlreadyExists)

    async def _schedule(self, performance: CataloguePerformance, loaded_on: date) -> bool:
        command = SchedulePerformance(
            self._code,
            day_of(performance, loaded_on),
            StartTime(performance.start_time),
            performance.end_time,
            self._entry.seats_of(performance),
            None,
        )
        return await self._execute(command, PerformanceAlreadyExists)

    async def _open_sales(self, recorded: Concert) -> bool:
        """Open the sale, unless someone opened or closed it before."""
        if self._entry.sales is Sales.CLOSED or recorded.sales_changed_at is not None:
            return False
        return await self._execute(OpenSales(self._code))

    async def _execute(self, command: Command, already: type[DomainError] | None = None) -> bool:
        """Run a command; return False where someone else was first with the same."""
        outcome = (await self._bus.execute(command)).outcome
        if already is not None and isinstance(outcome, already):
            return False
        if isinstance(outcome, DomainError):
            raise NotLoaded(f"{self._code}: {outcome.detail}")
        if isinstance(outcome, Exception):
            raise outcome
        return True

    def _differences(
        self, recorded: Concert, known: Sequence[CataloguePerformance], loaded_on: date
    ) -> list[str]:
        announcement = self._entry.announcement()
        differences = [
            field
            for field in ("title", "time_zone", "policy")
            if getattr(announcement, field) != getattr(recorded, field)
        ]
        for performance in known:
            name = self._name(performance, loaded_on)
            if self._entry.seats_of(performance) != recorded.performances[name].seats:
                differences.append(f"the seats of {name}")
        return differences
