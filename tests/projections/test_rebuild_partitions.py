"""A rebuild of read models that stand at a position for each partition: none of these goes back."""

import asyncio
from collections.abc import Sequence
from random import Random
from typing import Any

import pytest
from psycopg import Connection

import audit
from aggregates.event import RecordedEvent
from infrastructure.feed import PostgresFeed
from infrastructure.schema import migrate
from projections import rebuild as rebuilding
from projections import wallet_entries
from projections.partitions import partition_of
from projections.rebuild import Comparison
from projections.registry import PROJECTIONS
from tests.audit.database import project, store
from tests.audit.sales import a_sale_of_all_kinds
from tests.projections.partitioned import PARTITIONS, project_to, publish, register
from tests.projections.rebuilding import USER, Told, WalletLog, damage, leftovers, rebuilt, shown

OURS = partition_of(USER, PARTITIONS)
"""The partition of the wallet that grows."""

CHECKPOINTS = """
    SELECT projection, array_agg(position ORDER BY partition)
    FROM ticketing.projection_checkpoints
    GROUP BY projection
"""

BALANCE = "SELECT balance FROM wallet_entries_v2.wallets WHERE user_id = %s"


def checkpoints(connection: Connection[Any]) -> dict[str, list[int]]:
    """Where each partition of each projection stands."""
    return dict(connection.execute(CHECKPOINTS).fetchall())


def balance(connection: Connection[Any]) -> int:
    """What the read model says is in the wallet."""
    row = connection.execute(BALANCE, [USER]).fetchone()
    assert row is not None
    return int(row[0])


def test_read_models_whose_partitions_stand_apart_are_in_place_at_the_end_of_the_log(
    dsn: str, connection: Connection[Any]
) -> None:
    random = Random(1)
    log = a_sale_of_all_kinds()
    store(dsn, log.rows())
    register(connection)
    for one in PROJECTIONS:
        project_to(dsn, [random.randint(0, log.position) for _ in range(PARTITIONS)], [one])
    damage(connection, wallet_entries.PROJECTION)

    done = rebuilt(dsn)

    assert [one.position for one in done] == [log.position] * len(PROJECTIONS)
    assert checkpoints(connection) == {one.name: [log.position] * PARTITIONS for one in PROJECTIONS}
    assert audit.run(dsn).ok
    assert leftovers(connection) == []


def test_a_read_model_is_told_where_its_quiet_partitions_stand(dsn: str, connection: Connection[Any]) -> None:
    log = a_sale_of_all_kinds()
    store(dsn, log.rows())
    register(connection)
    publish(connection, log.position)
    (done,) = rebuilt(dsn, "seat_map")
    assert done.position == log.position
    assert audit.run(dsn).ok


def test_the_next_one_has_come_as_far_as_the_foremost_partition_before_it_is_read(
    dsn: str, connection: Connection[Any]
) -> None:
    class SlowFeed(PostgresFeed):
        """Hands out what is recorded later event by event, and says nothing of where the log ends by then."""

        async def last_position(self) -> int:
            return began_at

        async def read(self, after: int, limit: int) -> Sequence[RecordedEvent]:
            return await super().read(after, limit if after < began_at else 1)

    def compare(_: Any) -> dict[str, Comparison]:
        wallet.charge(7)
        further = [began_at] * PARTITIONS
        further[OURS] = wallet.position
        project_to(dsn, further)
        return {"wallet_entries": Comparison(rows=1, different=0, unapplied=0, live_different=0)}

    wallet = WalletLog(dsn)
    wallet.charge(20)
    register(connection)
    began_at = wallet.position
    project_to(dsn, [began_at] * PARTITIONS)
    feed = SlowFeed(dsn)

    (done,) = rebuilding.rebuild(dsn, feed, [wallet_entries.PROJECTION], compare=compare, tell=Told())
    asyncio.run(feed.close())

    assert done.position == wallet.position
    assert balance(connection) == wallet.balance_at(wallet.position)
    assert checkpoints(connection)["wallet_entries"] == [wallet.position] * PARTITIONS
    assert audit.run(dsn).ok


def test_a_version_that_migrate_makes_has_a_checkpoint_for_each_partition(
    dsn: str, connection: Connection[Any]
) -> None:
    register(connection)
    migrate(dsn, projections=[wallet_entries.PROJECTION._replace(version=2)])
    rows = connection.execute(
        """
        SELECT partition, position FROM ticketing.projection_checkpoints
        WHERE projection = 'wallet_entries' AND version = 2
        ORDER BY partition
        """
    ).fetchall()
    assert rows == [(partition, 0) for partition in range(PARTITIONS)]


@pytest.mark.parametrize("step", ["build", "compare", "switch"])
def test_a_topic_may_be_registered_while_read_models_are_rebuilt(
    dsn: str, connection: Connection[Any], step: str
) -> None:
    log = a_sale_of_all_kinds()
    store(dsn, log.rows())
    project(dsn)
    before = shown(connection)
    damage(connection, wallet_entries.PROJECTION)

    rebuilt(dsn, "wallet_entries", "queue", told=Told(**{step: lambda: register(connection)}))

    assert checkpoints(connection) == {one.name: [log.position] * PARTITIONS for one in PROJECTIONS}
    assert leftovers(connection) == []
    assert {name: rows for name, rows in shown(connection).items() if "checkpoints" not in name} == {
        name: rows for name, rows in before.items() if "checkpoints" not in name
    }
    project(dsn)
    assert audit.run(dsn).ok
