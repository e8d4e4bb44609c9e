"""What comes over a connection that no good client sends, and clients that leave in the middle."""

import logging
import select
import socket
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.client import parse_headers
from typing import Any, Self

import psycopg
import pytest
from structlog.testing import capture_logs

from api.connections import HEAD_BYTES_MAX
from infrastructure.event_log import APPEND_LOCK
from tests.api.conftest import Start
from tests.api.contract import Answer
from tests.api.grammar import Api, Then, someone
from tests.api.service import ADMIN_KEY, WITHIN_S
from tests.api.store import events, nothing_appended

KEEP_ALIVE = b"Host: here\r\n"
CLOSE = b"Host: here\r\nConnection: close\r\n"


class Connection:
    """A connection on which anything can be sent."""

    def __init__(self, api: Api, *, unread_bytes_max: int | None = None) -> None:
        """Take no more than that of what was not read yet, or what the system takes at least."""
        self._api = api
        self._socket = socket.socket()
        self._socket.settimeout(WITHIN_S)
        if unread_bytes_max is not None:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, unread_bytes_max)
        self._socket.connect(api.service.address)
        self._answers = self._socket.makefile("rb")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._answers.close()
        self._socket.close()

    def send(self, *pieces: bytes) -> None:
        """Send these bytes, each piece by itself."""
        for piece in pieces:
            self._socket.sendall(piece)

    def receive(self, method: str = "GET", target: str = "/healthz") -> Then:
        """Read one answer to what was asked for."""
        return self._api.received(self.read(method, target))

    def read(self, method: str = "GET", target: str = "/") -> Answer:
        """Read one answer, whatever it is, and nothing of the next."""
        status_line = self._answers.readline()
        headers = {name.lower(): value for name, value in parse_headers(self._answers).items()}
        length = 0 if method == "HEAD" else int(headers.get("content-length", 0))
        return Answer(method, target, int(status_line.split()[1]), headers, self._answers.read(length))

    @property
    def address(self) -> Any:
        """Where it comes from."""
        return self._socket.getsockname()

    @property
    def is_closed(self) -> bool:
        """Whether the server has closed it, once it has said all."""
        try:
            return self._answers.read(1) == b""
        except ConnectionResetError:
            return True

    def says_something(self, within_s: float) -> bool:
        """Whether the server sends something, or closes, in this time."""
        readable, _, _ = select.select([self._socket], [], [], within_s)
        return bool(readable)

    def reset(self) -> None:
        """Leave without a word."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.__exit__()


@contextmanager
def nothing_wrong_is_logged(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Neither we nor the server log a warning or worse meanwhile."""
    caplog.clear()
    with capture_logs() as entries, caplog.at_level(logging.WARNING):
        yield
    assert [entry for entry in entries if entry["log_level"] not in ("debug", "info")] == []
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


def is_serving(api: Api) -> None:
    """The service goes on."""
    api.when("GET", "/healthz").then(200)
    api.when("POST", "/api/v1/users", {}).then(201)


@pytest.mark.parametrize(
    "sent",
    [
        b"BREW /coffee HTTP/1.1\r\n" + CLOSE + b"\r\n",
        b"GET / HTTP/9.9\r\n" + CLOSE + b"\r\n",
        b"GET /\xff HTTP/1.1\r\n" + CLOSE + b"\r\n",
        b"GET / a HTTP/1.1\r\n" + CLOSE + b"\r\n",
        b"GET / HTTP/1.1\r\nHost: a\x00b\r\n\r\n",
        b"GET / HTTP/1.1\r\nNo colon\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: " + b"9" * 5_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"\x00" * 100,
        b"SSH-2.0-OpenSSH_9.6\r\n",
    ],
)
def test_what_is_not_http_is_a_bad_request(api: Api, sent: bytes) -> None:
    with Connection(api) as connection:
        connection.send(sent)
        answer = connection.read()
        assert (answer.status, answer.json["code"]) == (400, "BAD_REQUEST")
        assert answer.headers["content-type"] == "application/problem+json"
        assert "date" in answer.headers  # RFC 9110, 6.6.1
        assert connection.is_closed
    is_serving(api)


def test_a_request_that_does_not_end_its_head_is_cut_off(api: Api) -> None:
    with Connection(api) as connection:
        connection.send(b"GET /healthz HTTP/1.1\r\nX-Long: ")
        connection.send(b"x" * (HEAD_BYTES_MAX + 1))
        assert connection.read().json["code"] == "BAD_REQUEST"
        assert connection.is_closed
    is_serving(api)


def test_a_head_may_be_as_long_as_people_make_it(api: Api) -> None:
    with Connection(api) as connection:
        for piece in (b"GET /healthz HTTP/1.1\r\n", KEEP_ALIVE, b"X-Long: ", b"x" * 30_000, b"\r\n\r\n"):
            connection.send(piece)
        connection.receive().then(200)
        connection.send(b"GET /healthz HTTP/1.1\r\n" + KEEP_ALIVE + b"\r\n")
        connection.receive().then(200)


@pytest.mark.parametrize("length", [65_537, 10**12])
def test_a_body_that_says_it_is_too_large_is_refused_before_it_comes(api: Api, length: int) -> None:
    with Connection(api) as connection:
        connection.send(b"POST /api/v1/users HTTP/1.1\r\n" + KEEP_ALIVE)
        connection.send(b"Content-Length: %d\r\n\r\n" % length)
        connection.receive("POST", "/api/v1/users").then_refused("BODY_TOO_LARGE")
    is_serving(api)


def test_a_body_that_does_not_say_how_large_it_is_is_refused_when_it_is_too_large(api: Api) -> None:
    with Connection(api) as connection:
        connection.send(
            b"POST /api/v1/users HTTP/1.1\r\n" + KEEP_ALIVE + b"Transfer-Encoding: chunked\r\n\r\n"
        )
        for _ in range(9):
            connection.send(b"2000\r\n" + b" " * 0x2000 + b"\r\n")
        connection.receive("POST", "/api/v1/users").then_refused("BODY_TOO_LARGE")
        connection.send(b"0\r\n\r\n", b"GET /healthz HTTP/1.1\r\n" + KEEP_ALIVE + b"\r\n")
        connection.receive().then(200)


def test_a_body_may_come_in_pieces(api: Api) -> None:
    user_id = someone()
    body = b'{"user_id": "%s"}' % user_id.encode()
    with Connection(api) as connection:
        connection.send(
            b"POST /api/v1/users HTTP/1.1\r\n" + KEEP_ALIVE + b"Transfer-Encoding: chunked\r\n\r\n"
        )
        connection.send(*(b"1\r\n%c\r\n" % byte for byte in body), b"0\r\n\r\n")
        connection.receive("POST", "/api/v1/users").then(201, user_id=user_id)


def test_a_body_that_nobody_reads_does_no_harm(api: Api) -> None:
    with Connection(api) as connection:
        connection.send(b"GET /healthz HTTP/1.1\r\n" + KEEP_ALIVE + b"Content-Length: 200000\r\n\r\n")
        connection.send(*[b"x" * 20_000] * 10)
        connection.receive().then(200)
        connection.send(b"GET /healthz HTTP/1.1\r\n" + KEEP_ALIVE + b"\r\n")
        connection.receive().then(200)


def test_requests_may_follow_each_other_without_waiting(api: Api) -> None:
    with Connection(api) as connection:
        connection.send((b"GET /healthz HTTP/1.1\r\n" + KEEP_ALIVE + b"\r\n") * 3)
        for _ in range(3):
            connection.receive().then(200)


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET http://elsewhere/healthz HTTP/1.1\r\n" + CLOSE, 200),
        (b"GET /healthz HTTP/1.0\r\n", 200),
        (b"GET /healthz?%ff=%00 HTTP/1.1\r\n" + CLOSE, 200),
        (b"GET /healthz#part HTTP/1.1\r\n" + CLOSE, 200),
        (b"GET /healthz HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n", 200),
        (b"GET /healthz HTTP/1.1\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n", 200),
        (b"POST /api/v1/users HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n{}", 201),
        (b"CONNECT elsewhere:80 HTTP/1.1\r\n", 400),
        (b"CONNECT / HTTP/1.1\r\n", 400),
    ],
)
def test_what_is_unusual_is_served(api: Api, head: bytes, status: int) -> None:
    with Connection(api) as connection:
        connection.send(head + b"\r\n")
        assert connection.read().status == status
    is_serving(api)


@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize("body", [b"{}", b"GET /api/v1/smuggled HTTP/1.1\r\nHost: here\r\n\r\n"])
def test_the_body_of_a_request_that_asks_for_another_protocol_is_never_the_next_request(
    api: Api, body: bytes, *, at_once: bool
) -> None:
    """Java's client asks for HTTP/2 in this way, and gateways let others do so."""
    head = b"POST /api/v1/users HTTP/1.1\r\n" + KEEP_ALIVE + b"Connection: keep-alive, Upgrade\r\n"
    pieces = [
        *(head + b"upgrade: h2c\r\nContent-Length: %d\r\n\r\n" % len(body), body),
        *(head + b"Upgrade: websocket\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n" % len(body), body),
        b"\r\n0\r\n\r\nGET /healthz HTTP/1.1\r\n" + KEEP_ALIVE + b"\r\n",
    ]
    with Connection(api) as connection:
        connection.send(*([b"".join(pieces)] if at_once else pieces))
        for _ in range(2):
            assert connection.read("POST").status == (201 if body == b"{}" else 400)
        connection.receive().then(200)
        assert not connection.says_something(within_s=0)


def test_what_comes_behind_a_body_is_no_header(api: Api) -> None:
    """A gateway that takes the admin key out of headers may not look there."""
    with Connection(api) as connection:
        connection.send(
            b"POST /api/v1/admin/concerts/A1/sales/open HTTP/1.1\r\n" + KEEP_ALIVE
            + b"Transfer-Encoding: chunked\r\n\r\n0\r\nAuthorization: Bearer %s\r\n\r\n" % ADMIN_KEY.encode()
        )  # fmt: skip
        connection.receive("POST", "/api/v1/admin/concerts/A1/sales/open").then_refused("ADMIN_KEY_REQUIRED")


def test_what_comes_behind_a_body_without_end_is_cut_off(api: Api) -> None:
    with Connection(api) as connection:
        connection.send(b"POST /api/v1/users HTTP/1.1\r\n" + KEEP_ALIVE)
        connection.send(b"Transfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n")
        assert connection.read().status == 100
        connection.send(b"0\r\nX-Long: ", b"x" * (HEAD_BYTES_MAX + 1))
        assert connection.read().json["code"] == "BAD_REQUEST"
        assert connection.is_closed
    is_serving(api)


def test_a_head_is_not_long_because_of_what_came_before_it(api: Api) -> None:
    post = b"POST /api/v1/users HTTP/1.1\r\n" + KEEP_ALIVE + b"Content-Length: 60000\r\n\r\n{}"
    with Connection(api) as connection:
        with nothing_appended(api) as wait_for:  # so that much is read at once
            connection.send((post + b" " * 59_998) * 4 + b"GET /healthz HTTP/1.1\r\n")
            wait_for(1)
        for _ in range(4):
            connection.receive("POST", "/api/v1/users").then(201)
        connection.send(KEEP_ALIVE + b"\r\n")
        connection.receive().then(200)


@pytest.mark.parametrize("target", [b"*", b"elsewhere:80", b"../healthz", b"//healthz", b"/./healthz"])
def test_a_target_that_is_no_path_is_refused(api: Api, target: bytes) -> None:
    with Connection(api) as connection:
        connection.send(b"OPTIONS " + target + b" HTTP/1.1\r\n" + CLOSE + b"\r\n")
        answer = connection.read()
        assert answer.json["code"] in ("BAD_REQUEST", "NOT_FOUND")


def test_a_head_is_asked_for_in_vain(api: Api) -> None:
    with Connection(api) as connection:
        connection.send(b"HEAD /healthz HTTP/1.1\r\n" + KEEP_ALIVE + b"\r\n")
        answer = connection.read("HEAD")
        assert (answer.status, answer.headers["allow"], answer.content) == (405, "GET", b"")
        connection.send(b"GET /healthz HTTP/1.1\r\n" + KEEP_ALIVE + b"\r\n")
        connection.receive().then(200)


def test_a_client_that_leaves_in_the_middle_of_a_body_is_forgotten(
    api: Api, caplog: pytest.LogCaptureFixture
) -> None:
    before = events(api)
    with nothing_wrong_is_logged(caplog):
        for leave in (Connection.reset, lambda connection: connection.__exit__()):
            connection = Connection(api)
            connection.send(
                b"POST /api/v1/users HTTP/1.1\r\n" + KEEP_ALIVE + b"Content-Length: 100\r\n\r\n", b"{"
            )
            leave(connection)
        api.when("GET", "/healthz").then(200)
    assert events(api) == before
    is_serving(api)


@pytest.mark.parametrize("more", [b"", b"GET /healthz HTTP/1.1\r\n" + KEEP_ALIVE + b"\r\n"])
def test_what_a_client_asked_for_that_leaves_before_the_answer_may_be_recorded(
    api: Api, caplog: pytest.LogCaptureFixture, more: bytes
) -> None:
    user_id = someone()
    body = b'{"user_id": "%s"}' % user_id.encode()
    with nothing_wrong_is_logged(caplog):
        with nothing_appended(api) as wait_for:
            connection = Connection(api)
            connection.send(b"POST /api/v1/users HTTP/1.1\r\n" + KEEP_ALIVE)
            connection.send(b"Content-Length: %d\r\n\r\n" % len(body) + body + more)
            wait_for(1)
            client = connection.address
            connection.reset()
            api.service.until(lambda: client not in [here.client for here in api.service.connections])
        api.when("POST", "/api/v1/users", {"user_id": user_id}).then(200)
    is_serving(api)


def test_a_client_that_leaves_while_it_waits_for_a_position_is_forgotten(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    api = start()
    with nothing_wrong_is_logged(caplog):
        connection = Connection(api)
        connection.send(b"GET /api/v1/concerts HTTP/1.1\r\n" + KEEP_ALIVE + b"Min-Log-Position: 1\r\n\r\n")
        connection.reset()
        registered = api.when("POST", "/api/v1/users", {}).then(201)
        api.when("GET", "/api/v1/concerts", since=registered.position).then(200)
    is_serving(api)


def test_many_connections_that_say_nothing_do_no_harm(api: Api) -> None:
    silent = [Connection(api) for _ in range(200)]
    for connection in silent[::2]:
        connection.send(b"POST /api/v1/users HTTP/1.1\r\nContent-Length: 10\r\n\r\n{")
    is_serving(api)
    for connection in silent:
        connection.reset()
    is_serving(api)


def test_no_header_is_made_of_what_a_client_sent(api: Api) -> None:
    sent: Mapping[str, Any] = {"x-request-id": "a", "authorization": "Bearer evil: yes", "if-none-match": "x"}
    for path in ("/%0d%0aEvil:%20yes", "/api/v1/concerts/%0d%0aEvil:%20yes"):
        answer = api.when("GET", path, headers=sent)
        assert "evil" not in answer.headers
        assert "evil" not in str(answer.headers).lower()


def test_secrets_stay_out_of_the_log(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    ann = api.given_sale().given_waiting()
    with capture_logs() as entries, caplog.at_level(logging.DEBUG):
        ann.when_asking().then(200)
        api.when("GET", f"/api/v1/concerts?token={ann.token}").then(200)
        api.when("GET", f"/api/v1/nowhere?token={ann.token}").then_refused("NOT_FOUND")
        ann.sale.when_admin("GET", "/stats").then(200)
        with psycopg.connect(api.service.dsn) as connection:
            connection.execute("SELECT pg_advisory_xact_lock(%s)", [APPEND_LOCK])
    said = str(entries) + caplog.text
    assert entries
    for secret in (ann.token, ann.token.split(".")[1], "the-admin-key"):
        assert secret not in said
