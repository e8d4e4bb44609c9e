"""Of several errors the same one is told everywhere: the first in the order that the rules give."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tests.api.grammar import PRICE, SHOW_DAY, Api, Buyer, Sale, someone, until

LATER = "2097-01-01"
"""A day without a performance."""


def wanting(*seat_numbers: Any, day: str = SHOW_DAY) -> dict[str, Any]:
    """The body of a reservation."""
    return {"date": day, "seat_numbers": seat_numbers}


def a_contested_sale(api: Api) -> tuple[Sale, Buyer]:
    """Seat 1 is sold, seat 2 is held by another, and two seats are the limit."""
    sale = api.given_sale(max_seats_per_user=2)
    sale.given_owner(1)
    sale.given_holding(2)
    return sale, sale.given_inside()


def test_reserving_is_checked_in_the_order_of_the_rules(api: Api) -> None:
    sale, ann = a_contested_sale(api)
    path, elsewhere = f"{sale.path}/reservations", f"{api.given_sale().path}/reservations"
    waiting = api.given_sale().given_waiting()
    shape = api.when("POST", path, wanting(51, 51, day=LATER))
    assert shape.json["code"] == "VALIDATION_FAILED"
    api.when("POST", path, wanting(51, day=LATER)).then_refused("TOKEN_MISSING")
    ann.when("POST", elsewhere, wanting(51, day=LATER)).then_refused("TOKEN_MISMATCH")

    waiting.sale.when_admin("POST", "/sales/close").then(200)
    unsold = waiting.when_reserving(51, day=LATER)
    unsold.then_refused("TOKEN_NOT_ACTIVE", place=1)
    sale.when_admin("POST", "/sales/close").then(200)
    ann.when("POST", path, wanting(51, day=LATER)).then_refused("SALES_NOT_OPEN")
    sale.when_admin("POST", "/sales/open").then(200)
    ann.when("POST", path, wanting(51, day=LATER)).then_refused("PERFORMANCE_NOT_FOUND")

    ann.when_reserving(5).then(201)
    ann.when("POST", path, wanting(51, 1, 2)).then_refused("SEAT_NOT_FOUND", seat_numbers=[51])
    ann.when("POST", path, wanting(1, 2, 3)).then_refused(
        "RESERVATION_ALREADY_OPEN", reservation_id=ann.reservation_id
    )
    ann.when_releasing().then_nothing()
    ann.when("POST", path, wanting(1, 2, 3)).then_refused("SEAT_LIMIT_EXCEEDED")
    ann.when("POST", path, wanting(2, 1)).then_refused("SEAT_ALREADY_SOLD", seat_numbers=[1])
    ann.when("POST", path, wanting(2, 3)).then_refused("SEAT_ALREADY_HELD", seat_numbers=[2])
    ann.when("POST", path, wanting(3, 4)).then(201)


def test_paying_is_checked_in_the_order_of_the_rules(api: Api) -> None:
    sale = api.given_sale(hold_ttl_s=1)
    ann, other = sale.given_holding(1), sale.given_holding(2)
    wrong = {"reservation_id": other.reservation_id, "amount": 1}
    assert ann.when_paying({"amount": "1"}, token=None).json["code"] == "VALIDATION_FAILED"
    ann.when_paying(wrong, token=None).then_refused("TOKEN_MISSING")
    ann.when_paying(wrong).then_refused("RESERVATION_NOT_FOUND")
    sale.given_waiting().when_paying(wrong).then_refused("RESERVATION_NOT_FOUND")
    sale.given_waiting().when_paying({"amount": 1}).then_refused("TOKEN_NOT_ACTIVE", place=2)
    sale.given_inside().when_paying({"amount": 1}).then_refused("RESERVATION_NOT_OPEN")
    until(ann.when_looking_at_reservation, lambda then: then.json["status"] == "EXPIRED")
    ann.when_paying({"amount": 1}).then_refused("AMOUNT_MISMATCH", amount=PRICE)
    ann.when_paying({"amount": PRICE}).then_refused("HOLD_EXPIRED")


def test_joining_and_charging_ask_for_the_user_first(api: Api) -> None:
    nobody = someone()
    api.when("POST", "/api/v1/concerts/NOWHERE/token", {"user_id": nobody}).then_refused("USER_NOT_FOUND")
    api.when("POST", f"/api/v1/users/{nobody}/wallet/charges", {"amount": 0}).then_refused("USER_NOT_FOUND")
    refused = api.when("GET", f"/api/v1/users/{nobody}/wallet/entries", after="x")
    assert refused.json["code"] == "VALIDATION_FAILED"


def test_s1_of_many_who_want_a_seat_at_once_one_gets_it(api: Api) -> None:
    sale = api.given_sale()
    crowd = [sale.given_waiting() for _ in range(12)]
    sale.let_in()
    with ThreadPoolExecutor(len(crowd)) as people:
        answers = list(people.map(lambda buyer: buyer.when_reserving(7), crowd))
    assert sorted(answer.status for answer in answers) == [201] + [409] * 11
    assert {answer.json.get("code") for answer in answers} == {None, "SEAT_ALREADY_HELD"}


def test_s5_of_many_reservations_of_one_token_at_once_one_is_made(api: Api) -> None:
    ann = api.given_sale(max_seats_per_user=1).given_inside()
    with ThreadPoolExecutor(8) as people:
        answers = list(people.map(ann.when_reserving, range(1, 9)))
    assert sorted(answer.status for answer in answers) == [201] + [409] * 7
    (made,) = (answer.json["reservation_id"] for answer in answers if answer.status == 201)
    refused = {answer.json.get("reservation_id") for answer in answers if answer.status == 409}
    assert refused == {made}


def test_p1_of_many_payments_of_one_reservation_at_once_one_is_made(api: Api) -> None:
    ann = api.given_sale().given_holding(7, balance=5 * PRICE)
    with ThreadPoolExecutor(6) as people:
        answers = list(people.map(lambda _: ann.when_paying(), range(6)))
    assert sorted(answer.status for answer in answers) == [201] + [401] * 5
    ann.when_looking("wallet").then(200, balance=4 * PRICE)


def test_q1_of_many_who_join_at_once_each_gets_a_number_of_their_own(api: Api) -> None:
    sale = api.given_sale()
    users = [api.given_user() for _ in range(12)]
    with ThreadPoolExecutor(len(users)) as people:
        answers = people.map(lambda user_id: sale.when("POST", "/token", {"user_id": user_id}), users)
    assert sorted(answer.then(201).json["queue_number"] for answer in answers) == list(range(1, 13))
