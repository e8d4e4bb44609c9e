"""What is asked of a service that runs: how fast it answers, at what cost, and how late it is."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from statistics import median
from typing import Any, LiteralString, NamedTuple

import psutil
import psycopg
from psycopg import Connection, sql

from bench.client import run
from bench.growth.figure import Tell

CONNECTIONS = 128
"""As in the table of all operations."""

ROUNDS = 3
"""Of which the median counts: this kind of machine is noisy."""

LOOK_EVERY_S = 1.0

STALLS_S = 60
"""Read models that do not move for so long will not."""

ENDS: LiteralString = """
    SELECT (SELECT coalesce(max(notification_id), 0) FROM ticketing.ticketing_events),
           (SELECT coalesce(min(position), 0) FROM ticketing.projection_checkpoints)
"""


class Pace(NamedTuple):
    """How fast one operation went."""

    per_s: float
    cpu_us: float
    """Of the API processes, for each request."""


class Roles:
    """The processes of a service that this process has started, by what they do."""

    def __init__(self, parent: psutil.Process | None = None) -> None:
        self._by_role: dict[str, list[psutil.Process]] = {}
        for child in (parent or psutil.Process()).children():
            for role in ("api", "project", "timer", "relay"):
                if role in child.cmdline()[1:4]:
                    self._by_role.setdefault(role, []).append(child)

    def cpu_s(self, role: str) -> float:
        """How long they have worked."""
        times = [process.cpu_times() for process in self._by_role.get(role, [])]
        return sum(one.user + one.system for one in times)

    def memory_mib(self) -> Mapping[str, Sequence[float]]:
        """What each of them has in memory."""
        return {
            role: [process.memory_info().rss / 1024**2 for process in processes]
            for role, processes in self._by_role.items()
        }


def pace(
    port: int,
    requests: Iterator[bytes],
    *,
    seconds: float,
    expected: int,
    bodies: list[bytes] | None = None,
) -> Pace:
    """Send as fast as answers come, for so long; `bodies` takes what they say.

    Raises RuntimeError where one is not as expected.
    """
    roles = Roles()
    before = roles.cpu_s("api")
    result = run(port, requests, connections=CONNECTIONS, seconds=seconds, keep_bodies=bodies is not None)
    if set(result.statuses) != {expected}:
        raise RuntimeError(f"expected {expected}, got {dict(result.statuses) or 'no answer'}")
    if bodies is not None:
        bodies += result.bodies
    return Pace(result.rate, (roles.cpu_s("api") - before) / result.answers * 1e6)


def of_rounds(measure: Callable[[], Pace], rounds: int = ROUNDS) -> Pace:
    """The medians of some rounds."""
    paces = [measure() for _ in range(rounds)]
    return Pace(median(one.per_s for one in paces), median(one.cpu_us for one in paces))


def catch_up(connection: Connection[Any], tell: Tell) -> None:
    """Wait until all read models show all of the log. Raises TimeoutError where they stall."""
    before, moved_at = -1, time.monotonic()
    while True:
        ((end, reached),) = connection.execute(ENDS).fetchall()
        if reached >= end:
            return
        if reached > before:
            before, moved_at = reached, time.monotonic()
        elif time.monotonic() > moved_at + STALLS_S:
            raise TimeoutError(f"the read models stand still at {reached:,} of {end:,}")
        tell(f"read models at {reached:,} of {end:,}")
        time.sleep(LOOK_EVERY_S)


def settle(connection: Connection[Any]) -> None:
    """Do at once what PostgreSQL does by and by after so many rows: a history came to be over weeks."""
    connection.execute("VACUUM (ANALYZE)")
    connection.execute("CHECKPOINT")


def sizes(connection: Connection[Any]) -> Sequence[tuple[str, float, int, int]]:
    """Each table that has rows: its size with indexes in MiB, its rows, and dead ones."""
    rows = connection.execute(
        sql.SQL(
            """
            SELECT schemaname || '.' || relname, pg_total_relation_size(relid) / 1048576.0,
                   n_live_tup, n_dead_tup
            FROM pg_stat_user_tables
            WHERE n_live_tup + n_dead_tup > 0
            ORDER BY 2 DESC
            """
        )
    ).fetchall()
    return [(name, float(size), live, dead) for name, size, live, dead in rows]


def connect(dsn: str) -> psycopg.Connection[Any]:
    """Connect as whoever looks on."""
    return psycopg.connect(dsn, autocommit=True, application_name="bench")
