"""A rebuild: what it puts in place, what it leaves alone, and who waits for whom."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Event
from typing import Any

import msgspec
import psycopg
import pytest
from psycopg import Connection, IsolationLevel
from structlog.testing import capture_logs

import audit
from aggregates.event import RecordedEvent
from aggregates.seat import SeatSold
from audit.read_models.comparison import READ_MODELS
from cli.rebuild import rebuild
from infrastructure.feed import PostgresFeed
from infrastructure.schema import ReadModelsNotBuilt, check, migrate, unbuilt
from projections import rebuild as rebuilding
from projections import seat_map, wallet_entries
from projections.projection import Projection
from projections.reading import LOCK_VERSIONS
from projections.rebuild import Comparison, RebuildError, Step, remove_old
from projections.registry import PROJECTIONS
from tests.audit.database import project, store
from tests.audit.sales import a_sale_of_all_kinds
from tests.projections import tables
from tests.projections.poison import Poison
from tests.projections.rebuilding import (
    USER,
    Told,
    WalletLog,
    damage,
    described,
    leftovers,
    rebuilt,
    shown,
    wait_until,
)

WALLET = """
    SELECT position, balance
    FROM ticketing.projection_checkpoints
    JOIN wallet_entries_v2.wallets ON user_id = %s
    WHERE projection = 'wallet_entries'
"""


PARK = """
    INSERT INTO ticketing.dead_letters
        (projection, position, stream_id, stream, version, topic, error, tries)
    SELECT 'seat_map', notification_id, originator_id, 'seat/GALA', originator_version, topic, 'poison', 3
    FROM ticketing.ticketing_events
    WHERE notification_id = %s
"""


@pytest.fixture
def projected(dsn: str) -> str:
    """A database in which that sale is projected."""
    store(dsn, a_sale_of_all_kinds().rows())
    project(dsn)
    return dsn


@pytest.fixture
def wallet(dsn: str) -> WalletLog:
    """A log with a wallet, which is projected up to its end."""
    log = WalletLog(dsn)
    log.charge(20)
    project(dsn)
    return log


def without(handler: type[Any]) -> Projection[Any]:
    """The seat map with a defect: it does not listen to one kind of event."""
    handlers = {event: one for event, one in seat_map.PROJECTION.handlers.items() if event is not handler}
    return seat_map.PROJECTION._replace(handlers=handlers)


def test_read_models_that_were_damaged_are_whole_again(projected: str, connection: Connection[Any]) -> None:
    before = shown(connection)
    lost = {one.name: damage(connection, one) for one in PROJECTIONS}
    shapes = [described(connection, one) for one in PROJECTIONS]
    assert all(lost.values())

    done = rebuilt(projected)

    assert shown(connection) == before
    assert [described(connection, one) for one in PROJECTIONS] == shapes
    assert {one.projection.name: one.comparison.live_different for one in done} == lost
    assert leftovers(connection) == []
    check(projected)
    project(projected)
    assert shown(connection) == before


def test_a_read_model_whose_table_is_gone_is_built_again(projected: str, connection: Connection[Any]) -> None:
    before = shown(connection)
    connection.execute("DROP TABLE seat_map_v1.seats")
    (done,) = rebuilt(projected, "seat_map")
    assert done.comparison.live_different is None
    assert shown(connection) == before


def test_a_projector_goes_on_where_the_rebuilt_one_stands(
    dsn: str, wallet: WalletLog, connection: Connection[Any]
) -> None:
    (done,) = rebuilt(dsn, "wallet_entries")
    assert done.position == wallet.position
    wallet.charge(5)
    project(dsn)
    assert audit.run(dsn).ok
    assert wallet_of(connection) == (wallet.position, wallet.balance_at(wallet.position))


def test_a_read_model_that_lagged_is_in_place_at_the_end_of_the_log(
    dsn: str, wallet: WalletLog, connection: Connection[Any]
) -> None:
    wallet.charge(7)
    rebuilt(dsn, "wallet_entries")
    assert wallet_of(connection) == (wallet.position, wallet.balance_at(wallet.position))


def test_what_was_recorded_and_projected_meanwhile_is_in_the_rebuilt_one(
    dsn: str, wallet: WalletLog, connection: Connection[Any]
) -> None:
    class SlowFeed(PostgresFeed):
        """Hands out what is recorded later event by event, and says nothing of where the log ends by then."""

        async def last_position(self) -> int:
            return position

        async def read(self, after: int, limit: int) -> Sequence[RecordedEvent]:
            return await super().read(after, limit if after < position else 1)

    def compare(_: Any) -> dict[str, Comparison]:
        wallet.charge(7)
        project(dsn)
        return {"wallet_entries": Comparison(rows=1, different=0, unapplied=0, live_different=0)}

    position = wallet.position
    feed = SlowFeed(dsn)
    (done,) = rebuilding.rebuild(dsn, feed, [wallet_entries.PROJECTION], compare=compare, tell=Told())
    asyncio.run(feed.close())
    assert done.position == wallet.position
    assert wallet_of(connection) == (wallet.position, wallet.balance_at(wallet.position))


def test_what_is_recorded_between_two_that_take_their_places_is_in_both(
    dsn: str, wallet: WalletLog, connection: Connection[Any]
) -> None:
    def meanwhile() -> None:
        wallet.charge(3)
        project(dsn)

    first, *_, last = rebuilt(dsn, told=Told(remove=meanwhile))
    assert (first.position, last.position) == (wallet.position - 3, wallet.position)
    assert wallet_of(connection) == (wallet.position, wallet.balance_at(wallet.position))
    assert audit.run(dsn).ok


def test_one_that_is_not_what_the_log_says_is_not_put_in_place(
    projected: str, connection: Connection[Any]
) -> None:
    before = shown(connection)
    (done,) = rebuild(projected, [without(SeatSold)], Told())
    assert done.position is None
    assert done.comparison.different > 0
    assert done.comparison.live_different == 0
    assert "seat_map_next_v1" in leftovers(connection)
    assert shown(connection) == before

    rebuilt(projected, "seat_map")
    assert leftovers(connection) == []
    assert shown(connection) == before


def sold_at(connection: Connection[Any]) -> int:
    """The position of an event by which a seat was sold."""
    row = connection.execute(
        "SELECT min(notification_id) FROM ticketing.ticketing_events WHERE topic = 'seat.sold'"
    ).fetchone()
    assert row is not None
    return int(row[0])


def dead_letters(connection: Connection[Any]) -> set[tuple[str, int]]:
    return set(connection.execute("SELECT projection, position FROM ticketing.dead_letters").fetchall())


def test_one_that_cannot_apply_what_the_one_before_has_applied_is_not_put_in_place(
    projected: str, connection: Connection[Any]
) -> None:
    before, sold = shown(connection), sold_at(connection)
    with capture_logs():
        (done,) = rebuild(projected, [Poison([sold]).into(seat_map.PROJECTION)], Told())
    assert done.position is None
    assert done.comparison.unapplied == len(dead_letters(connection)) > 0
    assert ("seat_map_next", sold) in dead_letters(connection)
    assert shown(connection) == before
    rebuilt(projected, "seat_map")
    assert dead_letters(connection) == set()
    assert leftovers(connection) == []


def test_dead_letters_are_those_of_the_one_in_place(projected: str, connection: Connection[Any]) -> None:
    before, sold = shown(connection), sold_at(connection)
    connection.execute(PARK, [sold])
    with capture_logs():
        (done,) = rebuild(projected, [Poison([sold]).into(seat_map.PROJECTION)], Told())
    assert done.position is not None, "it is no worse than the one before"
    assert dead_letters(connection) == {("seat_map", sold)}
    rebuilt(projected, "seat_map")
    assert dead_letters(connection) == set()
    assert shown(connection) == before


def test_of_two_rebuilds_at_once_the_second_says_so(
    projected: str, connection: Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rebuilding, "CLAIM_WAIT_S", 0.1)
    before = shown(connection)

    def second() -> None:
        with pytest.raises(RebuildError, match=r"^another process is rebuilding seat_map$"):
            rebuild(projected, PROJECTIONS, Told())
        with pytest.raises(RebuildError, match=r"^another process is rebuilding seat_map$"):
            remove_old(projected, [seat_map.PROJECTION], Told())
        rebuilt(projected, "queue")

    rebuilt(projected, "seat_map", told=Told(switch=second))
    assert shown(connection) == before


def wallet_of(connection: Connection[Any]) -> tuple[int, int]:
    """The read model's position, and what it says is in the wallet."""
    row = connection.execute(WALLET, [USER], prepare=True).fetchone()
    assert row is not None
    return int(row[0]), int(row[1])


def test_a_statement_that_reads_is_waited_for_and_nobody_waits_behind_it(
    dsn: str, wallet: WalletLog, connection: Connection[Any]
) -> None:
    waits = Event()
    with psycopg.connect(dsn) as reader, ThreadPoolExecutor() as threads:
        here = wallet_of(reader)  # and its transaction goes on
        done = threads.submit(rebuilt, dsn, "wallet_entries", told=Told(wait=waits.set))
        assert waits.wait(20)
        for _ in range(3):
            wallet.charge()
            project(dsn)
            position, balance = wallet_of(connection)
            assert (position, balance) == (wallet.position, wallet.balance_at(position))
        assert not done.done()
        assert wallet_of(reader) == (wallet.position, wallet.balance_at(wallet.position)) != here
        reader.rollback()
        (one,) = done.result()
    assert one.position == wallet.position
    assert wallet_of(connection) == (wallet.position, wallet.balance_at(wallet.position))


def test_a_snapshot_that_reads_several_is_waited_for(dsn: str, wallet: WalletLog) -> None:
    waits = Event()
    with psycopg.connect(dsn) as reader, ThreadPoolExecutor() as threads:
        reader.isolation_level = IsolationLevel.REPEATABLE_READ
        reader.execute(LOCK_VERSIONS)
        position = wallet.position
        reader.execute("SELECT 1")  # takes the snapshot, and has not looked at any table yet
        done = threads.submit(rebuilt, dsn, "wallet_entries", told=Told(wait=waits.set))
        wait_until(lambda: waits.is_set() or done.done(), "the rebuild waits")
        wallet.charge(3)
        project(dsn)
        assert wallet_of(reader) == (position, wallet.balance_at(position))
        assert not done.done()
        reader.rollback()
        done.result()


def test_an_audit_that_goes_on_sees_no_table_replaced(dsn: str, wallet: WalletLog) -> None:
    waits = Event()
    rebuilds: list[Future[Any]] = []

    def meanwhile(_position: int, _last: int) -> None:
        if not rebuilds:
            rebuilds.append(threads.submit(rebuilt, dsn, "wallet_entries", told=Told(wait=waits.set)))
            wait_until(lambda: waits.is_set() or rebuilds[0].done(), "the rebuild waits")

    with ThreadPoolExecutor() as threads:
        assert audit.run(dsn, progress=meanwhile).ok
        assert rebuilds[0].result()


def raised(projection: Projection[Any]) -> Projection[Any]:
    """The projection as a later version of the software has it, with one more column."""
    definition = projection.definition + "ALTER TABLE {schema}.seats ADD COLUMN row_name text;"
    return projection._replace(version=2, definition=definition)


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> list[Projection[Any]]:
    """All projections of a later version of the software, whose audit knows them, too."""
    model = msgspec.structs.replace(READ_MODELS["seat_map"], version=2)
    monkeypatch.setitem(READ_MODELS, "seat_map", model)
    return [raised(one) if one.name == "seat_map" else one for one in PROJECTIONS]


NOT_BUILT = r"^the read model seat_map v2 has not been built: run `ticketing rebuild seat_map`$"


def test_a_new_version_is_built_beside_the_old_one_which_serves_until_it_is_removed(
    projected: str, connection: Connection[Any], later: list[Projection[Any]]
) -> None:
    before = shown(connection)
    assert migrate(projected, projections=later) == []
    with pytest.raises(ReadModelsNotBuilt, match=NOT_BUILT):
        check(projected, later)
    assert [one.schema for one in unbuilt(projected, later)] == ["seat_map_v2"]
    check(projected)
    assert remove_old(projected, later, Told()) == []
    assert shown(connection) == before

    (done,) = rebuild(projected, unbuilt(projected, later), Told())

    assert done.comparison.live_different is None
    check(projected, later)
    check(projected)
    project(projected)
    project(projected, later)
    assert audit.run(projected).ok
    assert tables.of(connection, seat_map.PROJECTION) != []

    assert remove_old(projected, later, Told()) == ["seat_map_v1"]
    check(projected, later)
    with pytest.raises(ReadModelsNotBuilt, match=r"seat_map v1"):
        check(projected)
    assert tables.of(connection, seat_map.PROJECTION) == []
    assert leftovers(connection) == []


def test_for_an_empty_log_migrate_makes_a_new_version_itself(dsn: str, later: list[Projection[Any]]) -> None:
    assert migrate(dsn, projections=later) == ["seat_map_v2"]
    check(dsn, later)


def test_several_that_are_missing_are_named_together(projected: str, connection: Connection[Any]) -> None:
    connection.execute("DROP SCHEMA seat_map_v1, queue_v2 CASCADE")
    connection.execute("DELETE FROM ticketing.projection_schemas WHERE projection IN ('queue', 'seat_map')")
    line = (
        r"^the read models seat_map v1, queue v2 have not been built: run `ticketing rebuild seat_map queue`$"
    )
    with pytest.raises(ReadModelsNotBuilt, match=line):
        check(projected)


def test_a_version_that_the_audit_does_not_know_is_not_put_in_place(
    projected: str, connection: Connection[Any]
) -> None:
    with pytest.raises(LookupError):
        rebuild(projected, [raised(seat_map.PROJECTION)], Told())
    assert connection.execute("SELECT to_regnamespace('seat_map_v2')").fetchone() == (None,)


def test_what_somebody_still_reads_is_removed_by_the_next_rebuild(
    dsn: str, wallet: WalletLog, connection: Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rebuilding, "REMOVE_WITHIN_S", 0.1)
    with psycopg.connect(dsn) as reader:

        def read_the_old_one() -> None:
            reader.execute("TABLE wallet_entries_old_v2.wallets")

        told = Told(remove=read_the_old_one)
        (done,) = rebuild(dsn, [wallet_entries.PROJECTION], told)
        assert done.position == wallet.position
        assert not done.removed
        with pytest.raises(RebuildError, match=r"^wallet_entries_old_v2 cannot be removed while"):
            rebuild(dsn, [wallet_entries.PROJECTION], Told())
    assert (Step.REMOVE, "wallet_entries_old_v2") in told.steps
    rebuilt(dsn, "wallet_entries")
    assert leftovers(connection) == []
