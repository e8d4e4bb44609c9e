"""The database's schema: the log's table, the plain tables beside it, and those of the projections.

`migrate` makes it and brings it up to date; all other processes only `check` that it is theirs.
"""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.resources import files
from typing import Any, LiteralString, NamedTuple

import psycopg
from psycopg import Connection
from psycopg.rows import TupleRow

from infrastructure.recorder import log_recorder
from projections.projection import Projection
from projections.registry import PROJECTIONS

MIGRATION_LOCK = 7_303_014_511
"""Held by the one process that migrates; next to APPEND_LOCK."""

LOCK_WAIT_S = 60
"""A migration that holds everyone up for longer is looked at by a person."""

CONNECT_TIMEOUT_S = 5

SERVER_VERSION_MIN = 14

CREATE_MIGRATIONS: LiteralString = """
    CREATE SCHEMA IF NOT EXISTS ticketing;
    CREATE TABLE IF NOT EXISTS ticketing.migrations (
        number integer PRIMARY KEY,
        name text NOT NULL,
        checksum text NOT NULL,
        applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
    );
    COMMENT ON TABLE ticketing.migrations IS
        'The migrations that made this schema. The checksum is the SHA-256 of what was executed.';
"""

LOG_EXISTS: LiteralString = "SELECT to_regclass('ticketing.ticketing_events') IS NOT NULL"

LOG_HAS_EVENTS: LiteralString = "SELECT EXISTS (SELECT FROM ticketing.ticketing_events)"

MIGRATIONS_EXIST: LiteralString = "SELECT to_regclass('ticketing.migrations') IS NOT NULL"

APPLIED: LiteralString = "SELECT number, name, checksum FROM ticketing.migrations ORDER BY number"

RECORD_MIGRATION: LiteralString = """
    INSERT INTO ticketing.migrations (number, name, checksum) VALUES (%s, %s, %s)
"""

PROJECTION_SCHEMAS: LiteralString = "SELECT projection, version, checksum FROM ticketing.projection_schemas"

RECORD_PROJECTION: LiteralString = """
    WITH made AS (
        INSERT INTO ticketing.projection_schemas (projection, version, checksum)
        VALUES (%s, %s, %s)
        RETURNING projection, version
    )
    INSERT INTO ticketing.projection_checkpoints (projection, version, partition, position)
    SELECT projection, version, partition, 0
    FROM made
    CROSS JOIN generate_series(0, coalesce((SELECT partitions FROM ticketing.topic), 1) - 1) AS partition
    ON CONFLICT DO NOTHING
"""


class SchemaError(Exception):
    """The schema cannot be used or changed; the text is one line for whoever started the process."""


class SchemaNotCurrent(SchemaError):
    """The schema is older than this program."""


class ReadModelsNotBuilt(SchemaError):
    """The log has events, and some read models of this program's versions are not there to show them."""

    def __init__(self, projections: Sequence[Projection[Any]]) -> None:
        named = ", ".join(f"{projection.name} v{projection.version}" for projection in projections)
        names = " ".join(projection.name for projection in projections)
        subject = "the read model {} has" if len(projections) == 1 else "the read models {} have"
        super().__init__(f"{subject.format(named)} not been built: run `ticketing rebuild {names}`")


class Migration(NamedTuple):
    """One step from an empty database to the schema. Once released it is never changed."""

    number: int
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        """What it was when it was applied."""
        return hashlib.sha256(self.sql.encode()).hexdigest()


def load_migrations() -> Sequence[Migration]:
    """Read all migrations, in the order of their numbers: the files are called `NNNN_name.sql`."""
    found = []
    for file in files("infrastructure").joinpath("migrations").iterdir():
        if file.name.endswith(".sql"):
            name = file.name.removesuffix(".sql")
            found.append(Migration(int(name[:4]), name, file.read_text(encoding="utf-8")))
    return sorted(found)


def migrate(
    dsn: str,
    migrations: Sequence[Migration] | None = None,
    projections: Sequence[Projection[Any]] = PROJECTIONS,
) -> Sequence[str]:
    """Make the schema, or bring it up to date; return the names of what it lacked.

    Any number of processes may call it at once: one migrates, the others find nothing left to do. Each step
    is taken whole or not at all. `migrations` are the program's unless said otherwise.

    The tables of projections are made for a log that is empty. One that has events is not to be read through
    tables that are: see `unbuilt`.

    Raises SchemaError, and psycopg's errors where the database is out of reach or refuses.
    """
    migrations = load_migrations() if migrations is None else migrations
    with _connected(dsn) as connection:
        _wait_for_lock(connection)
        connection.execute(CREATE_MIGRATIONS)
        if not _answer(connection, LOG_EXISTS):
            with log_recorder(dsn) as recorder:
                recorder.create_table()
        unapplied = _unapplied(connection, migrations)
        for migration in unapplied:
            _apply(connection, migration)
        unmade = _unmade(connection, projections)
        if _answer(connection, LOG_HAS_EVENTS):
            unmade = []
        for projection in unmade:
            _make(connection, projection)
    return _names(unapplied, unmade)


def check(dsn: str, projections: Sequence[Projection[Any]] = PROJECTIONS) -> None:
    """See that the schema is the one that this program works with.

    Raises SchemaNotCurrent, ReadModelsNotBuilt or another SchemaError, and psycopg's errors like `migrate`.
    """
    if lacking := unbuilt(dsn, projections):
        raise ReadModelsNotBuilt(lacking)


def unbuilt(dsn: str, projections: Sequence[Projection[Any]] = PROJECTIONS) -> Sequence[Projection[Any]]:
    """Return the projections whose version is not in service, and is to be built from the log.

    Raises SchemaNotCurrent or another SchemaError where it is not that alone which is lacking.
    """
    with _connected(dsn) as connection:
        if not _answer(connection, MIGRATIONS_EXIST):
            raise SchemaNotCurrent("the database has no schema yet: run `ticketing migrate`")
        unapplied = _unapplied(connection, load_migrations())
        unmade = () if unapplied else _unmade(connection, projections)
        can_be_built = not unapplied and _answer(connection, LOG_HAS_EVENTS)
        if not can_be_built and (lacking := _names(unapplied, unmade)):
            raise SchemaNotCurrent(f"the schema lacks {', '.join(lacking)}: run `ticketing migrate`")
        return unmade


@contextmanager
def _connected(dsn: str) -> Iterator[Connection[TupleRow]]:
    with psycopg.connect(
        dsn,
        autocommit=True,
        connect_timeout=CONNECT_TIMEOUT_S,
        application_name="ticketing-migrate",
    ) as connection:
        if connection.info.server_version < SERVER_VERSION_MIN * 10_000:
            raise SchemaError(
                f"PostgreSQL {SERVER_VERSION_MIN} or later is needed, "
                f"not {connection.info.parameter_status('server_version')}"
            )
        yield connection


def _wait_for_lock(connection: Connection[TupleRow]) -> None:
    connection.execute("SELECT set_config('lock_timeout', %s, false)", [f"{LOCK_WAIT_S}s"])
    try:
        connection.execute("SELECT pg_advisory_lock(%s)", [MIGRATION_LOCK])
    except psycopg.errors.LockNotAvailable:
        raise SchemaError(f"another process has been migrating for {LOCK_WAIT_S} s") from None


def _unapplied(connection: Connection[TupleRow], migrations: Sequence[Migration]) -> Sequence[Migration]:
    """Return the migrations that are still to be applied. Raises SchemaError if those applied are others."""
    known = {migration.number: migration for migration in migrations}
    for number, name, checksum in connection.execute(APPLIED).fetchall():
        migration = known.pop(number, None)
        if migration is None:
            raise SchemaError(f"the schema is newer than this program: it has the migration {name}")
        if migration.checksum != checksum:
            raise SchemaError(f"the migration {migration.name} was changed after it had been applied")
    return sorted(known.values())


def _apply(connection: Connection[TupleRow], migration: Migration) -> None:
    with connection.transaction():
        connection.execute(migration.sql.encode())
        connection.execute(RECORD_MIGRATION, [migration.number, migration.name, migration.checksum])


def _unmade(
    connection: Connection[TupleRow], projections: Sequence[Projection[Any]]
) -> Sequence[Projection[Any]]:
    """Return the projections whose tables are still to be made. Raises SchemaError if they are others."""
    rows = connection.execute(PROJECTION_SCHEMAS).fetchall()
    made = {(name, version): checksum for name, version, checksum in rows}
    for projection in projections:
        checksum = made.get((projection.name, projection.version))
        if checksum not in (None, projection.checksum):
            raise SchemaError(f"the tables of {projection.schema} were changed: they need a new version")
    return [projection for projection in projections if (projection.name, projection.version) not in made]


def _make(connection: Connection[TupleRow], projection: Projection[Any]) -> None:
    with connection.transaction():
        connection.execute(projection.tables.encode())
        connection.execute(RECORD_PROJECTION, [projection.name, projection.version, projection.checksum])


def _names(migrations: Sequence[Migration], projections: Sequence[Projection[Any]]) -> Sequence[str]:
    return [
        *(migration.name for migration in migrations),
        *(projection.schema for projection in projections),
    ]


def _answer(connection: Connection[TupleRow], question: LiteralString) -> bool:
    row = connection.execute(question).fetchone()
    return row is not None and bool(row[0])
