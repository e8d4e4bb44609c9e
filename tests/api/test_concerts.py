"""Concerts, their dates and their seats over HTTP."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.api.grammar import PRICE, SHOW_DAY, SHOW_TIME, Api, Buyer, pages

YESTERDAY = (datetime.now(UTC) - timedelta(days=2)).date()


def a_date(**changed: Any) -> dict[str, Any]:
    """A date with one performance of 50 free seats."""
    return {
        "date": SHOW_DAY,
        "start_time": SHOW_TIME,
        "end_time": None,
        "seats_total": 50,
        "seats_available": 50,
        "seats_held": 0,
        "seats_sold": 0,
        "min_price": PRICE,
        "max_price": PRICE,
        **changed,
    }


def test_a_concert_is_shown_to_everyone(api: Api) -> None:
    sale = api.given_concert(sales_open_at="2096-03-01T10:00:00+09:00")
    shown = {
        "code": sale.code,
        "title": "An Evening",
        "description": "With songs.",
        "category": "CONCERT",
        "venue": "The Hall",
        "time_zone": "Asia/Seoul",
        "sales": "CLOSED",
        "sales_open_at": "2096-03-01T01:00:00Z",
        "sales_close_at": None,
        "first_date": None,
        "last_date": None,
    }
    sale.given_performance("2096-04-03")
    sale.given_performance("2096-04-01")
    sale.given_performance("2096-04-02")
    opened = sale.when_admin("POST", "/sales/open").then(200)
    api.when("GET", sale.path, since=opened.position).then(
        200, {**shown, "first_date": "2096-04-01", "last_date": "2096-04-03", "sales": "OPEN"}
    )


def test_a_concert_that_is_not_announced_is_not_found(api: Api) -> None:
    for code in ("NOWHERE", "x", "A" * 40, "IU%00", "%EC%95%84"):
        api.when("GET", f"/api/v1/concerts/{code}").then_refused("CONCERT_NOT_FOUND")


def test_concerts_are_listed_by_code_and_category(api: Api) -> None:
    category = "OPERA"
    sales = [api.given_concert(category=category) for _ in range(5)]
    seen = api.given_concert(category="BALLET").when_admin("POST", "/sales/open").position

    def ask(**query: Any) -> Any:
        return api.when("GET", "/api/v1/concerts", category=category, since=seen, **query)

    listed = [concert["code"] for concert in pages(ask, 2)]
    assert listed == sorted(sale.code for sale in sales)
    shown = api.when("GET", f"/api/v1/concerts/{listed[0]}", since=seen).json
    assert ask(limit=1).json == {"items": [shown], "next": listed[0]}
    assert ask(limit=5).then(200).json["next"] is None
    api.when("GET", "/api/v1/concerts", category="NONE").then(200, {"items": [], "next": None})


def test_l2_dates_that_have_begun_are_not_listed(api: Api) -> None:
    sale = api.given_sale()
    sale.given_performance(YESTERDAY)
    ann = sale.given_inside()
    for every in ("true", "false"):
        ann.when_listing_dates(all=every).then(
            200, {"concert_code": sale.code, "title": "An Evening", "dates": [a_date()]}
        )


def test_l2_seats_of_what_has_begun_are_neither_shown_nor_reserved(api: Api) -> None:
    sale = api.given_sale()
    sale.given_performance(YESTERDAY)
    ann = sale.given_inside()
    ann.when_looking_at_seats(YESTERDAY).then_refused("PERFORMANCE_STARTED")
    ann.when_reserving(1, day=YESTERDAY).then_refused("PERFORMANCE_STARTED")


def test_dates_count_what_is_available_held_and_sold(api: Api) -> None:
    sale = api.given_sale()
    sale.given_owner(1, 2)
    sale.given_holding(3)
    ann = sale.given_inside()
    ann.when_listing_dates().then(200, dates=[a_date(seats_available=47, seats_held=1, seats_sold=2)])


def test_dates_without_an_available_seat_are_listed_on_demand(api: Api) -> None:
    sale = api.given_sale(seats=2)
    sale.given_performance("2096-04-02", "14:00", seats=3, price=5)
    sale.given_holding(1, 2)
    ann = sale.given_inside()
    full = a_date(seats_total=2, seats_available=0, seats_held=2)
    free = a_date(
        date="2096-04-02", start_time="14:00", seats_total=3, seats_available=3, min_price=5, max_price=5
    )
    ann.when_listing_dates().then(200, dates=[free])
    ann.when_listing_dates(all="true").then(200, dates=[full, free])


def test_dates_are_listed_by_their_start(api: Api) -> None:
    sale = api.given_concert()
    for day, start_time in (("2096-04-02", "14:00"), ("2096-04-01", "19:00"), ("2096-04-01", "09:00")):
        sale.given_performance(day, start_time)
    sale.when_admin("POST", "/sales/open").then(200)
    dates = sale.given_inside().when_listing_dates().then(200).json["dates"]
    starts = [(date["date"], date["start_time"]) for date in dates]
    assert starts == [("2096-04-01", "09:00"), ("2096-04-01", "19:00"), ("2096-04-02", "14:00")]


def test_a_seat_map_shows_every_seat(api: Api) -> None:
    sale = api.given_sale(seats=3)
    sale.given_owner(1)
    held = sale.given_holding(2).when_looking_at_reservation().json
    ann = sale.given_inside()
    seat = {"type": "STANDARD", "price": PRICE}
    ann.when_looking_at_seats().then(
        200,
        {
            "concert_code": sale.code,
            "date": SHOW_DAY,
            "start_time": SHOW_TIME,
            "seats": [
                {"seat_number": 1, **seat, "status": "SOLD", "held_until": None},
                {"seat_number": 2, **seat, "status": "HELD", "held_until": held["hold_expires_at"]},
                {"seat_number": 3, **seat, "status": "AVAILABLE", "held_until": None},
            ],
        },
    )


def test_a_day_with_two_performances_needs_the_start_time(api: Api) -> None:
    sale = api.given_sale()
    sale.given_performance(SHOW_DAY, "14:00", seats=2)
    ann = sale.given_inside()
    both = ["14:00", SHOW_TIME]
    ann.when_looking_at_seats().then_refused("PERFORMANCE_AMBIGUOUS", start_times=both)
    ann.when_reserving(1).then_refused("PERFORMANCE_AMBIGUOUS", start_times=both)
    ann.when_looking_at_seats(start_time="14:00").then(200, start_time="14:00")
    ann.when_reserving(1, start_time="14:00").then(201, start_time="14:00")


def test_a_performance_that_is_not_scheduled_is_not_found(api: Api) -> None:
    ann = api.given_sale().given_inside()
    ann.when_looking_at_seats("2096-04-02").then_refused("PERFORMANCE_NOT_FOUND")
    ann.when_looking_at_seats(start_time="14:00").then_refused("PERFORMANCE_NOT_FOUND")
    ann.when_reserving(1, day="2096-04-02").then_refused("PERFORMANCE_NOT_FOUND")


def test_who_has_the_seat_map_already_is_told_so(api: Api) -> None:
    sale = api.given_sale()
    ann, ben = sale.given_inside(), sale.given_inside()
    looked = ann.when_looking_at_seats().then(200)
    etag = looked.headers["etag"]
    assert etag.startswith('"')
    assert looked.headers["cache-control"] == "private, no-cache"
    for sent in (etag, f"W/{etag}", f'"other", {etag}', "*"):
        again = ann.when_looking_at_seats(headers={"if-none-match": sent}).then_nothing(304)
        assert (again.headers["etag"], again.position) == (etag, looked.position)
    ann.when_looking_at_seats(headers={"if-none-match": '"other"'}).then(200)
    ben.when_reserving(7).then(201)
    ann.seen = ben.seen
    changed = ann.when_looking_at_seats(headers={"if-none-match": etag}).then(200)
    assert changed.headers["etag"] != etag
    assert changed.position >= ben.seen


@pytest.mark.parametrize("ask", [Buyer.when_listing_dates, Buyer.when_looking_at_seats])
def test_q7_only_an_active_token_may_look(api: Api, ask: Any) -> None:
    sale = api.given_sale()
    ann, ben = sale.given_inside(), sale.given_waiting()
    ask(ann).then(200)
    refused = ask(ben).then_refused("TOKEN_NOT_ACTIVE", place=1)
    assert refused.headers["retry-after"] == "1"
    ask(ann, token=None).then_refused("TOKEN_MISSING")
    ask(ann, token="forged").then_refused("TOKEN_INVALID")
