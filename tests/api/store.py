"""Behind the service's back: what its database holds, and keeping it from appending."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any, LiteralString

import psycopg

from infrastructure.event_log import APPEND_LOCK
from tests.api.grammar import Api, someone

REPLIES = "SELECT caller, key, convert_from(reply, 'UTF8') FROM ticketing.command_outcomes WHERE key = %s"

WAITING = """
    SELECT count(*)
    FROM pg_locks
    WHERE locktype = 'advisory' AND NOT granted AND (classid::bigint << 32 | objid::bigint) = %s
      AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""

EVENTS = "SELECT count(*) FROM ticketing.ticketing_events"

_keys = count(1)


def a_key() -> str:
    """A key that nobody has used."""
    return f"key-{next(_keys)}-{someone()}"


def replies(api: Api, key: str) -> list[Any]:
    """What is on record under a key, whoever used it."""
    with psycopg.connect(api.service.dsn) as connection:
        return connection.execute(REPLIES, [key]).fetchall()


def events(api: Api) -> int:
    """How long the log is."""
    with psycopg.connect(api.service.dsn) as connection:
        ((number,),) = connection.execute(EVENTS).fetchall()
    return int(number)


@contextmanager
def nothing_appended(api: Api) -> Iterator[Callable[[int], None]]:
    """Hold the append lock; yields what waits until so many batches stand behind us."""
    with psycopg.connect(api.service.dsn, autocommit=True) as connection:
        connection.execute("SELECT pg_advisory_lock(%s)", [APPEND_LOCK])

        def wait_for(number: int) -> None:
            api.service.until(lambda: connection.execute(WAITING, [APPEND_LOCK]).fetchone() == (number,))

        yield wait_for


def execute(api: Api, statement: LiteralString, *parameters: object) -> None:
    """Do something to the database."""
    with psycopg.connect(api.service.dsn, autocommit=True) as connection:
        connection.execute(statement, parameters)
