"""Payments over HTTP: paying from the wallet, looking at payments, giving one back."""

from datetime import UTC, datetime, timedelta
from typing import Any

from tests.api.grammar import (
    A_TIME,
    A_UUID,
    PRICE,
    SHOW_DAY,
    SHOW_TIME,
    Api,
    Buyer,
    pages,
    someone,
    until,
)


def a_payment(buyer: Buyer, *seat_numbers: int, **changed: Any) -> dict[str, Any]:
    """A completed payment for these seats."""
    return {
        "payment_id": A_UUID,
        "reservation_id": buyer.reservation_id,
        "user_id": buyer.user_id,
        "concert_code": buyer.sale.code,
        "concert_title": "An Evening",
        "date": SHOW_DAY,
        "start_time": SHOW_TIME,
        "seat_numbers": list(seat_numbers),
        "amount": PRICE * len(seat_numbers),
        "status": "COMPLETED",
        "balance": 0,
        "paid_at": A_TIME,
        "refunded_at": None,
        **changed,
    }


def test_p1_paying_completes_everything_at_once(api: Api) -> None:
    ann = api.given_sale().given_holding(7, 8, balance=3 * PRICE)
    paid = ann.when_paying().then(201, a_payment(ann, 7, 8, balance=PRICE))
    ann.when_looking_at_payment().then(200, paid.json)
    ann.when_looking("wallet").then(200, balance=PRICE)
    ann.when_looking_at_reservation().then(200, status="CONFIRMED", payment_id=ann.payment_id)
    ann.when_asking().then(200, status="COMPLETED")


def test_paying_may_name_the_reservation_and_its_amount(api: Api) -> None:
    ann = api.given_sale().given_holding(7, balance=PRICE)
    named = {"reservation_id": ann.reservation_id, "amount": PRICE}
    ann.when_paying({**named, "amount": PRICE + 1}).then_refused("AMOUNT_MISMATCH", amount=PRICE)
    ann.when_paying({**named, "reservation_id": someone()}).then_refused("RESERVATION_NOT_FOUND")
    ann.when_paying(named).then(201)


def test_paying_needs_an_open_reservation(api: Api) -> None:
    sale = api.given_sale()
    ann = sale.given_inside()
    ann.when_paying().then_refused("RESERVATION_NOT_OPEN")
    ann.when_reserving(7).then(201)
    ann.when_releasing().then_nothing()
    ann.when_paying().then_refused("RESERVATION_NOT_OPEN")


def test_q7_only_an_active_token_of_the_owner_may_pay(api: Api) -> None:
    sale = api.given_sale()
    ann, ben = sale.given_holding(7, balance=PRICE), sale.given_inside(balance=PRICE)
    named = {"reservation_id": ann.reservation_id}
    ben.when_paying(named).then_refused("RESERVATION_NOT_FOUND")
    sale.given_waiting().when_paying().then_refused("TOKEN_NOT_ACTIVE", place=1)
    ann.when_paying(token=None).then_refused("TOKEN_MISSING")
    other = api.given_sale()
    elsewhere = other.when("POST", "/token", {"user_id": ann.user_id}).then(201).json["token"]
    ann.when_paying(named, token=elsewhere).then_refused("TOKEN_MISMATCH")


def test_p2_a_late_payment_takes_no_money(api: Api) -> None:
    sale = api.given_sale(hold_ttl_s=1)
    ann = sale.given_holding(7, balance=PRICE)
    until(ann.when_looking_at_reservation, lambda then: then.json["status"] == "EXPIRED")
    ann.when_paying().then_refused("HOLD_EXPIRED")
    ann.when_looking("wallet").then(200, balance=PRICE)


def test_p3_too_little_money_is_recorded_and_told(api: Api) -> None:
    ann = api.given_sale().given_holding(7, balance=PRICE - 1)
    refused = ann.when_paying()
    refused.then_refused(
        "INSUFFICIENT_BALANCE", balance=PRICE - 1, amount=PRICE, payment_id=refused.json["payment_id"]
    )
    failed = a_payment(ann, 7, status="FAILED", balance=PRICE - 1, paid_at=None)
    ann.when_looking_at_payment().then(200, failed)
    ann.when_refunding().then_refused("REFUND_NOT_ALLOWED")
    ann.when_charging(1).then(201)
    ann.when_paying().then(201)


def test_p3_after_five_failures_the_next_is_refused_without_a_record(api: Api) -> None:
    ann = api.given_sale().given_holding(7)
    refused = [ann.when_paying() for _ in range(5)]
    assert {failed.json["code"] for failed in refused} == {"INSUFFICIENT_BALANCE"}
    limited = ann.when_paying().then_refused("RATE_LIMITED")
    assert int(limited.headers["retry-after"]) > 0
    assert limited.position >= refused[-1].position
    assert len(ann.when_looking("payments").json["items"]) == 5
    ann.when_charging(PRICE).then(201)
    ann.when_paying().then(201)


def test_p3_the_policy_decides_about_hold_and_token(api: Api) -> None:
    releasing = api.given_sale(on_insufficient_balance="release_hold").given_holding(7)
    assert releasing.when_paying().json["code"] == "INSUFFICIENT_BALANCE"
    releasing.when_looking_at_reservation().then(200, status="CANCELLED")
    releasing.when_asking().then(200, status="ACTIVE")
    ending = api.given_sale(on_insufficient_balance="release_hold_and_end_token").given_holding(7)
    assert ending.when_paying().json["code"] == "INSUFFICIENT_BALANCE"
    ending.when_asking().then(200, status="CANCELLED")


def test_p4_a_refund_gives_everything_back_once(api: Api) -> None:
    sale = api.given_sale()
    ann = sale.given_owner(7)
    refunded = ann.when_refunding().then(
        200, a_payment(ann, 7, status="REFUNDED", balance=PRICE, refunded_at=A_TIME)
    )
    ann.when_looking_at_payment().then(200, refunded.json)
    ann.when_looking_at_reservation().then(
        200, status="CANCELLED", payment_id=ann.payment_id, cancelled_at=A_TIME
    )
    ann.when_looking("wallet").then(200, balance=PRICE)
    ann.when_refunding().then_refused("REFUND_NOT_ALLOWED")
    sale.given_inside().when_reserving(7).then(201)


def test_p4_refunds_end_before_the_performance_as_the_policy_says_then(api: Api) -> None:
    tomorrow = (datetime.now(UTC) + timedelta(days=1, hours=9)).date()
    sale = api.given_concert(refund_until_s=None)
    sale.given_performance(tomorrow, "23:59")
    sale.when_admin("POST", "/sales/open").then(200)
    ann = sale.given_inside(balance=PRICE)
    ann.when_reserving(7, day=tomorrow).then(201)
    ann.when_paying().then(201)
    sale.when_admin("PATCH", "/policy", {"refund_until_s": 7 * 86_400}).then(200)
    ann.when_refunding().then_refused("REFUND_NOT_ALLOWED")
    sale.when_admin("PATCH", "/policy", {"refund_until_s": None}).then(200)
    ann.when_refunding().then(200)


def test_a_payment_is_its_owner_s_alone(api: Api) -> None:
    sale = api.given_sale()
    ann, ben = sale.given_owner(7), sale.given_inside()
    ben.payment_id = ann.payment_id
    ben.when_looking_at_payment().then_refused("PAYMENT_NOT_FOUND")
    ben.when_refunding().then_refused("PAYMENT_NOT_FOUND")
    ben.payment_id = someone()
    ben.when_looking_at_payment().then_refused("PAYMENT_NOT_FOUND")
    ben.when_refunding().then_refused("PAYMENT_NOT_FOUND")


def test_payments_are_listed_page_by_page(api: Api) -> None:
    ann = api.given_sale().given_holding(7)
    for _ in range(2):
        ann.when_paying()
    ann.when_charging(PRICE).then(201)
    paid = ann.when_paying().then(201).json

    def ask(**query: Any) -> Any:
        return ann.when_looking("payments", **query)

    listed = list(pages(ask, 2))
    assert [payment["status"] for payment in listed] == ["FAILED", "FAILED", "COMPLETED"]
    assert listed[-1] == paid
    api.when("GET", f"/api/v1/users/{someone()}/payments").then(200, {"items": [], "next": None})
