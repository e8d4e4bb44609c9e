"""When the store is out of reach, slow, or not as it should be: what is answered, and that it passes."""

import asyncio
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, LiteralString
from uuid import UUID

import psycopg
import pytest
from structlog.testing import capture_logs

from aggregates.ids import UserId
from api.server import running_services
from commands.bus import BATCH_COMMANDS_MAX, WAITING_MAX
from commands.charge_wallet import ChargeWallet
from infrastructure.read_models import CONNECTIONS_MAX
from tests.api.conftest import Start
from tests.api.grammar import Api, Then, until
from tests.api.metrics import samples
from tests.api.service import Service, settings_of
from tests.api.store import a_key, execute, nothing_appended
from tests.asynchronous import asynchronous
from tests.infrastructure.proxy import Fault

REFUSE_WRITERS: LiteralString = """
    CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        RAISE unique_violation;
    END
    $$;
    CREATE TRIGGER refuse BEFORE INSERT ON ticketing.ticketing_events
        FOR EACH ROW EXECUTE FUNCTION refuse();
"""
"""As if someone who takes no lock had always been a little faster."""


@contextmanager
def out_of_reach(api: Api) -> Iterator[None]:
    """Keep the service away from the store."""
    store = api.service.store
    store.refuse = True
    api.service.soon(store.cut)
    yield
    store.refuse = False


@asynchronous
async def test_q8_a_process_that_has_just_started_turns_nobody_away(dsn: str) -> None:
    """What it hears counts from the first request on: it takes the place of one that died."""
    async with running_services(settings_of(), dsn) as services:
        assert services.hearing.counts


def test_while_the_store_is_out_of_reach_everyone_is_told_so(start: Start) -> None:
    api = start(proxied=True)
    ann = api.given_sale().given_waiting(balance=5)
    ann.when_asking().then(200)
    with ThreadPoolExecutor() as people, out_of_reach(api):
        started = time.monotonic()
        answers = [
            people.submit(ann.when_charging, 5),
            people.submit(ann.when_looking, "wallet"),
            people.submit(api.when, "GET", "/readyz"),
            people.submit(api.when_admin, "GET", "/audit/payments", user_id=ann.user_id),
        ]
        api.when("GET", "/healthz").then(200)
        until(ann.when_asking, lambda then: then.status != 200).then_refused("READ_MODEL_BEHIND")
        for answer in answers:
            refused = answer.result().then_refused("STORE_UNAVAILABLE", outcome="NONE")
            assert refused.headers["retry-after"] == "1"
        assert time.monotonic() - started < 8
        assert samples(api)["ticketing_commands_total", "ChargeWallet", "STORE_UNAVAILABLE"] == 1
    until(lambda: ann.when_charging(5), lambda then: then.status == 201).then(201, balance=10)
    until(lambda: api.when("GET", "/readyz"), lambda then: then.status == 200)
    ann.when_looking("wallet").then(200, balance=10)
    ann.when_asking().then(200, place=1)


def test_i1_an_unknown_outcome_is_told_and_may_be_repeated_with_a_key(start: Start) -> None:
    def lose(key: str | None) -> None:
        api = start(proxied=True)
        charges = f"/api/v1/users/{api.given_user()}/wallet/charges"
        api.service.store.faults.append(Fault.LOSE_COMMIT)
        api.service.store.refuse = True
        unknown = api.when("POST", charges, {"amount": 5}, key=key)
        unknown.then_refused("STORE_UNAVAILABLE", outcome="UNKNOWN")
        assert ("retry-after" in unknown.headers) == (key is not None)
        api.service.store.refuse = False
        again = until(
            lambda: api.when("POST", charges, {"amount": 5}, key=key), lambda then: then.status < 400
        )
        again.then(201, balance=5)

    with ThreadPoolExecutor() as people:
        for lost in [people.submit(lose, key) for key in (None, "key-1")]:
            lost.result()


def test_i1_a_lost_acknowledgement_is_looked_up_and_answered(start: Start) -> None:
    api = start(proxied=True)
    user_id = api.given_user()
    api.service.store.faults.append(Fault.LOSE_ACKNOWLEDGEMENT)
    charged = api.when("POST", f"/api/v1/users/{user_id}/wallet/charges", {"amount": 5})
    charged.then(201, balance=5)
    api.when("GET", f"/api/v1/users/{user_id}/wallet", since=charged.position).then(200, balance=5)


def test_who_was_recorded_is_not_told_otherwise_when_the_name_cannot_be_read(start: Start) -> None:
    """Whoever registers for the first time need not have it read: they have just said it."""
    api = start()
    user_id = api.given_user()
    with ThreadPoolExecutor(CONNECTIONS_MAX) as people, psycopg.connect(api.service.dsn) as connection:
        connection.execute("LOCK TABLE wallet_entries_v2.wallets IN ACCESS EXCLUSIVE MODE")
        for _ in range(CONNECTIONS_MAX):
            people.submit(api.when, "GET", f"/api/v1/users/{user_id}/wallet")
        waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND mode = 'AccessShareLock'"
        api.service.until(lambda: connection.execute(waiting).fetchone() == (CONNECTIONS_MAX,))
        api.when("POST", "/api/v1/users", {"name": "Kim Minji"}, key="key-1").then(201, name="Kim Minji")
        repeated = api.when("POST", "/api/v1/users", {"name": "Kim Minji"}, key="key-1")
        repeated.then_refused("STORE_UNAVAILABLE", outcome="UNKNOWN")
    api.when("POST", "/api/v1/users", {"name": "Kim Minji"}, key="key-1").then(201, name="Kim Minji")


def test_a_full_bus_takes_no_more_commands(start: Start) -> None:
    api = start()
    user_id = api.given_user()
    wallet = f"/api/v1/users/{user_id}/wallet"
    until(lambda: api.when("GET", wallet), lambda then: then.status == 200)
    bus = api.service.services.bus
    nothing = ChargeWallet(UserId(UUID(int=0)), 5)

    async def fill() -> list[asyncio.Task[object]]:
        number = WAITING_MAX + BATCH_COMMANDS_MAX
        tasks: list[asyncio.Task[object]] = [asyncio.create_task(bus.execute(nothing)) for _ in range(number)]
        await asyncio.sleep(0)
        return tasks

    async def drain(tasks: list[asyncio.Task[object]]) -> None:
        await asyncio.gather(*tasks)

    with nothing_appended(api) as wait_for:
        first = api.service.start(bus.execute(nothing))
        wait_for(1)
        waiting = api.service.run(fill())
        charged = api.when("POST", f"{wallet}/charges", {"amount": 5})
        assert charged.then_refused("OVERLOADED").headers["retry-after"] == "1"
        api.when("GET", wallet).then(200)
    first.result()
    api.service.run(drain(waiting))
    api.when("POST", f"{wallet}/charges", {"amount": 5}).then(201)


def test_a_command_that_keeps_meeting_conflicts_gives_up(start: Start) -> None:
    api = start()
    user_id, key = api.given_user(), a_key()
    execute(api, REFUSE_WRITERS)
    charge = f"/api/v1/users/{user_id}/wallet/charges"
    refused = api.when("POST", charge, {"amount": 5}, key=key).then_refused("TRY_AGAIN")
    assert refused.headers["retry-after"] == "1"
    execute(api, "DROP TRIGGER refuse ON ticketing.ticketing_events")
    api.when("POST", charge, {"amount": 5}, key=key).then(201, balance=5)
    assert samples(api)["ticketing_append_conflicts_total",] == 5


def is_a_defect(api: Api, then: Then, logged: Sequence[Mapping[str, Any]]) -> None:
    """It tells nothing of the inside, and what is logged can be found by its request id."""
    request_id = then.headers["x-request-id"]
    then.then_refused("INTERNAL_ERROR", request_id=request_id)
    assert then.json["detail"] == "Something went wrong on our side."
    assert any(entry.get("request_id") == request_id for entry in logged if entry["log_level"] == "error")
    api.when("GET", "/healthz").then(200)


def test_a_read_that_meets_a_defect_tells_nothing_of_the_inside(start: Start) -> None:
    api = start()
    wallet = f"/api/v1/users/{api.given_user()}/wallet"
    until(lambda: api.when("GET", wallet), lambda then: then.status == 200)
    api.meets_defects = True
    with api.service.without_projector(), capture_logs() as logged:
        execute(api, "ALTER TABLE wallet_entries_v2.wallets RENAME TO elsewhere")
        is_a_defect(api, api.when("GET", wallet), logged)
        execute(api, "ALTER TABLE wallet_entries_v2.elsewhere RENAME TO wallets")
    api.when("GET", wallet).then(200)


def test_a_command_that_meets_a_defect_tells_nothing_of_the_inside(start: Start) -> None:
    api = start()
    charge, key = f"/api/v1/users/{api.given_user()}/wallet/charges", a_key()
    api.meets_defects = True
    execute(api, "ALTER TABLE ticketing.command_outcomes RENAME TO elsewhere")
    with capture_logs() as logged:
        is_a_defect(api, api.when("POST", charge, {"amount": 5}, key=key), logged)
    api.when("POST", charge, {"amount": 7}).then(201, balance=7)
    execute(api, "ALTER TABLE ticketing.elsewhere RENAME TO command_outcomes")
    api.when("POST", charge, {"amount": 5}, key=key).then(201, balance=12)


def test_q8_who_cannot_be_heard_is_not_answered_in_vain(start: Start) -> None:
    first = start()
    ann = first.given_sale().given_waiting()
    with psycopg.connect(first.service.dsn) as connection:
        connection.execute("LOCK TABLE ticketing.hearing IN ACCESS EXCLUSIVE MODE")
        deaf = start(projects=False, waits=False)
        path = f"{ann.sale.path}/token"
        deaf.when("GET", path, token=ann.token).then_refused("STORE_UNAVAILABLE", outcome="NONE")
        deaf.when("GET", "/readyz").then_refused("STORE_UNAVAILABLE", outcome="NONE")
        deaf.when("GET", "/api/v1/concerts", token=ann.token).then(200)
    until(lambda: deaf.when("GET", path, token=ann.token), lambda then: then.status == 200)


def test_q8_any_request_that_bears_a_token_is_heard(start: Start) -> None:
    api = start()
    ann = api.given_sale().given_waiting()
    token_id = UUID(ann.when_joining().json["token_id"])
    hearing = api.service.services.hearing
    hearing._heard.clear()
    ann.when_looking("wallet")
    assert token_id not in hearing._heard
    ann.when_looking("wallet", token=ann.token)
    assert token_id in hearing._heard


def test_a_service_of_which_a_part_has_failed_ends_for_its_supervisor_to_see(dsn: str) -> None:
    """Half of one would go on answering, and hear or append nothing."""
    with psycopg.connect(dsn) as connection:
        connection.execute("DROP TABLE ticketing.hearing")
    with pytest.raises(ExceptionGroup) as failed, Service(dsn):
        pass
    assert failed.group_contains(psycopg.errors.UndefinedTable)
