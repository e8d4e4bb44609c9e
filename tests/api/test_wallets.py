"""Wallets over HTTP: what they hold, charging them, and every movement."""

from typing import Any

from tests.api.conftest import Start
from tests.api.grammar import A_TIME, PRICE, Api, pages, someone, until


def test_charging_answers_with_the_balance(api: Api) -> None:
    user_id = api.given_user(balance=5)
    charged = api.when("POST", f"/api/v1/users/{user_id}/wallet/charges", {"amount": 10})
    charged.then(201, {"user_id": user_id, "amount": 10, "balance": 15})
    found = api.when("GET", f"/api/v1/users/{user_id}/wallet", since=charged.position)
    found.then(200, {"user_id": user_id, "balance": 15})


def test_w2_charges_have_limits(api: Api) -> None:
    charges = f"/api/v1/users/{api.given_user()}/wallet/charges"
    for amount in (0, -1, 10_000_001, 2**53 - 1):
        api.when("POST", charges, {"amount": amount}).then_refused("AMOUNT_OUT_OF_RANGE")
    for _ in range(10):
        api.when("POST", charges, {"amount": 10_000_000}).then(201)
    api.when("POST", charges, {"amount": 1}).then_refused("BALANCE_LIMIT_EXCEEDED")


def test_the_limits_are_settings(start: Start) -> None:
    api = start(min_charge=10, max_charge=20, max_balance=30)
    charges = f"/api/v1/users/{api.given_user()}/wallet/charges"
    for amount in (9, 21):
        api.when("POST", charges, {"amount": amount}).then_refused("AMOUNT_OUT_OF_RANGE")
    api.when("POST", charges, {"amount": 20}).then(201)
    api.when("POST", charges, {"amount": 11}).then_refused("BALANCE_LIMIT_EXCEEDED")
    api.when("POST", charges, {"amount": 10}).then(201)


def test_w3_a_policy_may_forbid_charging_while_holding(api: Api) -> None:
    ann = api.given_sale(charge_while_holding=False).given_holding(7)
    ann.when_charging(PRICE).then_refused("CHARGE_NOT_ALLOWED_WHILE_HOLDING")
    ann.when_releasing().then_nothing()
    ann.when_charging(PRICE).then(201)


def test_a_wallet_is_a_user_s(api: Api) -> None:
    nobody = f"/api/v1/users/{someone()}/wallet"
    api.when("GET", nobody).then_refused("USER_NOT_FOUND")
    api.when("GET", f"{nobody}/entries").then_refused("USER_NOT_FOUND")
    api.when("POST", f"{nobody}/charges", {"amount": 10}).then_refused("USER_NOT_FOUND")


def test_w1_every_movement_is_listed_with_the_balance_after_it(api: Api) -> None:
    ann = api.given_sale().given_holding(7, balance=PRICE + 5)
    ann.when_paying().then(201)
    ann.when_refunding().then(200)
    entry = {"payment_id": None, "recorded_at": A_TIME}
    with_payment = {**entry, "payment_id": ann.payment_id}
    everything = ann.when_looking("wallet/entries").then(200).json
    positions = [listed.pop("position") for listed in everything["items"]]
    assert positions == sorted(set(positions))
    assert everything == {
        "items": [
            {"type": "CHARGED", "amount": PRICE + 5, "balance": PRICE + 5, **entry},
            {"type": "DEBITED", "amount": PRICE, "balance": 5, **with_payment},
            {"type": "REFUNDED", "amount": PRICE, "balance": PRICE + 5, **with_payment},
        ],
        "next": None,
    }


def test_movements_are_listed_page_by_page(api: Api) -> None:
    user_id = api.given_user()
    for amount in (1, 2, 3, 4):
        charged = api.when("POST", f"/api/v1/users/{user_id}/wallet/charges", {"amount": amount})

    def ask(**query: Any) -> Any:
        return api.when("GET", f"/api/v1/users/{user_id}/wallet/entries", since=charged.position, **query)

    for limit in (1, 2, 3, 4, 200):
        assert [entry["amount"] for entry in pages(ask, limit)] == [1, 2, 3, 4]


def test_a_page_has_fifty_items_unless_said_otherwise(api: Api) -> None:
    user_id = api.given_user()
    wallet = f"/api/v1/users/{user_id}/wallet"
    charged = [api.when("POST", f"{wallet}/charges", {"amount": 1}).then(201) for _ in range(51)]
    first = api.when("GET", f"{wallet}/entries", since=charged[-1].position).then(200).json
    assert [entry["balance"] for entry in first["items"]] == list(range(1, 51))
    rest = api.when("GET", f"{wallet}/entries", after=first["next"]).then(200, next=None).json["items"]
    assert [entry["balance"] for entry in rest] == [51]
    for wrong in ("0", "201", "-1", "1.5", "x", ""):
        refused = api.when("GET", f"{wallet}/entries", limit=wrong)
        assert refused.json["errors"][0]["field"] == "limit"
    for wrong in ("-1", "x", "9" * 30, "1.5", ""):
        refused = api.when("GET", f"{wallet}/entries", after=wrong)
        assert refused.json["errors"][0]["field"] == "after"


def test_charging_may_need_a_live_token(start: Start) -> None:
    api = start(wallet_needs_token=True)
    sale = api.given_sale(active_ttl_s=1)
    ann, ben = sale.given_waiting(), sale.given_waiting()
    ann.when_charging(5).then_refused("TOKEN_MISSING")
    ann.when_charging(5, token="forged").then_refused("TOKEN_INVALID")
    ann.when_charging(5, token=ben.token).then_refused("TOKEN_INVALID")
    ann.when_charging(5, token=ann.token).then(201, balance=5)
    ben.when_leaving().then_nothing()
    ben.when_charging(5, token=ben.token).then_refused("TOKEN_ENDED")
    sale.let_in()
    ann.when_charging(5, token=ann.token).then(201, balance=10)
    until(ann.when_asking, lambda then: then.json["status"] == "EXPIRED")
    ann.when_charging(5, token=ann.token).then_refused("TOKEN_EXPIRED")
