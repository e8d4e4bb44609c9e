"""Idempotency keys over HTTP (rules I1 and I2): a repeat gets the first answer and changes nothing."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.api.conftest import Start
from tests.api.grammar import PRICE, Api, Then, someone, until
from tests.api.store import a_key, events, nothing_appended, replies


def commands(api: Api) -> dict[str, Callable[..., Then]]:
    """One command of each kind, ready to be asked for."""
    sale, user_id, code = api.given_sale(), api.given_user(), f"NEW-{someone()[:8].upper()}"
    ann, ben, cat = sale.given_inside(), sale.given_holding(1, balance=PRICE), sale.given_holding(2)
    owner, dan = sale.given_owner(3), sale.given_waiting()
    concert = {"code": code, "title": "T", "category": "C", "venue": "V"}
    return {
        "register": lambda **more: api.when("POST", "/api/v1/users", {"name": "Kim Minji"}, **more),
        "erase": lambda **more: api.when("DELETE", f"/api/v1/users/{user_id}/profile", **more),
        "charge": lambda **more: ann.when_charging(5, **more),
        "join": lambda **more: sale.when("POST", "/token", {"user_id": user_id}, **more),
        "leave": dan.when_leaving,
        "reserve": lambda **more: ann.when_reserving(9, **more),
        "release": cat.when_releasing,
        "pay": ben.when_paying,
        "refund": owner.when_refunding,
        "announce": lambda **more: api.when_admin("POST", "/concerts", concert, **more),
        "schedule": lambda **more: sale.when_admin(
            "POST", "/performances", {"date": "2096-05-01", "start_time": "12:00"}, **more
        ),
        "policy": lambda **more: sale.when_admin("PATCH", "/policy", {"max_active": 5}, **more),
        "pause": lambda **more: sale.when_admin("POST", "/queue/pause", **more),
        "resume": lambda **more: sale.when_admin("POST", "/queue/resume", **more),
        "close": lambda **more: sale.when_admin("POST", "/sales/close", **more),
        "open": lambda **more: sale.when_admin("POST", "/sales/open", **more),
    }


def test_i1_every_command_s_repeat_gets_the_same_answer(api: Api) -> None:
    for name, ask in commands(api).items():
        key = a_key()
        first = ask(key=key)
        assert first.status < 400, name
        before = events(api)
        ask(key=key).same_as(first)
        ask(key=key).same_as(first)
        assert events(api) == before, name


def test_i1_without_a_key_a_repeat_is_another_command(api: Api) -> None:
    user_id = api.given_user()
    for balance in (5, 10):
        charge = api.when("POST", f"/api/v1/users/{user_id}/wallet/charges", {"amount": 5})
        charge.then(201, balance=balance)


@pytest.mark.parametrize("amount", [0, 10_000_001])
def test_i1_a_refusal_by_a_rule_is_kept_too(api: Api, amount: int) -> None:
    user_id, key = api.given_user(), a_key()
    charges = f"/api/v1/users/{user_id}/wallet/charges"
    refused = api.when("POST", charges, {"amount": amount}, key=key).then_refused("AMOUNT_OUT_OF_RANGE")
    api.when("POST", charges, {"amount": 5}).then(201)
    again = api.when("POST", charges, {"amount": amount}, key=key).same_as(refused)
    assert again.headers["content-type"] == "application/problem+json"


def test_i1_a_kept_refusal_is_the_same_although_it_would_succeed_now(api: Api) -> None:
    sale, key = api.given_sale(), a_key()
    ann, ben = sale.given_holding(7), sale.given_inside()
    refused = ben.when_reserving(7, key=key).then_refused("SEAT_ALREADY_HELD", seat_numbers=[7])
    ann.when_releasing().then_nothing()
    ben.when_reserving(7, key=key).same_as(refused)
    ben.when_reserving(7, key=a_key()).then(201)


def test_i1_an_ended_token_s_refusal_is_kept_with_its_headers(api: Api) -> None:
    ann, key = api.given_sale().given_owner(7), a_key()
    refused = ann.when_leaving(key=key).then_refused("TOKEN_ENDED")
    again = ann.when_leaving(key=key).same_as(refused)
    assert again.headers["www-authenticate"] == refused.headers["www-authenticate"] == "Bearer"


def test_i1_a_refusal_that_says_when_to_try_again_is_not_kept(api: Api) -> None:
    sale = api.given_sale()
    ann, key = sale.given_waiting(), a_key()
    ann.when_reserving(7, key=key).then_refused("TOKEN_NOT_ACTIVE", place=1)
    assert replies(api, key) == []
    sale.let_in()
    ann.when_reserving(7, key=key).then(201)


def test_i1_paying_again_after_the_token_has_ended_gives_the_payment(api: Api) -> None:
    ann, key = api.given_sale().given_holding(7, balance=PRICE), a_key()
    paid = ann.when_paying(key=key).then(201)
    ann.when_paying().then_refused("TOKEN_ENDED")
    ann.when_paying(key=key).same_as(paid)
    ann.when_looking("wallet").then(200, balance=0)


def test_i1_a_failed_payment_is_recorded_once(api: Api) -> None:
    ann, key = api.given_sale().given_holding(7), a_key()
    failed = ann.when_paying(key=key)
    ann.when_paying(key=key).same_as(failed)
    assert [payment["status"] for payment in ann.when_looking("payments").json["items"]] == ["FAILED"]


def test_i1_signed_tokens_and_names_are_put_in_anew_and_not_stored(api: Api) -> None:
    sale, key = api.given_sale(), a_key()
    user_id = someone()
    registering = {"user_id": user_id, "name": "Kim Minji"}
    registered = api.when("POST", "/api/v1/users", registering, key=key).then(201, name="Kim Minji")
    joined = sale.when("POST", "/token", {"user_id": user_id}, key=f"{key}-2").then(201)
    api.when("POST", "/api/v1/users", registering, key=key).same_as(registered)
    sale.when("POST", "/token", {"user_id": user_id}, key=f"{key}-2").same_as(joined)
    kept = str([*replies(api, key), *replies(api, f"{key}-2")])
    assert joined.json["token_id"] in kept
    assert user_id in kept
    assert "Minji" not in kept
    assert joined.json["token"] not in kept
    assert joined.json["token"].rpartition(".")[2] not in kept
    api.when("DELETE", f"/api/v1/users/{user_id}/profile").then_nothing()
    api.when("POST", "/api/v1/users", registering, key=key).then(201, name=None)


def test_i1_the_signed_token_of_a_repeat_lets_its_owner_in(api: Api) -> None:
    sale, key = api.given_sale(), a_key()
    user_id = api.given_user()
    for _ in range(2):
        joined = sale.when("POST", "/token", {"user_id": user_id}, key=key).then(201)
        asked = sale.when("GET", "/token", token=joined.json["token"], since=joined.position)
        asked.then(200, queue_number=1, issued_at=joined.json["issued_at"])


def test_i1_a_repeat_while_the_first_is_in_flight_gets_the_same_answer(api: Api) -> None:
    user_id, key = api.given_user(), a_key()
    charges = f"/api/v1/users/{user_id}/wallet/charges"

    def charge() -> Then:
        return api.when("POST", charges, {"amount": 5}, key=key)

    with ThreadPoolExecutor() as people:
        with nothing_appended(api) as wait_for:
            first = people.submit(charge)
            wait_for(1)
            repeats = [people.submit(charge) for _ in range(3)]
        answer = first.result().then(201, balance=5)
        for repeat in repeats:
            repeat.result().same_as(answer)
    api.when("GET", f"/api/v1/users/{user_id}/wallet", since=answer.position).then(200, balance=5)


def test_i1_two_processes_share_what_is_kept(start: Start) -> None:
    one, other = start(), start(projects=False)
    user_id, key = one.given_user(), a_key()
    charges = f"/api/v1/users/{user_id}/wallet/charges"
    first = one.when("POST", charges, {"amount": 5}, key=key).then(201)
    other.when("POST", charges, {"amount": 5}, key=key).same_as(first)
    other.when("POST", charges, {"amount": 6}, key=key).then_refused("IDEMPOTENCY_KEY_REUSED")


def test_i2_the_same_key_with_another_request_is_refused(api: Api) -> None:
    ann, ben = (api.given_user() for _ in range(2))
    key = a_key()
    api.when("POST", f"/api/v1/users/{ann}/wallet/charges", {"amount": 5}, key=key).then(201)
    for path, body in (
        (f"/api/v1/users/{ann}/wallet/charges", {"amount": 6}),
        ("/api/v1/users", {"user_id": ann}),
    ):
        refused = api.when("POST", path, body, key=key).then_refused("IDEMPOTENCY_KEY_REUSED")
        assert refused.position > 0
    api.when("DELETE", f"/api/v1/users/{ann}/profile", key=key).then_refused("IDEMPOTENCY_KEY_REUSED")
    api.when("POST", f"/api/v1/users/{ben}/wallet/charges", {"amount": 6}, key=key).then(201)


def test_i2_how_a_body_is_written_does_not_make_another_request(api: Api) -> None:
    sale, key = api.given_concert(), a_key()
    first = sale.when_admin("PATCH", "/policy", b'{"max_active": 5, "hold_ttl_s": 60}', key=key).then(200)
    sale.when_admin("PATCH", "/policy", b'{"hold_ttl_s":60,"max_active":5}', key=key).same_as(first)


def test_i2_paying_in_another_visit_is_another_request(api: Api) -> None:
    """Both say `POST /api/v1/payments {}`, but each means what its own token has reserved."""
    key = a_key()
    ann = api.given_sale().given_holding(7, balance=2 * PRICE)
    ann.when_paying(key=key).then(201)
    elsewhere = api.given_sale()
    joined = elsewhere.when("POST", "/token", {"user_id": ann.user_id}).then(201).json["token"]
    api.when("POST", "/api/v1/payments", {}, token=joined, key=key).then_refused("IDEMPOTENCY_KEY_REUSED")


def test_i1_the_keys_of_different_callers_are_different(api: Api) -> None:
    key, sale = a_key(), api.given_sale()
    ann, ben = sale.given_inside(), sale.given_inside()
    ann.when_reserving(1, key=key).then(201)
    ben.when_reserving(2, key=key).then(201, seat_numbers=[2])
    sale.when_admin("POST", "/queue/pause", key=key).then(200)
    callers = {caller for caller, _, _ in replies(api, key)}
    assert callers == {ann.user_id, ben.user_id, "admin"}


def test_i1_a_repeat_by_an_impostor_is_refused_before_it_is_looked_up(api: Api) -> None:
    key, ann = a_key(), api.given_sale().given_inside()
    ann.when_reserving(1, key=key).then(201)
    ann.when_reserving(1, key=key, token="forged").then_refused("TOKEN_INVALID")


def test_a_key_has_a_form(api: Api) -> None:
    user_id = api.given_user()
    charges = f"/api/v1/users/{user_id}/wallet/charges"
    for key in ("", "with space", "x" * 256, "tab\there", "kéy"):
        headers = {"idempotency-key": key.encode("latin-1")}
        refused = api.when("POST", charges, {"amount": 5}, headers=headers)
        assert refused.json["errors"][0]["field"] == "Idempotency-Key"
    charged = api.when("POST", charges, {"amount": 5}, key="x" * 255).then(201, balance=5)
    wallet = f"/api/v1/users/{user_id}/wallet"
    api.when("GET", wallet, since=charged.position, headers={"idempotency-key": "not for reads"}).then(200)


def test_i1_the_first_answer_is_the_one_that_is_kept(api: Api) -> None:
    """What a token's owner is told of the time to wait changes from one moment to the next."""
    sale = api.given_sale(max_active=1)
    for _ in range(2):
        sale.given_waiting()
    sale.let_in()
    last = sale.given_waiting()
    until(last.when_asking, lambda then: then.json["eta_seconds"] is not None)
    user_id, key = api.given_user(), a_key()
    first = sale.when("POST", "/token", {"user_id": user_id}, key=key).then(201)
    assert first.json["eta_seconds"] is not None
    last.when_leaving().then_nothing()
    sale.when("POST", "/token", {"user_id": user_id}, key=key).same_as(first)
