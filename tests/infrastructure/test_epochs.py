"""Epochs: what a restored log says of tokens and positions that were given before, and how it is noticed."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any, LiteralString
from uuid import UUID, uuid4

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregates.errors import TokenInvalid, TokenLost
from aggregates.ids import UserId
from commands.charge_wallet import ChargeWallet
from commands.errors import StoreUnavailable
from commands.ports import LogReplaced, Wanted
from infrastructure import schema
from infrastructure.epochs import Epoch, Epochs, settle
from infrastructure.event_log import PostgresEventLog
from projections.registry import PROJECTIONS
from tests.aggregates.given import ANN
from tests.asynchronous import asynchronous, until
from tests.commands.steps import registered
from tests.infrastructure.event_log_contract import soon
from tests.infrastructure.running_bus import RunningBus
from tests.live_sale import LiveSale

APPENDING_SESSIONS: LiteralString = """
    SELECT count(*)
    FROM pg_stat_activity
    WHERE datname = current_database() AND application_name = 'ticketing-append'
"""

WAITING_SESSIONS: LiteralString = """
    SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'
"""

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
FIRST, SECOND, THIRD, FOREIGN = (UUID(int=number) for number in range(1, 5))
"""FOREIGN began in a part of the log that is lost."""


def minute(number: int) -> float:
    """So many minutes after noon, as tokens say it."""
    return (NOON + timedelta(minutes=number)).timestamp()


def charge(user_id: UserId, amount: int) -> ChargeWallet:
    """Charge a wallet."""
    return ChargeWallet(user_id, amount)


def epochs(*boundaries: int | None) -> Epochs:
    """A log that was restored up to each of these minutes; None is an empty backup."""
    restored = [
        Epoch(
            number,
            epoch,
            (number - 1) * 1_000 - 800,
            None if at is None else NOON + timedelta(minutes=at),
            (number - 1) * 1_000,
        )
        for number, (epoch, at) in enumerate(zip((SECOND, THIRD), boundaries, strict=False), start=2)
    ]
    return Epochs([Epoch(1, FIRST, 0, None, 1), *restored])


def lost(known: Epochs, epoch: UUID | str, at: int) -> float | None:
    """Up to which minute the answer says that the service was restored."""
    with pytest.raises(TokenLost) as refused:
        known.require_kept(str(epoch), minute(at))
    up_to = refused.value.members["restored_up_to"]
    return None if up_to is None else (up_to - NOON) / timedelta(minutes=1)


def test_a_token_is_kept_if_it_was_issued_up_to_the_boundary() -> None:
    known = epochs(10)
    known.require_kept(str(FIRST), minute(10))
    assert lost(known, FIRST, 11) == 10
    known.require_kept(str(SECOND), minute(11))


def test_a_token_from_before_tokens_said_their_epoch_is_of_the_first() -> None:
    known = epochs(10)
    known.require_kept("", minute(10))
    assert lost(known, "", 11) == 10
    epochs().require_kept("", minute(11))


def test_after_two_restores_a_token_must_have_been_issued_before_each_boundary_since() -> None:
    known = epochs(10, 5)
    assert lost(known, FIRST, 6) == 5
    known = epochs(10, 20)
    known.require_kept(str(SECOND), minute(20))
    assert lost(known, SECOND, 21) == 20
    known.require_kept(str(FIRST), minute(10))
    assert lost(known, FIRST, 15) == 10


def test_a_token_of_an_epoch_that_is_lost_as_a_whole_is_lost() -> None:
    assert lost(epochs(10), FOREIGN, 1) == 10
    assert lost(epochs(None), FIRST, 1) is None
    with pytest.raises(TokenInvalid):
        epochs().require_kept(str(FOREIGN), minute(1))


@given(st.lists(st.integers(0, 100), min_size=2, max_size=2), st.sampled_from([1, 2, 3]), st.integers(0, 100))
def test_a_token_is_kept_just_where_no_later_boundary_lies_before_it(
    boundaries: list[int], number: int, at: int
) -> None:
    known = epochs(*boundaries)
    try:
        known.require_kept(str((FIRST, SECOND, THIRD)[number - 1]), minute(at))
    except TokenLost:
        kept = False
    else:
        kept = True
    assert kept == all(at <= boundary for boundary in boundaries[number - 1 :])


def test_a_position_is_lost_if_it_lies_between_a_boundary_and_the_epoch_that_began_behind_it() -> None:
    known = epochs(10, 20)
    assert [position for position in (200, 201, 999, 1_000) if known.has_lost(position)] == [201, 999]
    assert not epochs().has_lost(10**15)


SNAPSHOT: LiteralString = """
    INSERT INTO ticketing.snapshots (stream_id, version, position, shape, state) VALUES (%s, 1, %s, '', '')
"""

OUTCOME: LiteralString = """
    INSERT INTO ticketing.command_outcomes
        (caller, key, request, reply, position, command_id, recorded_at)
    VALUES ('admin', %s, '', '', %s, gen_random_uuid(), now())
"""

CHECKPOINTS: LiteralString = "SELECT position FROM ticketing.projection_checkpoints"

ALL_EPOCHS: LiteralString = "SELECT number, epoch, after_position FROM ticketing.log_epochs ORDER BY number"


def rows(dsn: str, query: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
    with psycopg.connect(dsn, autocommit=True) as connection:
        cursor = connection.execute(query.encode(), parameters)
        return cursor.fetchall() if cursor.description else []


def elsewhere(dsn: str) -> None:
    """Have the log find itself in another cluster than it was in."""
    settle(dsn)
    rows(dsn, """UPDATE ticketing.log_epochs SET whereabouts = whereabouts || '{"cluster": "another"}'""")


@pytest.mark.parametrize(
    ("position", "epoch"),
    [
        (1, FIRST),
        (200, FIRST),
        (999, FIRST),
        (1_000, SECOND),
        (1_200, SECOND),
        (2_000, THIRD),
        (9_999, THIRD),
    ],
)
def test_an_event_is_of_the_epoch_in_which_it_was_recorded(position: int, epoch: UUID) -> None:
    assert epochs(10, 20).recorded_in(position) == str(epoch)


def test_a_log_that_stays_where_it_is_stays_in_its_epoch(dsn: str) -> None:
    before = rows(dsn, ALL_EPOCHS)
    assert settle(dsn) is None
    assert settle(dsn) is None
    assert rows(dsn, ALL_EPOCHS) == before
    ((seen,),) = rows(dsn, "SELECT whereabouts FROM ticketing.log_epochs")
    assert seen.keys() == {"database", "table", "cluster", "timeline", "base_backup"}


def test_of_processes_that_start_together_one_begins_the_epoch(dsn: str) -> None:
    elsewhere(dsn)
    with ThreadPoolExecutor(4) as processes:
        begun = list(processes.map(settle, [dsn] * 4))
    assert [epoch.number for epoch in begun if epoch is not None] == [2]
    assert len(rows(dsn, ALL_EPOCHS)) == 2


def test_an_epoch_begins_behind_the_last_event_beyond_any_position_that_was_given(sale: LiveSale) -> None:
    sale.done(registered(ANN))
    last = sale.log()[-1]
    epoch = settle(sale.dsn, restored=True)
    assert epoch is not None
    assert (epoch.after_position, epoch.after_recorded_at) == (last.position, last.recorded_at)
    with LiveSale(sale.dsn) as restarted:
        restarted.done(charge(ANN, 1))
        assert restarted.log()[-1].position == epoch.first_position > 10**15
        again = settle(sale.dsn, restored=True)
        assert again is not None
        assert again.first_position > epoch.first_position + 1


def test_who_may_not_ask_where_the_cluster_is_sees_by_the_tables(dsn: str) -> None:
    """On a managed PostgreSQL nobody is a superuser."""
    role = f"clerk_{uuid4().hex}"
    rows(dsn, f"CREATE ROLE {role}; GRANT USAGE ON SCHEMA ticketing TO {role};")
    rows(dsn, f"GRANT SELECT ON ALL TABLES IN SCHEMA ticketing TO {role}")
    rows(dsn, "REVOKE EXECUTE ON FUNCTION pg_control_system() FROM public")
    try:
        with psycopg.connect(dsn, autocommit=True, options=f"-c role={role}") as connection:
            ((seen,),) = connection.execute("SELECT ticketing.whereabouts()").fetchall()
            assert seen.keys() == {"database", "table"}
            settle(dsn)
            assert connection.execute("SELECT ticketing.log_has_moved()").fetchone() == (False,)
    finally:
        rows(dsn, "GRANT EXECUTE ON FUNCTION pg_control_system() TO public")
        rows(dsn, f"DROP OWNED BY {role}; DROP ROLE {role}")


def test_what_stands_beside_the_log_and_is_ahead_of_it_goes(sale: LiveSale) -> None:
    """As when the log alone was restored, and what stands beside it is newer."""
    sale.done(registered(ANN, balance=5), charge(ANN, 7))
    sale.project()
    boundary = sale.log()[-2].position
    for position in (boundary, boundary + 1):
        rows(sale.dsn, SNAPSHOT, [uuid4(), position])
        rows(sale.dsn, OUTCOME, [str(position), position])
    rows(sale.dsn, "DELETE FROM ticketing.ticketing_events WHERE notification_id > %s", [boundary])
    settle(sale.dsn, restored=True)
    assert rows(sale.dsn, "SELECT position FROM ticketing.snapshots") == [(boundary,)]
    assert rows(sale.dsn, "SELECT key FROM ticketing.command_outcomes") == [(str(boundary),)]
    assert list(schema.unbuilt(sale.dsn)) == list(PROJECTIONS)
    with pytest.raises(schema.ReadModelsNotBuilt, match="run `ticketing rebuild"):
        schema.check(sale.dsn)


def test_read_models_that_were_not_restored_with_the_log_are_made_anew(sale: LiveSale) -> None:
    """The log says that they are there."""
    sale.done(registered(ANN))
    sale.project()
    first, *others = PROJECTIONS
    rows(sale.dsn, f"DROP SCHEMA {first.schema} CASCADE")
    settle(sale.dsn, restored=True)
    assert list(schema.unbuilt(sale.dsn)) == [first]
    assert [position for (position,) in rows(sale.dsn, CHECKPOINTS)] == [1] * len(others)


def test_what_a_projector_is_about_to_apply_of_the_lost_part_is_waited_for(sale: LiveSale) -> None:
    """It came over the topic. Afterwards nobody could tell the read models that show it from others."""
    sale.done(registered(ANN))
    sale.project()
    with psycopg.connect(sale.dsn) as projector, ThreadPoolExecutor(1) as processes:
        projector.execute("UPDATE ticketing.projection_checkpoints SET position = position + 1")
        beginning = processes.submit(settle, sale.dsn, restored=True)
        sale.until(lambda: beginning.done() or rows(sale.dsn, WAITING_SESSIONS) != [(0,)])
        projector.commit()
        beginning.result()
    assert list(schema.unbuilt(sale.dsn)) == list(PROJECTIONS)


@asynchronous
async def test_nothing_is_decided_over_a_connection_to_a_log_that_has_moved(dsn: str) -> None:
    """It has failed over, say, to a standby that lacked something; no process has begun an epoch yet."""
    elsewhere(dsn)
    async with RunningBus(dsn) as service:
        await refused_by(service)


@asynchronous
async def test_nothing_is_decided_in_another_epoch_than_the_process_began_in(dsn: str) -> None:
    async with RunningBus(dsn) as service:
        await service.done(registered(ANN))
        settle(dsn, restored=True)
        await refused_by(service)


@asynchronous
async def test_a_connection_that_cannot_tell_its_epoch_is_closed(dsn: str) -> None:
    event_log = PostgresEventLog(dsn)
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("ALTER FUNCTION ticketing.log_has_moved RENAME TO elsewhere")
        with pytest.raises(psycopg.errors.UndefinedFunction):
            await event_log.begin(Wanted([]), soon())
        await until(lambda: connection.execute(APPENDING_SESSIONS).fetchone() == (0,))
        connection.execute("ALTER FUNCTION ticketing.elsewhere RENAME TO log_has_moved")
    await (await event_log.begin(Wanted([]), soon())).give_up()
    event_log.lose()


async def refused_by(service: RunningBus) -> None:
    """It says that nothing was recorded, and ends."""
    refused = (await service.execute(charge(ANN, 1))).outcome
    assert isinstance(refused, StoreUnavailable)
    assert refused.members == {"outcome": "NONE"}
    with pytest.raises(LogReplaced):
        await service.running
