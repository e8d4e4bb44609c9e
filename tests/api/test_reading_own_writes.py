"""Reading one's own writes: `Log-Position`, and reads that wait for a `Min-Log-Position`."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.api.conftest import Start
from tests.api.grammar import PRICE, Api, Then, someone

FAR_AHEAD = 10**17


def reads(api: Api) -> dict[str, Callable[..., Then]]:
    """Every read that can wait."""
    sale = api.given_sale()
    ann = sale.given_inside()
    ann.when_reserving(7).then(201)
    owner = sale.given_owner(8)
    return {
        "concerts": lambda **more: api.when("GET", "/api/v1/concerts", limit=1, **more),
        "concert": lambda **more: api.when("GET", sale.path, **more),
        "token": ann.when_asking,
        "dates": ann.when_listing_dates,
        "seats": ann.when_looking_at_seats,
        "reservation": ann.when_looking_at_reservation,
        "payment": owner.when_looking_at_payment,
        "wallet": lambda **more: ann.when_looking("wallet", **more),
        "entries": lambda **more: ann.when_looking("wallet/entries", **more),
        "payments": lambda **more: ann.when_looking("payments", **more),
        "reservations": lambda **more: ann.when_looking("reservations", **more),
        "stats": lambda **more: sale.when_admin("GET", "/stats", **more),
    }


def test_every_read_says_which_position_it_reflects_and_waits_for_another(api: Api) -> None:
    asks = reads(api)
    seen = api.given_concert().when_admin("POST", "/sales/open").position
    for ask in asks.values():
        assert ask(since=seen).then(200).position >= seen


def test_a_read_that_cannot_catch_up_within_2_s_says_so(api: Api) -> None:
    asks = reads(api)
    user_id = api.given_user()
    with api.service.without_projector():
        charged = api.when("POST", f"/api/v1/users/{user_id}/wallet/charges", {"amount": 5}).then(201)
        started = time.monotonic()
        with ThreadPoolExecutor(len(asks)) as people:
            answers = [people.submit(ask, since=charged.position) for ask in asks.values()]
        for answer in answers:
            refused = answer.result().then_refused("READ_MODEL_BEHIND")
            assert refused.headers["retry-after"] == "1"
        assert 2 <= time.monotonic() - started < 4


def test_a_position_that_the_log_does_not_have_is_refused_at_once(api: Api) -> None:
    """To wait would be in vain: the log was restored from a backup, and what the client saw is lost."""
    asks = reads(api)
    end = api.given_concert().when_admin("POST", "/sales/open").position
    for ask in asks.values():
        started = time.monotonic()
        ask(since=FAR_AHEAD).then_refused("POSITION_NOT_IN_LOG", position=end)
        assert time.monotonic() - started < 1.5, "it must not wait for the read model"


def test_a_read_waits_until_the_read_model_has_caught_up(api: Api) -> None:
    user_id = api.given_user(balance=5)
    wallet = f"/api/v1/users/{user_id}/wallet"
    with ThreadPoolExecutor(1) as people:
        with api.service.without_projector():
            charged = api.when("POST", f"{wallet}/charges", {"amount": 5}).then(201)
            waiting = people.submit(api.when, "GET", wallet, since=charged.position)
            stale = api.when("GET", wallet)
            assert stale.position < charged.position
        assert waiting.result().then(200, balance=10).position >= charged.position


def test_reads_never_run_backwards_also_from_another_process(start: Start) -> None:
    one, other = start(), start(projects=False)
    user_id = one.given_user()
    wallet = f"/api/v1/users/{user_id}/wallet"
    seen = balance = 0
    for _ in range(10):
        seen = one.when("POST", f"{wallet}/charges", {"amount": 1}).then(201).position
        for api in (other, one):
            read = api.when("GET", wallet, since=seen).then(200)
            assert (read.json["balance"], read.position) >= (balance, seen)
            seen, balance = read.position, read.json["balance"]


def test_a_seat_map_never_claims_a_position_that_it_does_not_show(api: Api) -> None:
    sale = api.given_sale()
    ann, ben = sale.given_inside(), sale.given_inside()
    ann.when_looking_at_seats().then(200)
    taken_at: list[int] = []

    def take() -> None:
        for _ in range(10):
            taken_at.append(ben.when_reserving(7).then(201).position)
            taken_at.append(ben.when_releasing().position)

    with ThreadPoolExecutor(1) as people:
        taking = people.submit(take)
        looks: list[tuple[str, int]] = []
        while not taking.done():
            looked = ann.when_looking_at_seats(since=None)
            looks.append((looked.json["seats"][6]["status"], looked.position))
        taking.result()
    for status, position in looks:
        passed = sum(change <= position for change in taken_at)
        assert status == ("HELD" if passed % 2 else "AVAILABLE"), (status, position, taken_at)


def test_an_ended_token_is_not_taken_for_active_by_who_has_seen_it_end(api: Api) -> None:
    """The dates are of one read model, the right to see them of another."""
    for _ in range(5):
        ann = api.given_sale().given_holding(7, balance=PRICE)
        ann.when_listing_dates().then(200)
        ann.when_paying().then(201)
        ann.when_listing_dates().then_refused("TOKEN_ENDED")


@pytest.mark.parametrize("wrong", ["-1", "1.0", "x", "", "1" * 19, "0x10", "\u0661"])
def test_a_position_has_a_form(api: Api, wrong: str) -> None:
    headers = {"min-log-position": wrong.encode()}
    refused = api.when("GET", "/api/v1/concerts", headers=headers)
    assert refused.json["errors"] == [{"field": "Min-Log-Position", "message": "this is not a log position"}]


def test_every_command_s_answer_has_a_position(api: Api) -> None:
    """Refusals, too, wherever in the order of checks they come about."""
    seen = api.given_concert().when_admin("POST", "/sales/open").position
    sale, user_id = api.given_sale(), api.given_user()
    charges = f"/api/v1/users/{user_id}/wallet/charges"
    for refused in (
        api.when("POST", charges, b"not JSON"),
        api.when("POST", charges, {"amount": "5"}),
        api.when("POST", charges, {"amount": 0}),
        api.when("POST", f"/api/v1/users/{someone()}/wallet/charges", {"amount": 5}),
        sale.when("POST", "/reservations", {"date": "2096-04-01", "seat_numbers": [1]}),
        api.when("POST", "/api/v1/admin/concerts", {}),
    ):
        assert refused.status >= 400
        assert refused.position >= 0
    assert api.when("POST", charges, {"amount": 0}).position >= seen


def test_a_refused_read_says_which_position_it_reflects(api: Api) -> None:
    seen = api.given_concert().when_admin("POST", "/sales/open").position
    refused = api.when("GET", f"/api/v1/users/{someone()}/wallet", since=seen)
    assert refused.then_refused("USER_NOT_FOUND").position >= seen
