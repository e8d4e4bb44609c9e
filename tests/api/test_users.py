"""Users over HTTP: registering, and erasing what is known of a person."""

import psycopg

from tests.api.grammar import A_UUID, PRICE, Api, someone

USERS = "/api/v1/users"


def test_registering_opens_a_wallet(api: Api) -> None:
    api.when("POST", USERS, {}).then(201, {"user_id": A_UUID, "name": None, "balance": 0})
    user_id = someone()
    registered = api.when("POST", USERS, {"user_id": user_id, "name": "Kim Minji"})
    registered.then(201, {"user_id": user_id, "name": "Kim Minji", "balance": 0})


def test_the_same_user_again_stays_unchanged(api: Api) -> None:
    user_id = someone()
    api.when("POST", USERS, {"user_id": user_id, "name": "Ann"}).then(201)
    api.when("POST", f"{USERS}/{user_id}/wallet/charges", {"amount": 5}).then(201)
    again = api.when("POST", USERS, {"user_id": user_id, "name": "Ben"})
    again.then(200, {"user_id": user_id, "name": "Ann", "balance": 5})


def test_user_ids_are_written_in_lower_case(api: Api) -> None:
    user_id = someone()
    api.when("POST", USERS, {"user_id": user_id.upper()}).then(201, user_id=user_id)
    api.when("POST", f"{USERS}/{user_id.upper()}/wallet/charges", {"amount": 5}).then(201, user_id=user_id)


def test_an_erased_name_is_gone_and_all_else_stays(api: Api) -> None:
    sale = api.given_sale()
    ann = sale.given_owner(7)
    api.when("POST", USERS, {"user_id": ann.user_id}).then(200, name=None)
    user_id = api.given_user(name="Kim Minji", balance=PRICE)
    before = api.when_admin("GET", "/audit/payments", user_id=user_id).then(200).json
    erased = api.when("DELETE", f"{USERS}/{user_id}/profile").then_nothing()
    api.when("POST", USERS, {"user_id": user_id, "name": "Ben"}).then(200, name=None, balance=PRICE)
    api.when("GET", f"{USERS}/{user_id}/wallet", since=erased.position).then(200, balance=PRICE)
    assert api.when_admin("GET", "/audit/payments", user_id=user_id).json == before
    with psycopg.connect(api.service.dsn) as connection:
        everything = connection.execute(
            "SELECT string_agg(encode(state, 'escape'), '') FROM ticketing.ticketing_events"
        ).fetchone()
    assert "Minji" not in str(everything)
    api.when("DELETE", f"{USERS}/{user_id}/profile").then_nothing()


def test_the_profile_of_nobody_is_not_erased(api: Api) -> None:
    api.when("DELETE", f"{USERS}/{someone()}/profile").then_refused("USER_NOT_FOUND")
