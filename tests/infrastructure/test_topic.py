"""The topic in the database: registered once, with a checkpoint of every read model for each partition."""

import threading
from collections.abc import Callable
from typing import Any, LiteralString

import psycopg
import pytest

from infrastructure import topic
from infrastructure.settings import Settings, SettingsError
from tests.infrastructure.running_bus import somebody_waits

CHECKPOINTS: LiteralString = """
    SELECT projection, partition, position, amended
    FROM ticketing.projection_checkpoints
    ORDER BY projection, partition
"""

ADVANCE: LiteralString = """
    UPDATE ticketing.projection_checkpoints
    SET position = position + 7, amended = 2
    WHERE projection = 'queue'
"""


def settings(**values: Any) -> Settings:
    return Settings(**{"kafka": ("127.0.0.1:9092",), "kafka_topic": "sale", "kafka_partitions": 3, **values})


def checkpoints(dsn: str, projection: str) -> list[tuple[int, int, int]]:
    with psycopg.connect(dsn) as connection:
        rows = connection.execute(CHECKPOINTS).fetchall()
    return [tuple(rest) for name, *rest in rows if name == projection]


def test_each_partition_begins_where_the_read_model_stands(
    dsn: str, connection: psycopg.Connection[Any]
) -> None:
    connection.execute(ADVANCE)

    assert topic.register(dsn, settings())

    assert checkpoints(dsn, "queue") == [(0, 7, 2), (1, 7, 2), (2, 7, 2)]
    assert checkpoints(dsn, "concerts") == [(0, 0, 0), (1, 0, 0), (2, 0, 0)]
    partitions = connection.execute("SELECT * FROM ticketing.topic_partitions ORDER BY partition").fetchall()
    assert partitions == [(0, 0), (1, 0), (2, 0)]
    assert topic.check(dsn, settings()) == ("sale", 3, 0)


def test_registering_again_changes_nothing(dsn: str, connection: psycopg.Connection[Any]) -> None:
    topic.register(dsn, settings())
    connection.execute(ADVANCE)

    assert not topic.register(dsn, settings())

    assert checkpoints(dsn, "queue") == [(0, 7, 2), (1, 7, 2), (2, 7, 2)]


def test_one_of_many_registers(dsn: str) -> None:
    outcomes: list[bool] = []
    threads = [
        threading.Thread(target=lambda: outcomes.append(topic.register(dsn, settings()))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == [False, False, False, True]


def test_a_batch_that_is_being_applied_ends_before(dsn: str, connection: psycopg.Connection[Any]) -> None:
    with psycopg.connect(dsn) as projector:
        projector.execute(
            "SELECT FROM ticketing.projection_checkpoints WHERE projection = 'queue' FOR UPDATE"
        )
        registering = threading.Thread(target=topic.register, args=[dsn, settings()])
        registering.start()
        while not somebody_waits(dsn, "relation"):
            assert registering.is_alive()
        projector.execute(ADVANCE)
    registering.join()

    assert checkpoints(dsn, "queue") == [(0, 7, 2), (1, 7, 2), (2, 7, 2)]


@pytest.mark.parametrize("look", [topic.register, topic.check])
@pytest.mark.parametrize(
    ("wanted", "line"),
    [
        ({"kafka_topic": "other"}, "TICKETING_KAFKA_TOPIC: other, but this log goes to the topic sale"),
        (
            {"kafka_partitions": 6},
            "TICKETING_KAFKA_PARTITIONS: 6, but the topic sale was registered with 3, which stay",
        ),
    ],
)
def test_another_topic_or_other_partitions_are_refused(
    dsn: str, look: Callable[[str, Settings], object], wanted: dict[str, Any], line: str
) -> None:
    topic.register(dsn, settings())
    with pytest.raises(SettingsError) as refused:
        look(dsn, settings(**wanted))
    assert str(refused.value) == line


def test_what_is_not_registered_is_said(dsn: str) -> None:
    with pytest.raises(topic.NotRegistered) as refused:
        topic.check(dsn, settings())
    assert str(refused.value) == (
        "the topic sale is not registered in the database: run `ticketing migrate` with TICKETING_KAFKA set"
    )
