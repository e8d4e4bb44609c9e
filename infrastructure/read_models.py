"""Connections for reading: the read models, the plain tables beside the log, and the log itself."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

import psycopg
import structlog
from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from commands.errors import StoreUnavailable
from projections.reading import LOOKED_UP_BY_KEYS

P = ParamSpec("P")
T = TypeVar("T")

CONNECTIONS_MIN, CONNECTIONS_MAX = 1, 8
"""Most reads are served from memory; more connections would only queue inside PostgreSQL."""

WAIT_S = 2.0
"""For a connection. So long the pool also tries to make one, before it is asked for one again: of its own
accord it would wait ever longer between two tries, and keep on waiting when the store is back.
"""

STATEMENT_TIMEOUT_MS = 5_000

log = structlog.get_logger(__name__)


class ReadModels:
    """A small pool of connections that read, each statement by itself."""

    def __init__(self, dsn: str) -> None:
        self._pool = AsyncConnectionPool[AsyncConnection[Any]](
            dsn,
            kwargs={
                "autocommit": True,
                "application_name": "ticketing-read",
                "options": f"-c statement_timeout={STATEMENT_TIMEOUT_MS} -c timezone=UTC {LOOKED_UP_BY_KEYS}",
            },
            min_size=CONNECTIONS_MIN,
            max_size=CONNECTIONS_MAX,
            timeout=WAIT_S,
            reconnect_timeout=WAIT_S,
            open=False,
        )

    async def __aenter__(self) -> Self:
        """Open the pool; connections are made as they are needed."""
        await self._pool.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close all connections."""
        await self._pool.close()

    async def read(
        self,
        query: Callable[Concatenate[AsyncConnection[Any], P], Awaitable[T]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run a query on a connection of the pool. Raises StoreUnavailable."""
        async with self.connection() as connection:
            return await query(connection, *args, **kwargs)

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[AsyncConnection[Any]]:
        """Lend a connection. Raises StoreUnavailable where there is none to be had, or it is lost."""
        try:
            async with self._pool.connection() as connection:
                yield connection
        except (psycopg.OperationalError, PoolTimeout) as error:
            log.warning("read_models_unavailable", error=str(error).strip())
            raise StoreUnavailable("NONE") from error
