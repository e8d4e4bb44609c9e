"""Requests that no good client sends: each is answered in full, or refused in words that are documented."""

import gzip
from typing import Final

import pytest
from structlog.testing import capture_logs

from tests.api.grammar import Api, someone
from tests.api.service import ADMIN_KEY
from tests.api.test_connections import CLOSE, KEEP_ALIVE, Connection, is_serving

USERS: Final = "/api/v1/users"
POST_USER: Final = b"POST /api/v1/users HTTP/1.1\r\n"
CHUNKED: Final = b"Transfer-Encoding: chunked\r\n"

SMUGGLED: Final = b"GET /api/v1/smuggled HTTP/1.1\r\nHost: here\r\n\r\n"


@pytest.mark.parametrize(
    "framing",
    [
        b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        b"Content-Length: 2\r\nContent-Length: 60\r\n\r\n{}",
        b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
        b"Content-Length: +2\r\n\r\n{}",
        b"Content-Length: 2, 2\r\n\r\n{}",
        b"Content-Length: -1\r\n\r\n{}",
        b"Content-Length: 0x2\r\n\r\n{}",
        b"Content-Length: 99999999999999999999999999\r\n\r\n{}",
        b"Content-Length : 2\r\n\r\n{}",
        b"Transfer-Encoding: xchunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked, identity\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        b"Transfer-Encoding : chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n-2\r\n{}\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n2;\x00\r\n{}\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffff1\r\n{}\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}XX0\r\n\r\n",
        b"X: y\r\n Content-Length: 2\r\n\r\n{}",
        b"X: y\nContent-Length: 2\r\n\r\n{}",
        b"X: y\rContent-Length: 2\r\n\r\n{}",
        b"X\x00: y\r\nContent-Length: 2\r\n\r\n{}",
        b"X: \x00\r\nContent-Length: 2\r\n\r\n{}",
        b"X: \x1b[31mred\r\nContent-Length: 2\r\n\r\n{}",
    ],
)
def test_a_body_whose_end_can_be_read_in_two_ways_ends_the_connection(api: Api, framing: bytes) -> None:
    """Whatever stands in front of us: no second request is ever read out of the first one's body."""
    with Connection(api) as connection:
        connection.send(POST_USER + b"Host: here\r\n" + framing + SMUGGLED)
        answer = connection.read("POST", USERS)
        assert (answer.status, answer.json["code"]) == (400, "BAD_REQUEST")
        assert connection.is_closed
    is_serving(api)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (gzip.compress(b"{}", mtime=0), "BAD_REQUEST"),
        ("{}".encode("utf-16"), "BAD_REQUEST"),
        ('{"name": "é"}'.encode("latin-1"), "BAD_REQUEST"),
        (b'{"user_id": NaN}', "BAD_REQUEST"),
        (b'{"user_id": Infinity}', "BAD_REQUEST"),
        (b'{"user_id": ' + b"9" * 60_000 + b"}", "VALIDATION_FAILED"),
        (b'{"user_id": ' + b"[" * 30_000 + b"]" * 30_000 + b"}", "VALIDATION_FAILED"),
        (b'{"more": ' + b"[" * 30_000 + b"]" * 30_000 + b"}", "BAD_REQUEST"),
        (b'{"user_id": "6f2d1c0a-0000-4000-8000-000000000000", "user_id": 1}', "VALIDATION_FAILED"),
    ],
)
@pytest.mark.parametrize("content_type", ["application/json; charset=utf-16", "text/plain", "\xff"])
def test_a_body_is_json_in_utf_8_whatever_it_says_of_itself(
    api: Api, body: bytes, code: str, content_type: str
) -> None:
    headers = {"content-type": content_type, "content-encoding": "gzip"}
    assert api.when("POST", USERS, body, headers=headers).json["code"] == code


def test_of_a_member_that_is_named_twice_the_last_counts(api: Api) -> None:
    first, last = someone(), someone()
    body = b'{"user_id": "%s", "user_id": "%s"}' % (first.encode(), last.encode())
    api.when("POST", USERS, body).then(201, user_id=last)


@pytest.mark.parametrize("header", [b"Authorization", b"Idempotency-Key", b"Min-Log-Position"])
def test_what_decides_is_said_once(api: Api, header: bytes) -> None:
    """A gateway in front may go by the other one."""
    twice = b"%s: 1\r\n%s: 2\r\n" % (header, header.lower())
    with Connection(api) as connection:
        for request in (
            b"GET /api/v1/concerts HTTP/1.1\r\n" + KEEP_ALIVE + twice + b"\r\n",
            POST_USER + KEEP_ALIVE + twice + b"Content-Length: 2\r\n\r\n{}",
        ):
            connection.send(request)
            method, target = request.decode().split()[:2]
            connection.receive(method, target).then_refused(
                "VALIDATION_FAILED",
                errors=[{"field": header.decode(), "message": "send this header once"}],
            )


def test_two_admin_keys_are_one_too_many(api: Api) -> None:
    shown = b"Authorization: Bearer x\r\nAuthorization: Bearer %s\r\n" % ADMIN_KEY.encode()
    with Connection(api) as connection:
        connection.send(b"POST /api/v1/admin/concerts/A1/sales/open HTTP/1.1\r\n" + CLOSE + shown + b"\r\n")
        refused = connection.receive("POST", "/api/v1/admin/concerts/A1/sales/open")
        refused.then_refused(
            "VALIDATION_FAILED", errors=[{"field": "Authorization", "message": "send this header once"}]
        )


@pytest.mark.parametrize(
    "request_id",
    ["x" * 60_000, "\x1b[31mred", "a\tb", "%0d%0aEvil: yes", "é", "", "{evil}", "2ca587d1-670e-4066-a42e"],
)
def test_a_request_id_that_is_no_uuid_is_replaced_and_never_logged(api: Api, request_id: str) -> None:
    with capture_logs() as entries, Connection(api) as connection:
        connection.send(b"GET /healthz HTTP/1.1\r\n" + KEEP_ALIVE)
        connection.send(b"X-Request-Id: %s\r\n\r\n" % request_id.encode("latin-1"))
        answer = connection.read()
        assert answer.status == (400 if "\x1b" in request_id else 200)
        assert answer.headers["x-request-id"] != request_id
    assert not request_id or request_id not in str(entries)


@pytest.mark.parametrize("key", ["x" * 256, "x" * 30_000, "a b", "é", "\t", ""])
def test_an_idempotency_key_has_a_form(api: Api, key: str) -> None:
    refused = api.when("POST", USERS, {}, headers={"idempotency-key": key.encode("latin-1")})
    assert refused.json["errors"] == [
        {"field": "Idempotency-Key", "message": "1 to 255 visible ASCII characters"}
    ]


def test_a_client_that_waits_to_be_asked_for_its_body_is_asked(api: Api) -> None:
    with Connection(api) as connection:
        connection.send(POST_USER + KEEP_ALIVE + b"Content-Length: 2\r\nExpect: 100-continue\r\n\r\n")
        assert connection.read("POST", USERS).status == 100
        connection.send(b"{}")
        connection.receive("POST", USERS).then(201)


def test_chunks_may_have_extensions_and_trailers(api: Api) -> None:
    with Connection(api) as connection:
        connection.send(POST_USER + KEEP_ALIVE + CHUNKED + b"\r\n2;a=b\r\n{}\r\n0\r\nX-Trailer: y\r\n\r\n")
        connection.receive("POST", USERS).then(201)
        connection.send(b"GET /healthz HTTP/1.1\r\n" + KEEP_ALIVE + b"\r\n")
        connection.receive().then(200)


def test_a_thousand_headers_are_read_or_refused(api: Api) -> None:
    with Connection(api) as connection:
        connection.send(b"GET /healthz HTTP/1.1\r\n" + CLOSE + b"X-%d: y\r\n" % 1 * 1_000 + b"\r\n")
        assert connection.read().status in (200, 400)
    is_serving(api)
