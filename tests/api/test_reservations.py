"""Reservations over HTTP: taking seats, looking at what one has, giving it up."""

from typing import Any

from tests.api.grammar import (
    A_TIME,
    A_UUID,
    PRICE,
    SHOW_DAY,
    SHOW_TIME,
    Api,
    Sale,
    moment,
    pages,
    someone,
    until,
)


def a_reservation(sale: Sale, user_id: str, *seat_numbers: int, **changed: Any) -> dict[str, Any]:
    """An open reservation of these seats."""
    return {
        "reservation_id": A_UUID,
        "user_id": user_id,
        "concert_code": sale.code,
        "date": SHOW_DAY,
        "start_time": SHOW_TIME,
        "seat_numbers": list(seat_numbers),
        "amount": PRICE * len(seat_numbers),
        "status": "OPEN",
        "hold_expires_at": A_TIME,
        "payment_id": None,
        "created_at": A_TIME,
        "cancelled_at": None,
        **changed,
    }


def test_reserving_answers_with_the_reservation(api: Api) -> None:
    sale = api.given_sale(hold_ttl_s=60)
    ann = sale.given_inside()
    reserved = ann.when_reserving(8, 7).then(201, a_reservation(sale, ann.user_id, 8, 7))
    held = moment(reserved.json["hold_expires_at"]) - moment(reserved.json["created_at"])
    assert held.total_seconds() == 60
    ann.when_looking_at_reservation().then(200, reserved.json)


def test_s1_a_seat_that_is_taken_is_refused(api: Api) -> None:
    sale = api.given_sale()
    sale.given_owner(1, 2)
    sale.given_holding(3, 4)
    ann = sale.given_inside()
    ann.when_reserving(2, 5).then_refused("SEAT_ALREADY_SOLD", seat_numbers=[2])
    ann.when_reserving(4, 5, 3).then_refused("SEAT_ALREADY_HELD", seat_numbers=[4, 3])
    ann.when_reserving(3, 2, 1).then_refused("SEAT_ALREADY_SOLD", seat_numbers=[2, 1])
    ann.when_reserving(5, 6).then(201)


def test_seats_that_the_performance_does_not_have_are_not_found(api: Api) -> None:
    ann = api.given_sale().given_inside()
    ann.when_reserving(-1).then_refused("SEAT_NOT_FOUND", seat_numbers=[-1])
    ann.when_reserving(51).then_refused("SEAT_NOT_FOUND", seat_numbers=[51])
    ann.when_reserving(50, 0, 2**53 - 1).then_refused("SEAT_NOT_FOUND", seat_numbers=[0, 2**53 - 1])


def test_s3_a_reservation_takes_all_seats_or_none(api: Api) -> None:
    sale = api.given_sale()
    ann, ben = sale.given_holding(1), sale.given_inside()
    ben.when_reserving(1, 2).then_refused("SEAT_ALREADY_HELD", seat_numbers=[1])
    ben.seen = ann.seen
    seats = ben.when_looking_at_seats().json["seats"]
    assert [seat["seat_number"] for seat in seats if seat["status"] != "AVAILABLE"] == [1]


def test_s4_nobody_has_more_seats_than_the_policy_allows(api: Api) -> None:
    sale = api.given_sale(max_seats_per_user=2)
    sale.given_inside().when_reserving(1, 2, 3).then_refused("SEAT_LIMIT_EXCEEDED")
    ann = sale.given_owner(1, 2)
    ann.when_joining().then(201)
    sale.let_in()
    ann.when_reserving(3).then_refused("SEAT_LIMIT_EXCEEDED")


def test_s5_a_token_has_at_most_one_open_reservation(api: Api) -> None:
    ann = api.given_sale().given_holding(7)
    ann.when_reserving(8).then_refused("RESERVATION_ALREADY_OPEN", reservation_id=ann.reservation_id)
    ann.when_releasing().then_nothing()
    ann.when_reserving(8).then(201)


def test_l1_while_sales_are_closed_nobody_reserves(api: Api) -> None:
    sale = api.given_sale()
    ann, ben = sale.given_inside(), sale.given_holding(7, balance=PRICE)
    sale.when_admin("POST", "/sales/close").then(200)
    ann.when_reserving(8).then_refused("SALES_NOT_OPEN")
    ben.when_paying().then(201)


def test_q7_only_an_active_token_may_reserve(api: Api) -> None:
    sale = api.given_sale()
    ann = sale.given_waiting()
    refused = ann.when_reserving(7).then_refused("TOKEN_NOT_ACTIVE", place=1)
    assert refused.headers["retry-after"] == "1"
    sale.when("POST", "/reservations", {"date": SHOW_DAY, "seat_numbers": [7]}).then_refused("TOKEN_MISSING")


def test_releasing_gives_the_seats_back(api: Api) -> None:
    sale = api.given_sale()
    ann, ben = sale.given_holding(7), sale.given_inside()
    ann.when_releasing().then_nothing()
    cancelled = a_reservation(sale, ann.user_id, 7, status="CANCELLED", cancelled_at=A_TIME)
    ann.when_looking_at_reservation().then(200, cancelled)
    ann.when_releasing().then_refused("RESERVATION_NOT_OPEN")
    ben.when_reserving(7).then(201)


def test_a_reservation_is_its_owner_s_alone(api: Api) -> None:
    sale = api.given_sale()
    ann, ben = sale.given_holding(7), sale.given_inside()
    ben.reservation_id = ann.reservation_id
    for ask in (ben.when_looking_at_reservation, ben.when_releasing):
        ask().then_refused("RESERVATION_NOT_FOUND")
        ask(token=None).then_refused("TOKEN_MISSING")
    ben.reservation_id = someone()
    ben.when_looking_at_reservation().then_refused("RESERVATION_NOT_FOUND")
    ben.when_releasing().then_refused("RESERVATION_NOT_FOUND")


def test_a_token_of_another_concert_may_look_but_not_release(api: Api) -> None:
    ann = api.given_sale().given_holding(7)
    other = api.given_sale()
    elsewhere = other.when("POST", "/token", {"user_id": ann.user_id}).then(201).json["token"]
    ann.when_looking_at_reservation(token=elsewhere).then(200)
    ann.when_releasing(token=elsewhere).then_refused("TOKEN_MISMATCH")


def test_s2_a_reservation_is_over_at_its_deadline_before_anyone_records_it(api: Api) -> None:
    sale = api.given_sale(hold_ttl_s=1)
    ann, ben = sale.given_inside(balance=PRICE), sale.given_inside()
    ann.when_reserving(7).then(201)
    over = until(ann.when_looking_at_reservation, lambda then: then.json["status"] != "OPEN")
    over.then(200, a_reservation(sale, ann.user_id, 7, status="EXPIRED"))
    ann.when_releasing().then_refused("RESERVATION_NOT_OPEN")
    ann.when_paying().then_refused("HOLD_EXPIRED")
    ben.when_reserving(7).then(201)
    ann.seen = ben.seen
    ann.when_looking_at_reservation().then(200, status="EXPIRED")


def test_reservations_are_listed_page_by_page(api: Api) -> None:
    sale = api.given_sale()
    ann = sale.given_inside()
    made = []
    for number in (1, 2, 3):
        made.append(ann.when_reserving(number).then(201).json["reservation_id"])
        ann.when_releasing().then_nothing()

    def ask(**query: Any) -> Any:
        return ann.when_looking("reservations", **query)

    assert [listed["reservation_id"] for listed in pages(ask, 2)] == made
    first = ask(limit=1).then(200).json["items"]
    assert first == [a_reservation(sale, ann.user_id, 1, status="CANCELLED", cancelled_at=A_TIME)]
    api.when("GET", f"/api/v1/users/{someone()}/reservations").then(200, {"items": [], "next": None})
