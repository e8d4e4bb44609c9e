"""A command bus at work on a real log, as every API process has one, and what the log then holds."""

from collections.abc import Sequence
from types import TracebackType
from typing import Any, LiteralString
from uuid import uuid4

import psycopg

from aggregates.event import RecordedEvent
from commands.ports import Append, Known, NewEvent, Wanted, Writes
from infrastructure import codec
from infrastructure.event_log import APPEND_LOCK, PostgresEventLog
from tests.commands import running_bus

LOG: LiteralString = """
    SELECT notification_id, originator_version, topic, state
    FROM ticketing.ticketing_events
    ORDER BY notification_id
"""

INSERT: LiteralString = """
    INSERT INTO ticketing.ticketing_events (originator_id, originator_version, topic, state)
    VALUES (%s, %s, %s, %s)
"""

WAITING: LiteralString = """
    SELECT pid
    FROM pg_locks
    JOIN pg_stat_activity USING (pid)
    WHERE datname = current_database() AND locktype = %s AND NOT granted
"""

END_WRITERS: LiteralString = """
    SELECT pg_terminate_backend(pid, 10000)
    FROM pg_stat_activity
    WHERE datname = current_database() AND application_name = 'ticketing-append'
"""


class Meddler:
    """A log with which somebody meddles between a batch's two round trips, as often as is said."""

    def __init__(self, dsn: str, times: int = 0) -> None:
        self.dsn = dsn
        self.log = PostgresEventLog(dsn)
        self.times = times
        self.reads = 0
        """How many round trips went into reading."""

    async def begin(self, wanted: Wanted, deadline: float) -> "MeddledAppend":
        """See `commands.ports.EventLog`."""
        self.reads += 1
        return MeddledAppend(await self.log.begin(wanted, deadline), self)

    async def find(self, writes: Writes, deadline: float) -> Sequence[int] | None:
        """See `commands.ports.EventLog`."""
        return await self.log.find(writes, deadline)

    def lose(self) -> None:
        """Drop the connection."""
        self.log.lose()

    def meddle(self, writes: Writes) -> None:
        """Do something to the log before this is appended."""


class MeddledAppend:
    """See `commands.ports.Append`."""

    def __init__(self, append: Append, meddler: Meddler) -> None:
        self._append = append
        self._meddler = meddler
        self.reading = append.reading

    async def read_more(self, streams: Sequence[Known]) -> None:
        """See `commands.ports.Append`."""
        self._meddler.reads += 1
        await self._append.read_more(streams)

    async def commit(self, writes: Writes) -> Sequence[int]:
        """See `commands.ports.Append`."""
        if self._meddler.times:
            self._meddler.times -= 1
            self._meddler.meddle(writes)
        return await self._append.commit(writes)

    async def give_up(self) -> None:
        """See `commands.ports.Append`."""
        await self._append.give_up()


class Rival(Meddler):
    """Someone who writes to the log without asking for the lock: the very version that is about to be."""

    def meddle(self, writes: Writes) -> None:
        """Be quicker with the first event."""
        insert(self.dsn, writes.events[0], writes)


class Executioner(Meddler):
    """Someone who ends the session of whoever holds the append lock."""

    def meddle(self, writes: Writes) -> None:  # noqa: ARG002 (whatever it is about to append)
        """End it, and wait until it is gone."""
        with psycopg.connect(self.dsn) as connection:
            assert connection.execute(END_WRITERS).fetchall() == [(True,)]


class Held:
    """Somebody holds the append lock, for as long as the context lasts."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn

    async def __aenter__(self) -> None:
        self._connection = await psycopg.AsyncConnection.connect(self._dsn, autocommit=True)
        await self._connection.execute("SELECT pg_advisory_lock(%s)", [APPEND_LOCK])

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._connection.close()


class RunningBus(running_bus.RunningBus[PostgresEventLog | Meddler]):
    """A bus on a real log."""

    def __init__(self, event_log: str | Meddler) -> None:
        super().__init__(PostgresEventLog(event_log) if isinstance(event_log, str) else event_log)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await super().__aexit__(kind, error, trace)
        self.log.lose()


def backends_that_wait(dsn: str, kind: str = "advisory") -> list[int]:
    """Return the backends that wait for a lock of this kind, such as the append lock."""
    with psycopg.connect(dsn) as connection:
        return [pid for (pid,) in connection.execute(WAITING, [kind])]


def somebody_waits(dsn: str, kind: str = "advisory") -> bool:
    """Whether somebody waits for a lock of this kind, such as the append lock."""
    return bool(backends_that_wait(dsn, kind))


def insert(dsn: str, event: NewEvent, writes: Writes) -> None:
    """Write an event past the lock, in another command's name."""
    with psycopg.connect(dsn) as connection:
        insert_with(connection, event, writes)


def insert_with(connection: psycopg.Connection, event: NewEvent, writes: Writes) -> None:
    """Write an event past the lock, within whatever transaction this connection is in."""
    theirs = uuid4()
    state = codec.encode(
        codec.StoredForm(
            event.stream.name, event.partition_key, writes.recorded_at, theirs, theirs, theirs, event.event
        )
    )
    connection.execute(INSERT, [event.stream.id, event.version, event.event.topic, state])


def log_of(dsn: str) -> list[RecordedEvent]:
    """Read the whole log."""
    with psycopg.connect(dsn) as connection, connection.cursor(binary=True) as cursor:
        return [codec.decode(*row) for row in cursor.execute(LOG).fetchall()]


def state_of(dsn: str, stream: Any) -> Any:
    """Replay one stream."""
    state = stream.aggregate.initial
    for recorded in log_of(dsn):
        if recorded.stream == stream.name:
            state = stream.aggregate.evolve(state, recorded.event, recorded.recorded_at)
    return state
