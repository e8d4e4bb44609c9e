"""A grammar for read models: given what people did, when it is projected, a query finds this.

    read_models.given(on_sale(), inside(ANN), reserve(ANN, 7))
    found = read_models.read(seat_map.find, CODE, SHOW)

What is given is done by commands, decided by the real handlers on a log in memory. It is projected into real
tables by a real projector. Every answer is checked to reflect the log up to its end.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

import psycopg
from psycopg import AsyncConnection

from aggregates.errors import DomainError
from aggregates.event import RecordedEvent
from commands.command import Command
from projections.projector import Projector
from projections.reading import Found
from projections.registry import PROJECTIONS
from tests.commands.sale import Sale
from tests.projections import tables

P = ParamSpec("P")
T = TypeVar("T")

SESSION = "-c timezone=UTC"


class ListFeed:
    """A log that is a list, for as long as the test lasts. See `projections.feed.Feed`."""

    def __init__(self, events: Sequence[RecordedEvent]) -> None:
        self.events = events

    async def read(self, after: int, limit: int) -> Sequence[RecordedEvent]:
        """Return the events that follow."""
        return [event for event in self.events if event.position > after][:limit]

    async def last_position(self) -> int:
        """Return the last event's position."""
        return self.events[-1].position if self.events else 0


class ReadModels:
    """A sale, and the read models that show it."""

    def __init__(self, dsn: str, sale: Sale | None = None) -> None:
        self.sale = sale or Sale()
        with psycopg.connect(dsn, autocommit=True) as connection:
            tables.empty(connection)
        self._runner = asyncio.Runner()
        self._connection = self._runner.run(connect(dsn))
        self._projector = Projector(dsn, ListFeed(self.sale.log.events), PROJECTIONS)

    def __enter__(self) -> Self:
        """Begin with an empty log."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connections."""
        self._runner.run(self._projector.close())
        self._runner.run(self._connection.close())
        self._runner.close()

    def given(self, *steps: Any) -> None:
        """Let people do these things, one after another, and project what was recorded."""
        self.sale.done(*steps)
        self._runner.run(catch_up(self._projector))

    def given_refused(self, command: Command) -> None:
        """Let someone ask for this and be refused, and project what was recorded with the refusal."""
        (asked,) = self.sale.ask(command)
        assert isinstance(asked.outcome, DomainError)
        self._runner.run(catch_up(self._projector))

    @property
    def position(self) -> int:
        """The last event's."""
        return len(self.sale.log.events)

    def read(
        self,
        query: Callable[Concatenate[AsyncConnection[Any], P], Awaitable[Found[T]]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Ask a read model."""
        found = self._runner.run(_asked(query(self._connection, *args, **kwargs)))
        assert found.position == self.position
        return found.value


async def _asked(answer: Awaitable[T]) -> T:
    return await answer


async def connect(dsn: str) -> AsyncConnection[Any]:
    """Connect as readers do."""
    return await AsyncConnection.connect(dsn, autocommit=True, options=SESSION)


@asynccontextmanager
async def projecting(projector: Projector) -> AsyncIterator[Projector]:
    """Close the projector's connection, whatever happens."""
    try:
        yield projector
    finally:
        await projector.close()


async def catch_up(projector: Projector) -> None:
    """Project until nothing is left."""
    while await projector.advance():
        pass
    assert [name for name, standing in projector.standings.items() if standing.failures] == []


def project(dsn: str, events: Sequence[RecordedEvent], **options: Any) -> None:
    """Project a log with one projector."""

    async def run() -> None:
        async with projecting(Projector(dsn, ListFeed(events), PROJECTIONS, **options)) as projector:
            await catch_up(projector)

    asyncio.run(run())
