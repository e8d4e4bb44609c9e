"""Read models that stand at a position for each partition are compared with just that of the log."""

from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kafka.partitioner.default import murmur2
from psycopg import Connection

import audit
from audit import Parked
from audit.partitions import partition_of
from projections.registry import PROJECTIONS
from tests.audit.database import store
from tests.audit.sales import a_sale_of_all_kinds
from tests.audit.test_read_models import differences
from tests.projections import partitioned
from tests.projections.partitioned import PARTITIONS, last_positions, project_to, publish, register, settle

PARK = """
    INSERT INTO ticketing.dead_letters
        (projection, position, stream_id, stream, version, topic, error, tries)
    SELECT 'wallet_entries', notification_id, originator_id, 'wallet/' || notification_id, originator_version,
        topic, 'poison', 3
    FROM ticketing.ticketing_events
    WHERE notification_id = %s
"""

RAISE = "UPDATE ticketing.projection_checkpoints SET position = %s WHERE partition = %s AND projection = %s"


@pytest.fixture
def last(dsn: str, connection: Connection[Any]) -> int:
    """The last position of a sale of all kinds, which is on a topic, and not projected yet."""
    log = a_sale_of_all_kinds()
    store(dsn, log.rows())
    register(connection)
    return log.position


@given(st.text(), st.integers(1, 100))
def test_a1_an_event_is_looked_for_in_the_partition_that_kafka_chooses(key: str, partitions: int) -> None:
    assert partition_of(key, partitions) == (murmur2(key.encode()) & 0x7FFFFFFF) % partitions


@pytest.mark.parametrize("seed", range(6))
def test_a1_each_partition_is_compared_at_its_own_checkpoint(
    dsn: str, connection: Connection[Any], last: int, seed: int
) -> None:
    random = Random(seed)
    positions = [0] * PARTITIONS
    for _ in range(3):
        for projection in PROJECTIONS:
            positions = [random.randint(0, last) for _ in range(PARTITIONS)]
            _catch_up(dsn, connection, positions, projection.name)
        assert differences(dsn) == []
    project_to(dsn, [last] * PARTITIONS)
    assert differences(dsn) == []
    assert len({position for position in last_positions(partitioned.log(connection)) if position}) > 2


def _catch_up(dsn: str, connection: Connection[Any], positions: list[int], name: str) -> None:
    """Bring one projection forward to these positions, but nowhere back."""
    reached = connection.execute(
        """
        SELECT position FROM ticketing.projection_checkpoints WHERE projection = %s ORDER BY partition
        """,
        [name],
    ).fetchall()
    further = [max(position, reached) for position, (reached,) in zip(positions, reached, strict=True)]
    project_to(dsn, further, [one for one in PROJECTIONS if one.name == name])


def test_a1_an_event_that_one_partition_passed_over_is_found(
    dsn: str, connection: Connection[Any], last: int
) -> None:
    charged = _a_charge(connection)
    partition = partition_of(charged.partition_key, PARTITIONS)
    positions = [last] * PARTITIONS
    positions[partition] = charged.position - 1
    project_to(dsn, positions)
    assert differences(dsn) == []

    connection.execute(RAISE, [charged.position, partition, "wallet_entries"])

    assert {(one.read_model, one.key.partition(" ")[0]) for one in differences(dsn)} == {
        ("wallet_entries.entries", charged.partition_key),
        ("wallet_entries.wallets", charged.partition_key),
    }


def test_a1_an_event_that_was_applied_ahead_of_its_partition_is_found(
    dsn: str, connection: Connection[Any], last: int
) -> None:
    charged = _a_charge(connection)
    project_to(dsn, [last] * PARTITIONS)
    before = charged.position - 1

    connection.execute(RAISE, [before, partition_of(charged.partition_key, PARTITIONS), "wallet_entries"])

    found = differences(dsn)
    assert ("wallet_entries.entries", "the row is surplus") in {(one.read_model, one.detail) for one in found}
    assert {one.key.partition(" ")[0] for one in found} == {charged.partition_key}


def test_a1_a_quiet_partition_is_compared_where_readers_are_told_that_it_stands(
    dsn: str, connection: Connection[Any], last: int
) -> None:
    project_to(dsn, last_positions(partitioned.log(connection)))
    publish(connection, last)
    settle(dsn)
    assert differences(dsn) == []
    connection.execute("DELETE FROM ticketing.ticketing_events WHERE notification_id = %s", [last])
    assert differences(dsn) != [], "the row of the last event"


def test_a1_an_event_that_never_came_to_the_topic_is_found_in_what_readers_are_told(
    dsn: str, connection: Connection[Any], last: int
) -> None:
    charged = _a_charge(connection)
    partition = partition_of(charged.partition_key, PARTITIONS)
    positions = [last] * PARTITIONS
    positions[partition] = charged.position - 1
    project_to(dsn, positions)
    publish(connection, last)
    assert differences(dsn) == []

    connection.execute(
        "UPDATE ticketing.topic_partitions SET last_position = %s WHERE partition = %s",
        [charged.position - 1, partition],
    )
    settle(dsn)

    assert {one.read_model.partition(".")[0] for one in differences(dsn)} >= {"wallet_entries"}


def test_a1_what_is_parked_in_a_partition_is_left_out(
    dsn: str, connection: Connection[Any], last: int
) -> None:
    charged = _a_charge(connection)
    partition = partition_of(charged.partition_key, PARTITIONS)
    positions = [last] * PARTITIONS
    positions[partition] = charged.position - 1
    project_to(dsn, positions)
    connection.execute(PARK, [charged.position])
    connection.execute(RAISE, [charged.position, partition, "wallet_entries"])

    assert differences(dsn) == []

    compared = audit.run(dsn).read_models
    assert compared is not None
    assert compared.parked == {"wallet_entries": Parked(events=1, streams=1, dropped=0)}


def _a_charge(connection: Connection[Any]) -> Any:
    """The last charge of a wallet."""
    return next(one for one in reversed(partitioned.log(connection)) if one.event.topic == "wallet.charged")
