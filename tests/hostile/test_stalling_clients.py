"""Clients that stall, in a head, in a body, while reading, or before any word: they alone are cut off."""

import resource
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from typing import Any

import pytest
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT

from tests.api.grammar import Api
from tests.api.service import Service
from tests.api.store import nothing_appended
from tests.api.test_connections import CLOSE, KEEP_ALIVE, Connection, is_serving
from tests.postgres_fixtures import Databases
from tests.postgres_guard import TEMPLATE

REQUEST_S = 0.4
"""So that nobody has to wait for half a minute."""

ENOUGH_S = 10.0
SILENT = 10_000


@pytest.fixture(scope="module")
def impatient(databases: Databases) -> Iterator[Api]:
    """A service that waits for nobody for long."""
    with Service(databases.create(TEMPLATE), request_s=REQUEST_S) as service:
        api = Api(service)
        yield api
        api.close()


@pytest.mark.parametrize(
    "sent",
    [
        b"G",
        b"POST /api/v1/users HTTP/1.1\r\nHost: here\r\nX-Slow: ",
        b"POST /api/v1/users HTTP/1.1\r\nHost: here\r\nContent-Length: 10\r\n\r\n{",
        b"POST /api/v1/users HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n",
        b"POST /api/v1/users HTTP/1.1\r\nHost: here\r\nContent-Length: 10\r\nExpect: 100-continue\r\n\r\n",
    ],
)
def test_a_request_that_does_not_come_to_its_end_is_refused(impatient: Api, sent: bytes) -> None:
    with Connection(impatient) as connection:
        connection.send(sent)
        answer = connection.read()
        while answer.status == 100:
            answer = connection.read()
        assert (answer.status, answer.json["code"]) == (400, "BAD_REQUEST")
        assert answer.json["detail"] == "The request did not come to its end in time."
        assert connection.is_closed
    is_serving(impatient)


def test_a_request_that_drips_is_refused_as_well(impatient: Api) -> None:
    with Connection(impatient) as connection:
        connection.send(b"POST /api/v1/users HTTP/1.1\r\nHost: here\r\nContent-Length: 60000\r\n\r\n")
        deadline = time.monotonic() + ENOUGH_S
        while not connection.says_something(within_s=REQUEST_S / 20):
            assert time.monotonic() < deadline, "drips for ever"
            connection.send(b"x")
        assert connection.read().json["code"] == "BAD_REQUEST"
        assert connection.is_closed


@pytest.mark.parametrize(
    "sent", [b"", b"\r\n", b"GET /healthz HTTP/1.1\r\nHost: here\r\nContent-Length: 10\r\n\r\nx"]
)
def test_a_connection_that_says_nothing_more_is_closed(impatient: Api, sent: bytes) -> None:
    """Also where a body that nobody reads does not come to its end: that stops the clock between requests."""
    with Connection(impatient) as connection:
        connection.send(sent)
        if sent.startswith(b"GET"):
            connection.receive().then(200)
            connection.send(b"x")
        assert connection.is_closed
    is_serving(impatient)


def test_a_client_that_is_quick_is_never_cut_off(impatient: Api) -> None:
    """Whatever it was doing when all connections were looked at."""
    with Connection(impatient) as connection:
        deadline = time.monotonic() + 4 * REQUEST_S
        while time.monotonic() < deadline:
            connection.send(
                b"POST /api/v1/users HTTP/1.1\r\n", KEEP_ALIVE, b"Content-Length: 2\r\n\r\n{", b"}"
            )
            connection.receive("POST", "/api/v1/users").then(201)
        assert not connection.says_something(within_s=2 * REQUEST_S)  # between requests it may take its time
        connection.send(b"GET /healthz HTTP/1.1\r\n" + KEEP_ALIVE + b"\r\n")
        connection.receive().then(200)


def test_a_connection_on_which_nothing_more_is_asked_for_is_closed(impatient: Api) -> None:
    with Connection(impatient) as connection, Connection(impatient) as other:
        for each in (other, connection):
            each.send(b"GET /healthz HTTP/1.1\r\n" + KEEP_ALIVE + b"\r\n")
            each.receive().then(200)
        at_the_server(impatient, connection).timeout_keep_alive = REQUEST_S
        assert connection.is_closed
        other.send(b"GET /healthz HTTP/1.1\r\n" + KEEP_ALIVE + b"\r\n")
        other.receive().then(200)


def test_who_waits_for_an_answer_has_asked_for_something(impatient: Api) -> None:
    with Connection(impatient) as connection:
        connection.send(b"GET /healthz HTTP/1.1\r\n" + KEEP_ALIVE + b"\r\n")
        connection.receive().then(200)
        with nothing_appended(impatient) as wait_for:
            connection.send(b"POST /api/v1/users HTTP/1.1\r\n", KEEP_ALIVE, b"Content-Length: 2\r\n\r\n{}")
            wait_for(1)
            at_the_server(impatient, connection).timeout_keep_alive = 0
            assert not connection.says_something(within_s=REQUEST_S)
        connection.receive("POST", "/api/v1/users").then(201)


def at_the_server(api: Api, connection: Connection) -> Any:
    """The other end of a connection."""
    (here,) = (one for one in api.service.connections if one.client == connection.address)
    return here


def test_a_client_that_does_not_read_is_closed(impatient: Api) -> None:
    with Connection(impatient) as connection:
        connection.send((b"GET /openapi.json HTTP/1.1\r\n" + KEEP_ALIVE + b"\r\n") * 100)
        impatient.service.until(lambda: waits_for_a_reader(impatient))
        impatient.service.until(lambda: not waits_for_a_reader(impatient))
    is_serving(impatient)


def waits_for_a_reader(api: Api) -> bool:
    """Whether an answer waits to be read."""
    return any(connection.flow.write_paused for connection in api.service.connections)


def test_an_answer_is_never_taken_for_that_of_an_earlier_request(api: Api) -> None:
    """What is not HTTP comes while an earlier request is being answered: that is told, and then no more."""
    with Connection(api) as connection:
        connection.send(
            b"POST /api/v1/users HTTP/1.1\r\n" + KEEP_ALIVE + b"Content-Length: 2\r\n\r\n{}"
            b"\x00\x01 this is not HTTP\r\n\r\n"
        )
        connection.receive("POST", "/api/v1/users").then(201)
        assert connection.is_closed
    is_serving(api)


POST_USER = b"POST /api/v1/users HTTP/1.1\r\n" + KEEP_ALIVE


def told_behind_a_registration(api: Api, rest: bytes, *, silent_for_s: float) -> Any:
    """Register, and send a request that ends so right behind it; return what is told of that in the end."""
    with Connection(api) as connection:
        with nothing_appended(api) as wait_for:
            connection.send(POST_USER + b"Content-Length: 2\r\n\r\n{}")
            connection.send(POST_USER + rest)
            wait_for(1)
            assert not connection.says_something(within_s=silent_for_s)
        connection.receive("POST", "/api/v1/users").then(201)
        told = connection.read().json
        assert connection.is_closed
    return told


def test_what_is_wrong_with_a_body_is_told_after_what_was_asked_before(api: Api) -> None:
    """Else who paid, and asked for something more, would take their payment for refused."""
    told = told_behind_a_registration(
        api, b"Transfer-Encoding: chunked\r\n\r\nnot a number\r\n", silent_for_s=0.1
    )
    assert told["code"] == "BAD_REQUEST"
    is_serving(api)


def test_what_is_wrong_with_a_body_that_nobody_needs_is_not_told_of_what_is_done(api: Api) -> None:
    ann = api.given_sale().given_holding(7)
    path = f"/api/v1/reservations/{ann.reservation_id}"
    with Connection(api) as connection:
        with nothing_appended(api) as wait_for:
            connection.send(b"DELETE %s HTTP/1.1\r\n" % path.encode() + KEEP_ALIVE)
            connection.send(b"Authorization: Bearer %s\r\n" % ann.token.encode())
            connection.send(b"Transfer-Encoding: chunked\r\n\r\n")
            wait_for(1)
            connection.send(b"not a number\r\n")
            assert not connection.says_something(within_s=0.1)
        released = connection.receive("DELETE", path)
        released.then_nothing()
        assert connection.is_closed
    ann.when_looking_at_reservation(since=released.position).then(200, status="CANCELLED")


def test_a_body_that_does_not_come_is_refused_after_what_was_asked_before(impatient: Api) -> None:
    told = told_behind_a_registration(impatient, b"Content-Length: 2\r\n\r\n", silent_for_s=3 * REQUEST_S)
    assert told["detail"] == "The request did not come to its end in time."


def test_a_head_that_began_behind_a_request_has_no_more_time(impatient: Api) -> None:
    with Connection(impatient) as connection:
        connection.send(b"GET /healthz HTTP/1.1\r\n" + KEEP_ALIVE + b"\r\nGET /healthz")
        connection.receive().then(200)
        assert connection.read().json["detail"] == "The request did not come to its end in time."
        assert connection.is_closed


@pytest.mark.parametrize("last", [KEEP_ALIVE, CLOSE])
def test_a_client_that_does_not_read_little_is_closed(impatient: Api, last: bytes) -> None:
    """So little that nobody waits to write; and where it was to be closed after that."""
    with Connection(impatient, unread_bytes_max=1) as connection:
        connection.send(b"GET /healthz HTTP/1.1\r\n" + KEEP_ALIVE + b"\r\n")
        connection.receive().then(200)
        here = at_the_server(impatient, connection)
        here.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
        with suppress(ConnectionError):
            while here.transport.get_write_buffer_size() < HIGH_WATER_LIMIT / 2:
                before = here.server_state.total_requests
                connection.send((b"GET /healthz HTTP/1.1\r\n" + KEEP_ALIVE + b"\r\n") * 20)
                impatient.service.until(partial(has_answered, here, before + 20))
            assert not here.flow.write_paused
            connection.send(b"GET /healthz HTTP/1.1\r\n" + last + b"\r\n")
        impatient.service.until(lambda: here not in impatient.service.connections)


def has_answered(here: Any, requests: int) -> bool:
    """Whether so many have been answered, also to others, or no more will be."""
    return bool(here.transport.is_closing() or here.server_state.total_requests >= requests)


@contextmanager
def many_files() -> Iterator[int]:
    """Allow this process as many connections as the machine's owner does."""
    allowed, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    yield most
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, most))


def test_ten_thousand_connections_that_say_nothing_keep_nobody_waiting(api: Api) -> None:
    """Both ends are in this process, so that each of them takes two of its files."""
    with many_files() as files, ExitStack() as silent:
        number = min(SILENT, files // 2 - 500)
        for _ in range(number):
            silent.enter_context(socket.create_connection(api.service.address))
        began_at = time.monotonic()
        is_serving(api)
        assert time.monotonic() - began_at < 1.0
    is_serving(api)
