"""A server that lets nobody write: a standby, or one that was made so when its disk was full."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg.sql import SQL, Identifier

END_SESSIONS = """
    SELECT pg_terminate_backend(pid, 10000)
    FROM pg_stat_activity
    WHERE datname = current_database() AND application_name = %s
"""


@contextmanager
def nobody_writes(dsn: str, application: str) -> Iterator[None]:
    """End the sessions of this name, and let those that are begun before the context ends only read."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        database = Identifier(connection.info.dbname)
        connection.execute(SQL("ALTER DATABASE {} SET default_transaction_read_only = on").format(database))
        connection.execute(END_SESSIONS, [application])
        try:
            yield
        finally:
            connection.execute(SQL("ALTER DATABASE {} RESET default_transaction_read_only").format(database))
            connection.execute(END_SESSIONS, [application])
