"""Rebuilding: a read model is made anew from the log, beside the one that is read, and takes its place.

The next one is the same projection under another name, so it has a schema and a checkpoint of its own, and an
ordinary projector fills it. It is compared with the log before anyone reads it.

It takes its place in one transaction, which renames the two schemas:

- The checkpoints of the one that is read stay locked until the next one has come at least as far as that of
  its foremost partition: so no reader finds an earlier position, or older rows. The next one is made from the
  log, whichever way events come to the other; whoever follows the topic passes over what it has already.
- Its tables are locked, so that no statement that has found the old ones by their names reads the checkpoint
  of the new ones. A statement that waits for that lock looks the names up again, a prepared one too.
- `ticketing.projection_schemas` is locked. Those whose one snapshot spans several statements have locked it,
  too: they would look up the new tables, and not see the latest rows in them.
- All that is sent as one message, which ends with the COMMIT: should this process be stopped or killed, no
  reader waits for it. A reader that takes long is not waited for in line, where others would wait behind us:
  the attempt is given up and made again.

Whatever a rebuild that was killed leaves behind, the next one removes.
"""

import asyncio
import re
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from enum import StrEnum
from types import TracebackType
from typing import Any, LiteralString, NamedTuple, Protocol, Self

import psycopg
from psycopg import Connection, Cursor
from psycopg.pq import TransactionStatus
from psycopg.sql import SQL, Composed, Identifier

from projections.feed import Feed
from projections.projection import Projection
from projections.projector import Projector

REBUILD_LOCK = 7_303_014_530
"""With a projection's name: held, as a session lock, by whoever rebuilds it."""

CLAIM_WAIT_S = 3.0
"""The server may need a moment to notice that the one who rebuilt before us was killed."""

BATCH_EVENTS_MAX = 20_000
"""Nobody waits for these, so they may be larger than those of a projector that follows the log."""

FAILURES_MAX = 6
"""So often a batch may fail: more often than a projector needs to set an event aside."""

GIVE_WAY_MS = 100
"""So long readers may have to wait behind an attempt to switch: a slow one ends it, and it is made again."""

VACUUM_GIVES_WAY_MS = 1_500
"""Autovacuum ends after a second (`deadlock_timeout`) if it is in somebody's way."""

CATCH_UP_S_MAX = 0.4
"""So long the projector may have to wait while the last events are applied."""

IDLE_MS_MAX = 1_000
"""A rebuild that was stopped just then loses its session, and with it the lock on the checkpoint."""

REST_S = 0.02
"""Where nothing can be applied at the moment."""

RETRY_S = 0.5
REMOVE_WITHIN_S = 30.0
"""Who reads the old tables for longer keeps them; the next rebuild removes them."""

CONNECT_TIMEOUT_S = 5

CLAIM: LiteralString = "SELECT pg_try_advisory_lock(hashtextextended(%s, %s))"

TABLES: LiteralString = """
    SELECT relname
    FROM pg_class
    WHERE relnamespace = to_regnamespace(%s) AND relkind IN ('r', 'p')
    ORDER BY relname
"""

SCHEMAS: LiteralString = "SELECT nspname FROM pg_namespace WHERE nspname ~ %s ORDER BY nspname"

IN_SERVICE: LiteralString = """
    SELECT version FROM ticketing.projection_schemas WHERE projection = %s ORDER BY version
"""

LOCK_CHECKPOINTS: LiteralString = """
    SELECT position
    FROM ticketing.projection_checkpoints
    WHERE projection = %s AND version = %s
    ORDER BY partition
    FOR UPDATE
"""

REACHED: LiteralString = """
    SELECT position FROM ticketing.read_model_positions WHERE projection = %s AND version = %s
"""

FORGET: LiteralString = """
    WITH forgotten AS (
        DELETE FROM ticketing.projection_checkpoints WHERE projection = %(name)s
    )
    DELETE FROM ticketing.dead_letters WHERE projection = %(name)s
"""

KEEP_OFF_VACUUM: LiteralString = """
    SET LOCAL lock_timeout = {timeout};
    LOCK TABLE {tables} IN SHARE UPDATE EXCLUSIVE MODE;
    SET LOCAL lock_timeout = {give_way};
    SET LOCAL idle_in_transaction_session_timeout = {idle}
"""

TAKE_AWAY: LiteralString = """
    SET LOCAL lock_timeout = {give_way};
    LOCK TABLE ticketing.projection_schemas, {tables} IN ACCESS EXCLUSIVE MODE;
    ALTER SCHEMA {live} RENAME TO {old};
"""

PUT_IN_PLACE: LiteralString = """
    ALTER SCHEMA {next} RENAME TO {live};

    WITH taken AS (
        DELETE FROM ticketing.projection_checkpoints
        WHERE projection = {next_name} AND version = {version}
        RETURNING partition, position
    )
    INSERT INTO ticketing.projection_checkpoints AS checkpoint (projection, version, partition, position)
    SELECT {name}, {version}, partition, position FROM taken
    ON CONFLICT (projection, version, partition) DO UPDATE
    SET position = greatest(checkpoint.position, excluded.position), amended = checkpoint.amended + 1;

    DELETE FROM ticketing.dead_letters WHERE projection = {name};
    UPDATE ticketing.dead_letters SET projection = {name} WHERE projection = {next_name};

    INSERT INTO ticketing.projection_schemas (projection, version, checksum)
    VALUES ({name}, {version}, {checksum})
    ON CONFLICT (projection, version) DO UPDATE
    SET checksum = excluded.checksum, in_service_since = clock_timestamp();

    COMMIT
"""

IN_THE_WAY: LiteralString = """
    SELECT coalesce(nullif(session.application_name, ''), session.backend_type), session.pid
    FROM pg_locks AS held
    JOIN pg_stat_activity AS session USING (pid)
    WHERE held.locktype = 'relation' AND held.granted AND held.pid <> pg_backend_pid()
        AND held.database = (SELECT oid FROM pg_database WHERE datname = current_database())
        AND (
            held.relation = 'ticketing.projection_schemas'::regclass
            OR held.relation IN (
                SELECT oid FROM pg_class WHERE relnamespace = to_regnamespace(%s)
            )
        )
    ORDER BY session.xact_start
    LIMIT 1
"""

FORGET_VERSION: LiteralString = """
    WITH forgotten AS (
        DELETE FROM ticketing.projection_schemas WHERE projection = %(name)s AND version = %(version)s
    )
    DELETE FROM ticketing.projection_checkpoints WHERE projection = %(name)s AND version = %(version)s
"""


class RebuildError(Exception):
    """A read model cannot be rebuilt; the text is one line for whoever asked for it."""


class Comparison(NamedTuple):
    """What a read model was found to be, held against the log."""

    rows: int
    """Of the next one."""
    different: int
    """How many rows of the next one are not what the log says; it takes its place only if none is."""
    unapplied: int
    """How many events it could not apply, which the one that is read has; likewise."""
    live_different: int | None
    """How many rows of the one that is read are not what the log says, None where there is none."""

    @property
    def is_good(self) -> bool:
        """Whether the next one may take its place."""
        return not (self.different or self.unapplied)


class Rebuilt(NamedTuple):
    """What became of one read model."""

    projection: Projection[Any]
    comparison: Comparison
    position: int | None
    """Up to which log position it has been applied as it took its place; None where it did not."""
    removed: bool
    """Whether nothing is left of the one that was read before."""


class Step(StrEnum):
    """What a rebuild is doing."""

    BUILD = "building"
    COMPARE = "comparing"
    SWITCH = "switching"
    WAIT = "waiting for"
    REMOVE = "removing"


class Tell(Protocol):
    """Is told how far a rebuild has come."""

    def __call__(self, step: Step, what: str, done: int = 0, total: int = 0, /) -> None:
        """So many of so many events, if it takes events; `what` is a read model, or who is waited for."""
        ...


Compare = Callable[[Sequence[str]], Mapping[str, Comparison]]
"""Holds the next ones of these projections against the log."""


def rebuild(
    dsn: str, feed: Feed, projections: Sequence[Projection[Any]], *, compare: Compare, tell: Tell
) -> Sequence[Rebuilt]:
    """Rebuild these read models, all from one reading of the log, and put those in place that are right.

    Raises RebuildError, and psycopg's errors where the database is out of reach or refuses. Whatever ends
    it, also in the middle, the read models in service are as they were, or as they are to be.
    """
    with _claimed(dsn, projections) as connection:
        for projection in projections:
            _remove_leftovers(connection, projection)
            connection.execute(next_of(projection).tables.encode())
        with _Building(dsn, feed, projections, tell) as building:
            building.catch_up()
            for projection in projections:
                _prepare_for_readers(connection, projection)
            compared = compare([projection.name for projection in projections])
            return [
                _take_place(connection, building, projection, compared[projection.name], tell)
                for projection in projections
            ]


def remove_old(dsn: str, projections: Sequence[Projection[Any]], tell: Tell) -> Sequence[str]:
    """Remove older versions of those that are in service, and what killed rebuilds left; return the schemas.

    Nobody may need them any more: a process of the version before would fail from here on.
    """
    with _claimed(dsn, projections) as connection:
        removed: list[str] = []
        for projection in projections:
            removed += _remove_leftovers(connection, projection)
            versions = [version for (version,) in connection.execute(IN_SERVICE, [projection.name])]
            for version in versions if projection.version in versions else ():
                if version < projection.version:
                    old = projection._replace(version=version)
                    tell(Step.REMOVE, old.schema)
                    if not _drop(connection, old.schema):
                        raise _still_read(connection, old.schema)
                    connection.execute(FORGET_VERSION, {"name": old.name, "version": version})
                    removed.append(old.schema)
        return removed


def next_of(projection: Projection[Any]) -> Projection[Any]:
    """The one that is being built: in everything the same, but under a name of its own."""
    return projection._replace(name=f"{projection.name}_next")


def old_of(projection: Projection[Any]) -> Projection[Any]:
    """What the one is called whose place was taken, until it is removed."""
    return projection._replace(name=f"{projection.name}_old")


@contextmanager
def _claimed(dsn: str, projections: Sequence[Projection[Any]]) -> Generator[Connection[Any]]:
    """Have these projections to ourselves, but for those who read and project them. Raises RebuildError."""
    with psycopg.connect(
        dsn,
        autocommit=True,
        prepare_threshold=None,
        connect_timeout=CONNECT_TIMEOUT_S,
        application_name="ticketing-rebuild",
    ) as connection:
        deadline = time.monotonic() + CLAIM_WAIT_S
        for projection in projections:
            while not _first(connection.execute(CLAIM, [projection.name, REBUILD_LOCK])):
                if time.monotonic() > deadline:
                    raise RebuildError(f"another process is rebuilding {projection.name}")
                time.sleep(RETRY_S / 10)
        yield connection


class _Building:
    """The next ones, which follow the log."""

    def __init__(self, dsn: str, feed: Feed, projections: Sequence[Projection[Any]], tell: Tell) -> None:
        self._dsn = dsn
        self._feed = feed
        self._tell = tell
        self._names = ", ".join(projection.name for projection in projections)
        self._nexts = [next_of(projection) for projection in projections]
        self._projector = self._projector_of_all()
        self._runner = asyncio.Runner()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._runner.run(self._projector.close())
        self._runner.close()

    def catch_up(self) -> None:
        """Apply what is in the log by now."""
        last = self._runner.run(self._feed.last_position())
        while (position := self._advanced()) < last:
            self._tell(Step.BUILD, self._names, position, last)
        self._tell(Step.BUILD, self._names, last, last)

    def reach(self, projection: Projection[Any], position: int) -> bool:
        """Come at least as far as `position`, unless that takes too long."""
        deadline = time.monotonic() + CATCH_UP_S_MAX
        standing = self._projector.standings[next_of(projection).name]
        while standing.position < position:
            if time.monotonic() > deadline:
                return False
            self._advanced()
        return True

    def leave(self, projection: Projection[Any]) -> None:
        """Follow the log with the others only: this one has taken its place, or is not to."""
        self._runner.run(self._projector.close())
        self._nexts.remove(next_of(projection))
        self._projector = self._projector_of_all()

    def _projector_of_all(self) -> Projector:
        return Projector(self._dsn, self._feed, self._nexts, batch_events_max=BATCH_EVENTS_MAX)

    def _advanced(self) -> int:
        """Apply one more batch, and return how far all have come. Raises RebuildError if one cannot go on."""
        if not self._runner.run(self._projector.advance()):
            time.sleep(REST_S)
        for projection in self._nexts:
            if self._projector.standings[projection.name].failures_in_a_row > FAILURES_MAX:
                name = projection.name.removesuffix("_next")
                raise RebuildError(f"{name} cannot be built: the log above says which events failed")
        return min(standing.position for standing in self._projector.standings.values())


def _prepare_for_readers(connection: Connection[Any], projection: Projection[Any]) -> None:
    """Make the next one as quick to read as the one that it replaces: the planner has never seen it."""
    tables = _tables(connection, next_of(projection).schema)
    if tables is not None:
        connection.execute(SQL("VACUUM (ANALYZE) {}").format(tables))


def _take_place(
    connection: Connection[Any],
    building: _Building,
    projection: Projection[Any],
    comparison: Comparison,
    tell: Tell,
) -> Rebuilt:
    if not comparison.is_good:
        building.leave(projection)
        return Rebuilt(projection, comparison, position=None, removed=False)
    tell(Step.SWITCH, projection.name)
    waits = False
    while True:
        building.catch_up()
        try:
            if _switched(connection, building, projection):
                break
        except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected):
            if not waits:
                waits = True
                tell(Step.WAIT, _in_the_way(connection, projection.schema))
        time.sleep(RETRY_S)
    building.leave(projection)
    position = _first(connection.execute(REACHED, [projection.name, projection.version]))
    tell(Step.REMOVE, old_of(projection).schema)
    return Rebuilt(projection, comparison, position, _drop(connection, old_of(projection).schema))


def _switched(connection: Connection[Any], building: _Building, projection: Projection[Any]) -> bool:
    """Put the next one in the place of the one that is read, unless it cannot catch up with it at once.

    Raises psycopg's LockNotAvailable or DeadlockDetected where others are in the way.
    """
    live = _tables(connection, projection.schema)
    connection.execute("BEGIN")
    try:
        if live is not None:
            connection.execute(
                SQL(KEEP_OFF_VACUUM).format(
                    timeout=VACUUM_GIVES_WAY_MS,
                    tables=live,
                    give_way=GIVE_WAY_MS,
                    idle=IDLE_MS_MAX,
                )
            )
            locked = connection.execute(LOCK_CHECKPOINTS, [projection.name, projection.version])
            if not building.reach(projection, max((position for (position,) in locked), default=0)):
                return False
        connection.execute(_switch(projection, live))
    finally:
        if connection.info.transaction_status in (TransactionStatus.INTRANS, TransactionStatus.INERROR):
            connection.execute("ROLLBACK")
    return True


def _switch(projection: Projection[Any], live: Composed | None) -> Composed:
    """The statements that end the transaction, with the names of all that they concern."""
    statements = PUT_IN_PLACE if live is None else TAKE_AWAY + PUT_IN_PLACE
    return SQL(statements).format(
        give_way=GIVE_WAY_MS,
        tables=live,
        live=Identifier(projection.schema),
        old=Identifier(old_of(projection).schema),
        next=Identifier(next_of(projection).schema),
        name=projection.name,
        next_name=next_of(projection).name,
        version=projection.version,
        checksum=projection.checksum,
    )


def _remove_leftovers(connection: Connection[Any], projection: Projection[Any]) -> Sequence[str]:
    """Remove what is left of a rebuild that did not end well; return the schemas."""
    connection.execute(FORGET, {"name": next_of(projection).name})
    pattern = rf"^{re.escape(projection.name)}_(next|old)_v[0-9]+$"
    schemas = [schema for (schema,) in connection.execute(SCHEMAS, [pattern])]
    for schema in schemas:
        if not _drop(connection, schema):
            raise _still_read(connection, schema)
    return schemas


def _drop(connection: Connection[Any], schema: str) -> bool:
    """Remove a schema with all that is in it; return False where somebody goes on reading it."""
    deadline = time.monotonic() + REMOVE_WITHIN_S
    statement = SQL("SET LOCAL lock_timeout = {}; DROP SCHEMA IF EXISTS {} CASCADE").format(
        GIVE_WAY_MS, Identifier(schema)
    )
    while True:
        try:
            with connection.transaction():
                connection.execute(statement)
        except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected):
            if time.monotonic() > deadline:
                return False
            time.sleep(RETRY_S)
        else:
            return True


def _still_read(connection: Connection[Any], schema: str) -> RebuildError:
    return RebuildError(f"{schema} cannot be removed while it is read by {_in_the_way(connection, schema)}")


def _in_the_way(connection: Connection[Any], schema: str) -> str:
    row = connection.execute(IN_THE_WAY, [schema]).fetchone()
    return "a reader" if row is None else f"{row[0]} (process {row[1]} of PostgreSQL)"


def _tables(connection: Connection[Any], schema: str) -> Composed | None:
    """The tables of a schema, as a list of names for a statement; None where there is no such schema."""
    names = [Identifier(schema, name) for (name,) in connection.execute(TABLES, [schema])]
    return SQL(", ").join(names) if names else None


def _first(cursor: Cursor[Any]) -> Any:
    row = cursor.fetchone()
    return None if row is None else row[0]
