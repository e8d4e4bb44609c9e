"""The OpenAPI document: valid, complete, with examples that are what it says; what it promises is done."""

import re
from base64 import b64encode
from collections.abc import Iterator
from hashlib import sha256
from html import escape
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from api import examples, openapi
from api.app import OPERATIONS
from api.endpoint import Access
from api.problems import STATUS
from tests.api.contract import DOCUMENT, operation_of, validator_at
from tests.api.grammar import PRICE, Api, until

DESCRIBED = [
    (method, path, described)
    for path, methods in DOCUMENT["paths"].items()
    for method, described in methods.items()
]
every_operation = pytest.mark.parametrize(
    ("method", "path", "described"), DESCRIBED, ids=[f"{method} {path}" for method, path, _ in DESCRIBED]
)


def contents(described: dict[str, Any]) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    """Every body of an operation, asked and answered, with its place."""
    for media_type, content in described.get("requestBody", {}).get("content", {}).items():
        yield ("requestBody", "content", media_type), content
    for status, answer in described["responses"].items():
        for media_type, content in answer.get("content", {}).items():
            yield ("responses", status, "content", media_type), content


def test_it_is_served_and_shown(api: Api) -> None:
    served = api.when("GET", "/openapi.json")
    assert served.headers["content-type"] == "application/json"
    assert {**served.json, "info": None} == {**DOCUMENT, "info": None}
    shown = api.when("GET", "/docs")
    assert shown.headers["content-type"] == "text/html; charset=utf-8"
    assert b"/openapi.json" in shown.answer.content
    for _, path, described in DESCRIBED:
        assert path.encode() in shown.answer.content
        assert escape(described["summary"]).encode() in shown.answer.content


def test_the_page_that_shows_it_loads_nothing_and_runs_nothing(api: Api) -> None:
    shown = api.when("GET", "/docs")
    assert shown.headers["content-security-policy"].startswith("default-src 'none'; style-src 'sha256-")
    page = shown.answer.content
    assert re.findall(rb"<(?!/|!)(\w+)", page)[:5] == [b"html", b"meta", b"title", b"style", b"h1"]
    assert set(re.findall(rb'(?:src|href)="([^"]*)"', page)) == {b"/openapi.json"}
    assert b"<script" not in page
    style = page.partition(b"<style>")[2].partition(b"</style>")[0]
    assert b64encode(sha256(style).digest()) in shown.headers["content-security-policy"].encode()


def test_it_is_valid() -> None:
    OpenAPIV31SpecValidator(DOCUMENT).validate()
    for schema in DOCUMENT["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)


def test_it_has_every_operation_once() -> None:
    assert sorted((method, path) for method, path, _ in DESCRIBED) == sorted(
        (operation.method.lower(), operation.path.replace(":path}", "}")) for operation in OPERATIONS
    )
    names = [described["operationId"] for _, _, described in DESCRIBED]
    assert len(set(names)) == len(names)


@every_operation
def test_every_operation_says_what_it_is(method: str, path: str, described: dict[str, Any]) -> None:
    assert described["summary"]
    assert described["description"].endswith(".")
    assert len(described["tags"]) == 1


@every_operation
def test_every_body_has_examples_that_are_what_it_says(
    method: str, path: str, described: dict[str, Any]
) -> None:
    for place, content in contents(described):
        shown = [example["value"] for example in content.get("examples", {}).values()]
        shown += [content["example"]] if "example" in content else []
        assert shown, f"{method} {path} {place}"
        for example in shown:
            validator_at("paths", path, method, *place, "schema").validate(example)


@every_operation
def test_every_error_is_shown_with_what_it_tells(method: str, path: str, described: dict[str, Any]) -> None:
    (operation,) = (
        operation
        for operation in OPERATIONS
        if (operation.method.lower(), operation.path.replace(":path}", "}")) == (method, path)
    )
    shown = {
        code: (status, example["value"])
        for status, answer in described["responses"].items()
        for code, example in answer.get("content", {})
        .get("application/problem+json", {})
        .get("examples", {})
        .items()
    }
    assert sorted(shown) == openapi.error_codes(operation)
    for code, (status, problem) in shown.items():
        assert (problem["code"], str(problem["status"]), str(STATUS[code])) == (code, status, status)


def test_there_is_an_example_of_every_error() -> None:
    assert list(examples.ERRORS) == sorted(examples.ERRORS, key=list(STATUS).index)
    assert set(examples.ERRORS) == set(STATUS)


def test_it_says_who_may_ask() -> None:
    for operation in OPERATIONS:
        described = DOCUMENT["paths"][operation.path.replace(":path}", "}")][operation.method.lower()]
        needed = set() if operation.access is Access.PUBLIC else {operation.access.value}
        assert {name for each in described.get("security", []) for name in each} == needed


def test_every_good_answer_that_it_promises_is_given(api: Api) -> None:
    """A whole sale, from its announcement to its audit, by every call there is."""
    sale = api.given_sale()
    seen = 0
    sale.when_admin("PATCH", "/policy", {"max_active": 10}).then(200)
    for path in ("/queue/pause", "/queue/resume", "/sales/close", "/sales/open"):
        seen = sale.when_admin("POST", path).then(200).position
    user_id = api.given_user(name="Kim Minji")
    api.when("POST", "/api/v1/users", {"user_id": user_id}).then(200)
    api.when("DELETE", f"/api/v1/users/{user_id}/profile").then_nothing()
    for path in ("/api/v1/concerts", sale.path, "/healthz", "/readyz", "/metrics"):
        api.when("GET", path, since=seen).then(200)

    ann = sale.given_inside()
    ann.when_joining().then(200)
    ann.when_asking().then(200)
    ann.when_listing_dates().then(200)
    etag = ann.when_looking_at_seats().then(200).headers["etag"]
    ann.when_looking_at_seats(headers={"if-none-match": etag}).then_nothing(304)
    ann.when_reserving(1).then(201)
    ann.when_releasing().then_nothing()
    ann.when_reserving(2, 3).then(201)
    ann.when_looking_at_reservation().then(200)
    ann.when_charging(2 * PRICE).then(201)
    ann.when_paying().then(201)
    ann.when_looking_at_payment().then(200)
    ann.when_refunding().then(200)
    for what in ("wallet", "wallet/entries", "payments", "reservations"):
        ann.when_looking(what).then(200)
    sale.given_waiting().when_leaving().then_nothing()

    sale.when_admin("GET", "/stats").then(200)
    api.when_admin("GET", f"/streams/queue/{sale.code}").then(200)
    api.when_admin("GET", "/audit/payments", payment_id=ann.payment_id).then(200)
    audit_id = api.when_admin("POST", "/audits", {}).then(202).json["audit_id"]
    until(lambda: api.when_admin("GET", f"/audits/{audit_id}"), lambda then: then.json["status"] == "DONE")

    given = {
        (operation.method, operation.path, answer.status)
        for answer in api.answers
        if (operation := operation_of(answer.method, answer.path)) is not None
    }
    promised = {
        (operation.method, operation.path, status) for operation in OPERATIONS for status in operation.answers
    }
    assert promised - given == set()
