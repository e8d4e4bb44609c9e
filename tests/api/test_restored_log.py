"""After a restore: who comes with what the log has lost gets a clear answer, and everyone else goes on.

The backup is a copy of the database. What was done after it was made is lost; then the service starts on the
copy, as `ticketing api` does.
"""

import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import NamedTuple
from uuid import UUID

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

import audit
from aggregates.ids import UserId
from commands.charge_wallet import ChargeWallet
from commands.ports import LogReplaced
from infrastructure.embedded_postgres import EmbeddedPostgres
from infrastructure.epochs import settle
from infrastructure.schema import migrate
from tests.api.conftest import Start
from tests.api.grammar import Api, Buyer, Sale, Then, until
from tests.api.service import Service
from tests.postgres_fixtures import Databases
from tests.postgres_guard import TEMPLATE

KEY = "charged-once"
END_BOARDS = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND application_name = 'ticketing-board'
"""

AT_ONCE_S = 1.5
"""Reads wait for 2 s for what may still come."""


class Restored(NamedTuple):
    """A service that was restored, and what people remember of before."""

    api: Api
    sale: Sale
    inside: Buyer
    """Let in before the backup was made."""
    kept: Buyer
    """Joined before it was made."""
    lost: Buyer
    """Joined after it, with the wallet charged under KEY."""
    seats_before: Then
    """The seat map as it was when the backup was made."""
    seats_lost: Then
    """And at the end, when a seat was held that is free again."""
    restored_up_to: str


def copied(databases: Databases, dsn: str) -> str:
    """Copy a database to which nobody is connected."""
    return databases.create(str(conninfo_to_dict(dsn)["dbname"]))


def last_recorded_at(dsn: str) -> str:
    """When the log's last event was recorded."""
    with psycopg.connect(dsn) as connection:
        ((recorded_at,),) = connection.execute("""
            SELECT convert_from(state, 'UTF8')::json ->> 'recorded_at'
            FROM ticketing.ticketing_events ORDER BY notification_id DESC LIMIT 1
        """).fetchall()
    return str(recorded_at)


@contextmanager
def serving(dsn: str) -> Iterator[Api]:
    """A service on this database, for as long as the block lasts."""
    with Service(dsn) as service:
        api = Api(service)
        yield api
        api.close()


@pytest.fixture(scope="module")
def restored(databases: Databases) -> Iterator[Restored]:
    original = databases.create(TEMPLATE)
    settle(original)
    with serving(original) as api:
        sale = api.given_sale(max_active=1)
        inside, kept = sale.given_inside(), sale.given_waiting()
        seats_before = inside.when_looking_at_seats().then(200)
    backup = copied(databases, original)
    with serving(original) as sale.api:
        inside.when_reserving(7).then(201)
        lost = sale.given_waiting()
        lost.when_charging(500, key=KEY).then(201)
        seats_lost = inside.when_looking_at_seats().then(200)
    restored_up_to = last_recorded_at(backup)
    assert settle(backup) is not None, "a copy of a database is another database"
    with serving(backup) as sale.api:
        inside.seen = kept.seen = 0
        yield Restored(sale.api, sale, inside, kept, lost, seats_before, seats_lost, restored_up_to)


def test_a_token_from_before_the_backup_keeps_its_place(restored: Restored) -> None:
    asked = restored.kept.when_asking().then(200)
    assert (asked.json["queue_number"], asked.json["ahead"]) == (2, 0)
    again = restored.kept.when_joining().then(200)
    assert again.json["queue_number"] == 2


def test_a_token_from_after_the_backup_is_lost_and_says_so(restored: Restored) -> None:
    """Its number is given to the next who comes, so it must not be taken for a place in line."""
    lost = restored.lost
    for ask in (lost.when_asking, lost.when_listing_dates, lost.when_leaving, lost.when_paying):
        ask(since=None).then_refused("TOKEN_LOST", restored_up_to=restored.restored_up_to)


def test_the_next_who_joins_gets_the_number_that_was_lost(restored: Restored) -> None:
    newcomer = restored.sale.given_waiting()
    assert newcomer.queue_number == restored.lost.queue_number
    assert newcomer.when_asking().then(200).json["queue_number"] == newcomer.queue_number


def test_a_user_and_a_key_from_after_the_backup_are_unknown(restored: Restored) -> None:
    """The key's outcome is lost with the charge itself. So to charge again is right, and done once."""
    api, user_id = restored.api, restored.lost.user_id
    charges = f"/api/v1/users/{user_id}/wallet/charges"
    api.when("POST", charges, {"amount": 500}, key="another").then_refused("USER_NOT_FOUND")
    restored.sale.when("POST", "/token", {"user_id": user_id}).then_refused("USER_NOT_FOUND")
    api.when("POST", "/api/v1/users", {"user_id": user_id}).then(201)
    first = api.when("POST", charges, {"amount": 500}, key=KEY).then(201, balance=500)
    api.when("POST", charges, {"amount": 500}, key=KEY).same_as(first)


def test_a_position_from_after_the_backup_is_refused_at_once_and_for_ever(restored: Restored) -> None:
    seen = restored.lost.seen
    restored.sale.when_admin("POST", "/queue/pause").then(200)
    position = restored.sale.when_admin("POST", "/queue/resume").then(200).position
    assert position > seen, "the log has grown beyond what was seen of the one that is lost"
    started = time.monotonic()
    refused = restored.sale.when("GET", "", since=seen)
    refused.then_refused("POSITION_NOT_IN_LOG", position=refused.json["position"])
    assert time.monotonic() - started < AT_ONCE_S
    restored.sale.when("GET", "", since=position).then(200)


def test_an_etag_matches_the_same_seats_and_no_others(restored: Restored) -> None:
    """It is a digest of the seats as they are sent: none of the lost part matches by accident."""
    look = restored.inside.when_looking_at_seats
    assert look(headers={"if-none-match": restored.seats_before.headers["etag"]}).status == 304
    seen = look(headers={"if-none-match": restored.seats_lost.headers["etag"]}).then(200)
    assert seen.json["seats"][6]["status"] == "AVAILABLE"


def test_the_log_is_clean_and_the_read_models_follow_it(restored: Restored) -> None:
    seen = restored.sale.when_admin("POST", "/sales/open").position
    restored.sale.when("GET", "", since=seen).then(200)
    report = audit.run(restored.api.service.dsn)
    assert report.ok, report


def test_a_process_ends_when_its_log_is_replaced_by_an_older_copy(own_postgres: EmbeddedPostgres) -> None:
    """It cannot be seen from where the log is: the process misses the last event that it knows of."""
    migrate(own_postgres.dsn)
    user_ids: list[str] = []
    with pytest.raises(ExceptionGroup) as ended:
        charge_until_the_end(own_postgres, user_ids)
    assert ended.group_contains(LogReplaced)
    assert settle(own_postgres.dsn) is None, "it looks just like the original"
    settle(own_postgres.dsn, restored=True)
    with serving(own_postgres.dsn) as api:
        api.when("GET", f"/api/v1/users/{user_ids[0]}/wallet").then(200, balance=5)
    assert audit.run(own_postgres.dsn).ok


def test_a_process_that_is_only_read_from_ends_with_the_epoch_that_it_began_in(dsn: str) -> None:
    with pytest.raises(ExceptionGroup) as ended:
        begin_an_epoch(dsn)
    assert ended.group_contains(LogReplaced)


def begin_an_epoch(dsn: str) -> None:
    """Begin one beneath a process to which nobody sends a command."""
    with serving(dsn) as api:
        settle(dsn, restored=True)
        api.service.until(lambda: False)


def test_a_board_believes_nothing_of_before_over_a_new_connection(start: Start, dsn: str) -> None:
    """The database may be another by then, whose read models have come just as far."""
    api = start()
    sale = api.given_concert()
    seen = sale.when_admin("POST", "/sales/open").position
    sale.when("GET", "", since=seen).then(200, title="An Evening")
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("UPDATE concerts_v1.concerts SET title = 'Another Evening'")
        connection.execute(END_BOARDS)
    until(lambda: sale.when("GET", ""), lambda then: then.json["title"] == "Another Evening")


def charge_until_the_end(postgres: EmbeddedPostgres, user_ids: list[str]) -> None:
    """Charge a wallet with 5, make a copy, charge it again, put the copy in place, and charge on."""
    copy = postgres.folder.with_name("copy")
    with serving(postgres.dsn) as api:
        user_ids.append(api.given_user(balance=5))
        with stopped(postgres):
            subprocess.run(["cp", "-a", postgres.folder, copy], check=True)
        charge = partial(api.when, "POST", f"/api/v1/users/{user_ids[0]}/wallet/charges", {"amount": 5})
        until(charge, lambda then: then.status == 201)
        with stopped(postgres):
            shutil.rmtree(postgres.folder)
            copy.rename(postgres.folder)
        api.close()
        once_more = ChargeWallet(UserId(UUID(user_ids[0])), 5)
        api.service.start(api.service.services.bus.execute(once_more))
        api.service.until(lambda: False)


@contextmanager
def stopped(postgres: EmbeddedPostgres) -> Iterator[None]:
    """Stop the server for as long as the block lasts."""
    postgres.stop()
    yield
    postgres.start()
