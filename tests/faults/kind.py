"""What a fault is, and what all kinds of them need."""

import random
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final, LiteralString, NamedTuple

from psycopg import AsyncConnection

from infrastructure.leader import lock_id
from tests.faults.product import ROLE_BESIDE, Product

WHOSE: LiteralString = """
    SELECT usename FROM pg_locks JOIN pg_stat_activity USING (pid)
    WHERE locktype = 'advisory' AND granted AND (classid::bigint << 32 | objid::bigint) = %s
"""


class Struck(NamedTuple):
    """What a fault did."""

    detail: str
    hit: frozenset[int]
    """The API processes whose callers have to wait, 0 for who waits for a timer: others wait 3 s at most."""


NOBODY: Final = frozenset[int]()
EVERYBODY: Final = frozenset({0, 1, 2})

BRIEFLY: Final = (1.0, 4.0)
LONG_ENOUGH_TO_BE_MISSED: Final = (5.5, 8.0)


class Kind(NamedTuple):
    """A kind of fault. Each lasts as long as its context; a blow is over at once."""

    strike: Callable[[Product, random.Random], AbstractAsyncContextManager[Struck]]
    lasts_s: tuple[float, float] = (0.0, 0.0)
    """Between so long and so long."""
    possible: Callable[[Product], bool] = lambda _: True
    is_death: bool = False
    """Whether a process is killed: these come before any other, so that a short run has them all."""


@asynccontextmanager
async def connected(product: Product) -> AsyncIterator[AsyncConnection[Any]]:
    """Connect to PostgreSQL, past the proxy, for as long as the context lasts."""
    connection = await product.connect()
    try:
        yield connection
    finally:
        connection.pgconn.finish()


async def leader(product: Product, role: str) -> str:
    """Return which of the two timers or relays leads; the one under `up` where none does."""
    async with connected(product) as connection:
        found = await (await connection.execute(WHOSE, [lock_id(role)])).fetchone()
    return f"{role}-2" if found == (ROLE_BESIDE,) else f"{role}-1"


@asynccontextmanager
async def stop_leader(role: str, product: Product, _: random.Random) -> AsyncIterator[Struck]:
    """Stop the timer or the relay that leads."""
    name = await leader(product, role)
    product.signal(name, signal.SIGSTOP)
    try:
        yield Struck(name, NOBODY)
    finally:
        product.signal(name, signal.SIGCONT)
