"""An event that newer software wrote, or that is none: who needs its stream is refused, all others served."""

from typing import Any
from uuid import uuid4

import psycopg
import pytest

from aggregates.stream import stream_id
from tests.api.conftest import Start
from tests.api.grammar import Api, until
from tests.api.metrics import samples

INSERT = """
    INSERT INTO ticketing.ticketing_events (originator_id, originator_version, topic, state)
    SELECT originator_id, originator_version + 1, %(topic)s, coalesce(%(state)s::bytea, state)
    FROM ticketing.ticketing_events
    WHERE originator_id = %(id)s
    ORDER BY originator_version DESC
    LIMIT 1
"""


@pytest.fixture
def own(start: Start) -> Api:
    """A service on a database of the test's own."""
    return start()


def append(api: Api, stream: str, topic: str, state: bytes | None = None) -> None:
    """Add an event behind the service's back; without a state it has that of the one before."""
    with psycopg.connect(api.service.dsn) as connection:
        connection.execute(INSERT, {"id": stream_id(stream), "topic": topic, "state": state})


def charge(api: Api, user_id: str) -> Any:
    return api.when("POST", f"/api/v1/users/{user_id}/wallet/charges", {"amount": 5})


@pytest.mark.parametrize("state", [None, b"nothing", b"\xff\x00"])
def test_commands_on_its_stream_are_refused_and_all_others_carried_out(own: Api, state: bytes | None) -> None:
    ann, ben = own.given_user(balance=10), own.given_user(balance=10)
    append(own, f"wallet/{ann}", "wallet.frozen", state)

    refused = charge(own, ann).then_refused("STORE_UNAVAILABLE", outcome="NONE")

    assert int(refused.headers["retry-after"]) >= 60
    charge(own, ben).then(201, user_id=ben, amount=5, balance=15)
    own.given_sale().given_owner(7)
    listed = own.when_admin("GET", f"/streams/wallet/{ann}").then(200).json["items"]
    assert [item["topic"] for item in listed] == ["wallet.opened", "wallet.charged", "wallet.frozen"]


def test_readiness_and_metrics_tell_what_is_parked(own: Api) -> None:
    ann = own.given_user(balance=10)
    own.when("GET", "/readyz").then(200, parked={})
    append(own, f"wallet/{ann}", "wallet.charged", b"nothing")

    until(lambda: own.when("GET", "/readyz").then(200), lambda then: then.json["parked"] != {}).then(
        200, parked={"wallet_entries": 1}
    )

    told = samples(own)
    assert told["ticketing_parked_events", "wallet_entries"] == 1
    assert told["ticketing_parked_seconds", "wallet_entries"] >= 0
    with psycopg.connect(own.service.dsn) as connection:
        connection.execute("DELETE FROM ticketing.dead_letters")
    assert ("ticketing_parked_events", "wallet_entries") not in samples(own)


def test_the_gate_passes_nobody_whose_token_cannot_be_read_and_lets_others_in_elsewhere(own: Api) -> None:
    sale = own.given_sale()
    user_id = str(uuid4())
    append(own, f"queue/{sale.code}", "queue.numbers_issued", b"nothing")

    own.given_sale().given_inside()

    assert own.when_admin("GET", f"/streams/queue/{sale.code}").json["items"][-1]["recorded_at"] is None
    own.when("POST", "/api/v1/users", {"user_id": user_id}).then(201)
    sale.when("POST", "/token", {"user_id": user_id}).then_refused("STORE_UNAVAILABLE", outcome="NONE")
