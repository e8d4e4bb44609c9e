"""Rebuilds in tests: of a sale of all kinds, or of a wallet by whose balance every position is known."""

import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import psycopg
from psycopg import AsyncConnection, Connection
from psycopg.sql import SQL, Identifier

from cli.rebuild import rebuild
from projections.projection import Projection
from projections.rebuild import Rebuilt, Step
from projections.registry import PROJECTIONS
from tests.audit.database import store
from tests.audit.forgeries.forgery import on_sale
from tests.audit.log_builder import id_of
from tests.projections import tables

WITHIN_S: Final = 20.0
"""Nothing here takes so long; the machine may be busy."""

LOOK_EVERY_S: Final = 0.005

USER: Final = id_of("user", 9)

BY_NAME: Final = {projection.name: projection for projection in PROJECTIONS}

DESCRIPTION = """
    SELECT table_name, column_name, data_type, is_nullable, column_default
    FROM information_schema.columns
    WHERE table_schema = %s
    UNION ALL
    SELECT tablename, indexname, indexdef, '', '' FROM pg_indexes WHERE schemaname = %s
    ORDER BY 1, 2
"""

CHECKPOINTS = "projection_checkpoints"

POSITIONS = """
    SELECT projection, version, position
    FROM ticketing.projection_checkpoints
    WHERE projection !~ '_next$'
    ORDER BY projection, version
"""

LEFTOVERS = """
    SELECT nspname FROM pg_namespace WHERE nspname ~ '_(next|old)_v[0-9]+$'
    UNION ALL
    SELECT projection FROM ticketing.projection_checkpoints WHERE projection ~ '_(next|old)$'
"""


class Told:
    """Keeps what a rebuild tells, and does what the test wants done at a step."""

    def __init__(self, **at: Callable[[], object]) -> None:
        """`at` names steps, and what is to be done when each is told for the first time."""
        self.steps: list[tuple[Step, str]] = []
        self._at = at

    def __call__(self, step: Step, what: str, *_: int) -> None:
        if (step, what) in self.steps:
            return
        self.steps.append((step, what))
        if action := self._at.pop(step.name.lower(), None):
            action()


class WalletLog:
    """A log that grows by one won in one wallet at a time, so that each position has one right balance."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._log = on_sale()
        self._log.open_wallet(USER)
        self._first = self._log.position
        store(dsn, self._log.rows())

    def charge(self, times: int = 1) -> None:
        """Charge one won, so many times."""
        self._log.events.clear()
        for _ in range(times):
            self._log.pass_time(0.001)
            self._log.charge(USER, 1)
        store(self._dsn, self._log.rows())

    @property
    def position(self) -> int:
        """The last event's."""
        return self._log.position

    def balance_at(self, position: int) -> int:
        """What is in the wallet then."""
        return max(0, position - self._first)


def wait_until(condition: Callable[[], object], what: str) -> None:
    """Poll until it is so; fail at the deadline."""
    deadline = time.monotonic() + WITHIN_S
    while not condition():
        assert time.monotonic() < deadline, f"not within {WITHIN_S} s: {what}"
        time.sleep(LOOK_EVERY_S)


def rebuilt(dsn: str, *names: str, told: Told | None = None) -> Sequence[Rebuilt]:
    """Rebuild these read models, or all, to the end; every one must have taken its place."""
    chosen = [BY_NAME[name] for name in names] or PROJECTIONS
    done = rebuild(dsn, chosen, told or Told())
    assert all(one.position is not None and one.removed for one in done)
    return done


def shown(connection: Connection[Any]) -> Mapping[str, Sequence[str]]:
    """The rows of every table of every projection, and each one's position."""
    return {
        **{place: rows for place, rows in tables.projected(connection).items() if CHECKPOINTS not in place},
        CHECKPOINTS: [str(row) for row in connection.execute(POSITIONS).fetchall()],
    }


def described(connection: Connection[Any], projection: Projection[Any]) -> Sequence[tuple[Any, ...]]:
    """The columns and indexes of its tables."""
    return connection.execute(DESCRIPTION, [projection.schema, projection.schema]).fetchall()


def leftovers(connection: Connection[Any]) -> Sequence[str]:
    """What a rebuild has not removed."""
    return [name for (name,) in connection.execute(LEFTOVERS).fetchall()]


def damage(connection: Connection[Any], projection: Projection[Any]) -> int:
    """Lose every row of the projection's tables; return how many."""
    lost = 0
    for schema, table in tables.of(connection, projection):
        lost += connection.execute(SQL("DELETE FROM {}").format(Identifier(schema, table))).rowcount
    return lost


def rebuild_until_killed(dsn: str, name: str, moment: int | Step) -> None:
    """Rebuild in a process of its own; be killed at a step, or after so many exchanges with the server."""
    left = moment if isinstance(moment, int) else sys.maxsize

    def count_down() -> None:
        nonlocal left
        if left == 0:
            _be_killed()
        left -= 1

    wait, async_wait = psycopg.Connection.wait, AsyncConnection.wait

    def counted(self: Connection[Any], *args: Any, **kwargs: Any) -> Any:
        count_down()
        return wait(self, *args, **kwargs)

    async def async_counted(self: AsyncConnection[Any], *args: Any, **kwargs: Any) -> Any:
        count_down()
        return await async_wait(self, *args, **kwargs)

    psycopg.Connection.wait = counted  # type: ignore[method-assign]
    AsyncConnection.wait = async_counted  # type: ignore[method-assign]
    told = Told(**{moment.name.lower(): _be_killed}) if isinstance(moment, Step) else Told()
    rebuild(dsn, [BY_NAME[name]], told)


def _be_killed() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
