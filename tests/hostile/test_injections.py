"""Statements in the place of values: they are values, in every text that is taken, stored, and asked for."""

from typing import Any, Final
from urllib.parse import quote

import psycopg
import pytest

from tests.api.grammar import SHOW_DAY, Api, someone

INJECTIONS: Final = (
    "'; DROP SCHEMA ticketing CASCADE; --",
    "' OR '1'='1",
    '" OR "1"="1',
    "1); SELECT pg_terminate_backend(pg_backend_pid()); --",
    "%s %(code)s {code} $1 :code",
    "%' OR 1=1 --",
    "\\'; SELECT pg_sleep(10); --",
    "$$ OR true $$",
    "Robert\u2019); DROP TABLE ticketing_events;--",
    "<script>alert(1)</script>",
    "{{7*7}} ${7*7} #{7*7}",
)


def tables(api: Api) -> list[Any]:
    """All there are."""
    with psycopg.connect(api.service.dsn) as connection:
        found = connection.execute(
            "SELECT schemaname, tablename FROM pg_tables WHERE schemaname <> 'pg_catalog' ORDER BY 1, 2"
        )
        return found.fetchall()


@pytest.mark.parametrize("text", INJECTIONS)
def test_a_statement_in_a_value_is_a_value(api: Api, text: str) -> None:
    before = tables(api)
    user_id = api.when("POST", "/api/v1/users", {"name": text}).then(201, name=text).json["user_id"]
    sale = api.given_concert(category=text)
    texts = dict.fromkeys(("title", "description", "category", "venue"), text)
    announced = {"code": f"{sale.code}-2", **texts}
    position = api.when_admin("POST", "/concerts", announced).then(201, title=text).position
    listed = api.when("GET", "/api/v1/concerts", since=position, category=text).then(200).json["items"]
    assert {concert["category"] for concert in listed} == {text}
    assert {concert["code"] for concert in listed} == {sale.code, f"{sale.code}-2"}
    elsewhere = {**announced, "code": f"{sale.code}-3", "time_zone": text}
    api.when_admin("POST", "/concerts", elsewhere).then_refused(
        "VALIDATION_FAILED", errors=[{"field": "time_zone", "message": "this is not an IANA time zone"}]
    )
    assert api.when("POST", "/api/v1/users", {"user_id": user_id, "name": "x"}).then(200).json["name"] == text
    assert tables(api) == before


@pytest.mark.parametrize("text", INJECTIONS)
def test_a_statement_in_a_path_or_a_query_finds_nothing(api: Api, text: str) -> None:
    before = tables(api)
    buyer = api.given_sale().given_inside()
    there = quote(text, safe="")
    for path in (
        f"/api/v1/concerts/{there}", f"/api/v1/concerts/{there}/token", f"/api/v1/users/{there}/wallet",
        f"/api/v1/reservations/{there}", f"/api/v1/payments/{there}", f"/api/v1/users/{there}/payments",
        f"/api/v1/concerts?after={there}", f"/api/v1/users/{someone()}/payments?after={there}",
        f"/api/v1/users/{someone()}/wallet/entries?limit={there}",
        f"{buyer.sale.path}/seats?date={there}",
        f"{buyer.sale.path}/seats?date={SHOW_DAY}&start_time={there}",
    ):  # fmt: skip
        assert buyer.when("GET", path).json["code"] in (
            "VALIDATION_FAILED", "CONCERT_NOT_FOUND", "TOKEN_MISMATCH", "NOT_FOUND"
        )  # fmt: skip
    for path in (
        f"/streams/wallet/{there}", f"/streams/{there}", f"/streams/queue/{there}?after={there}",
        f"/audits/{there}", f"/audit/payments?user_id={there}", f"/concerts/{there}/stats",
    ):  # fmt: skip
        refused = api.when_admin("GET", path)
        assert refused.json["code"] in (
            "VALIDATION_FAILED", "STREAM_NOT_FOUND", "CONCERT_NOT_FOUND", "NOT_FOUND"
        )  # fmt: skip
    assert tables(api) == before


@pytest.mark.parametrize("text", INJECTIONS)
def test_a_statement_as_a_key_is_a_key(api: Api, text: str) -> None:
    key = text.replace(" ", "+").encode("ascii", "replace").decode()
    user_id = someone()
    first = api.when("POST", "/api/v1/users", {"user_id": user_id}, key=key).then(201)
    api.when("POST", "/api/v1/users", {"user_id": user_id}, key=key).same_as(first)
