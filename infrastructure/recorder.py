"""Our log as the `eventsourcing` library sees it: any application of that library can follow it.

The table is the library's own, column by column. One thing differs for writers: where the library locks the
whole table, which vacuum would give way to, they take the append lock that our own appends take.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from eventsourcing.postgres import PostgresApplicationRecorder, PostgresDatastore
from psycopg.rows import dict_row
from psycopg.sql import SQL, Literal

from infrastructure.event_log import APPEND_LOCK

SCHEMA = "ticketing"
EVENTS_TABLE = "ticketing_events"


class LogDatastore(PostgresDatastore):
    """The library's connections, to wherever a connection string points."""

    def __init__(self, dsn: str) -> None:
        super().__init__(dbname="", host="", port="", user="", password="", schema=SCHEMA)
        self.pool.conninfo = dsn
        self.pool.kwargs = {"row_factory": dict_row}


class LogRecorder(PostgresApplicationRecorder):
    """The library's recorder on our table, under our append lock."""

    def __init__(self, datastore: PostgresDatastore) -> None:
        super().__init__(datastore, events_table_name=EVENTS_TABLE)
        lock = SQL("SELECT pg_advisory_xact_lock({})").format(Literal(APPEND_LOCK))
        self.lock_table_statements = [lock]


@contextmanager
def log_recorder(dsn: str) -> Iterator[LogRecorder]:
    """Open the library's recorder on the log, for as long as the context lasts."""
    with LogDatastore(dsn) as datastore:
        yield LogRecorder(datastore)
