"""The topic as the database knows it: its name and its partitions, which the log has from then on.

It is registered once, by `migrate`. Every projection has a checkpoint for each partition from that moment, at
the position where it stood; nobody applies anything meanwhile.
"""

from typing import Any, LiteralString, NamedTuple

import psycopg
from psycopg import Connection
from psycopg.rows import TupleRow

from infrastructure.settings import PREFIX, Settings, SettingsError

CONNECT_TIMEOUT_S = 5

LOCK_WAIT_S = 60
"""Longer than the longest batch of a projector."""

READ: LiteralString = "SELECT name, partitions, position FROM ticketing.topic"

LOCK: LiteralString = """
    LOCK TABLE ticketing.topic IN SHARE ROW EXCLUSIVE MODE;
    LOCK TABLE ticketing.projection_checkpoints IN EXCLUSIVE MODE
"""
"""The second waits for everyone who has locked a checkpoint, and would move it later; in the order of all."""

REGISTER: LiteralString = "INSERT INTO ticketing.topic (name, partitions) VALUES (%s, %s)"

MAKE_PARTITIONS: LiteralString = """
    INSERT INTO ticketing.topic_partitions (partition)
    SELECT generate_series(0, partitions - 1) FROM ticketing.topic
"""

SPLIT_CHECKPOINTS: LiteralString = """
    INSERT INTO ticketing.projection_checkpoints (projection, version, partition, position, amended)
    SELECT projection, version, topic_partitions.partition, position, amended
    FROM ticketing.projection_checkpoints
    CROSS JOIN ticketing.topic_partitions
    WHERE projection_checkpoints.partition = 0 AND topic_partitions.partition > 0
"""


class Registered(NamedTuple):
    """The topic to which the log goes, and how far it is there."""

    name: str
    partitions: int
    position: int


class NotRegistered(Exception):
    """The database knows of no topic; the text is one line for whoever started the process."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(
            f"the topic {settings.kafka_topic} is not registered in the database: "
            f"run `ticketing migrate` with {PREFIX}KAFKA set"
        )


def register(dsn: str, settings: Settings) -> bool:
    """Give the log the partitions of its topic; return whether it had none before.

    Any number of processes may call it at once. Raises SettingsError where it has another topic or other
    partitions, which stay for ever, and psycopg's errors.
    """
    with _connected(dsn) as connection, connection.transaction():
        connection.execute("SELECT set_config('lock_timeout', %s, true)", [f"{LOCK_WAIT_S}s"])
        connection.execute(LOCK)
        found = _read(connection)
        if found is not None:
            _require_same(found, settings)
            return False
        connection.execute(REGISTER, [settings.kafka_topic, settings.kafka_partitions])
        connection.execute(MAKE_PARTITIONS)
        connection.execute(SPLIT_CHECKPOINTS)
        return True


def check(dsn: str, settings: Settings) -> Registered:
    """Return the topic that is registered, which is the one of the settings.

    Raises NotRegistered, SettingsError where it is another one, and psycopg's errors.
    """
    with _connected(dsn) as connection:
        found = _read(connection)
    if found is None:
        raise NotRegistered(settings)
    _require_same(found, settings)
    return found


def _connected(dsn: str) -> Connection[TupleRow]:
    return psycopg.connect(
        dsn, autocommit=True, connect_timeout=CONNECT_TIMEOUT_S, application_name="ticketing-topic"
    )


def _read(connection: Connection[Any]) -> Registered | None:
    row = connection.execute(READ).fetchone()
    return None if row is None else Registered(*row)


def _require_same(found: Registered, settings: Settings) -> None:
    if found.name != settings.kafka_topic:
        raise SettingsError(
            f"{PREFIX}KAFKA_TOPIC: {settings.kafka_topic}, but this log goes to the topic {found.name}"
        )
    if found.partitions != settings.kafka_partitions:
        raise SettingsError(
            f"{PREFIX}KAFKA_PARTITIONS: {settings.kafka_partitions}, but the topic {found.name} "
            f"was registered with {found.partitions}, which stay"
        )
