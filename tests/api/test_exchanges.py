"""Answers as they are written: whole or in parts, and never more headers than were meant."""

import asyncio
import socket
from collections.abc import Sequence
from functools import partial
from typing import Any, Final

import msgspec
import pytest
import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from api.connections import AHEAD_MAX, BoundedHttp
from tests.asynchronous import WITHIN_S, until

NEXT: Final = b"GET / HTTP/1.1\r\nHost: here\r\n\r\n"
LAST: Final = b"GET / HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n"
PARTS: Final = (b"a", b"", b"bc" * 1_000, b"d")

Headers = Sequence[tuple[bytes, bytes]]


async def whole(_scope: Scope, _receive: Receive, send: Send) -> None:
    """Answer with head and body."""
    await begin(send, [(b"content-length", b"5"), (b"x-more", b"yes")])
    await send({"type": "http.response.body", "body": b"whole"})


async def in_parts(_scope: Scope, _receive: Receive, send: Send) -> None:
    """Answer with a body whose length nobody knows before."""
    await begin(send, [])
    for part in PARTS:
        await send({"type": "http.response.body", "body": part, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def fails(_scope: Scope, _receive: Receive, _send: Send) -> None:
    """Fail before the answer."""
    raise ZeroDivisionError("an inner secret")


async def fails_in_the_middle(_scope: Scope, _receive: Receive, send: Send) -> None:
    """Fail where the answer has begun, and none of it is written yet."""
    await begin(send, [(b"content-length", b"5")])
    raise ZeroDivisionError("an inner secret")


async def two_in_one(_scope: Scope, _receive: Receive, send: Send) -> None:
    """Answer with a header that a client has had a say in."""
    await begin(send, [(b"content-length", b"0"), (b"x-said", b"a\r\nx-evil: yes")])
    await send({"type": "http.response.body", "body": b""})


async def in_its_own_time(scope: Scope, _receive: Receive, send: Send) -> None:
    """Answer with what was asked for: `/slow` after many others could have been answered."""
    for _ in range(100 if scope["path"] == "/slow" else 0):
        await asyncio.sleep(0)
    path = scope["raw_path"]
    await begin(send, [(b"content-length", b"%d" % len(path))])
    await send({"type": "http.response.body", "body": path})


async def begin(send: Send, headers: Headers) -> None:
    """Begin an answer."""
    await send({"type": "http.response.start", "status": 200, "headers": headers})


def said(app: ASGIApp, *requests: bytes) -> bytes:
    """Serve the application, send these requests, and return what comes until the connection is closed."""

    async def serve(listener: socket.socket) -> bytes:
        server = uvicorn.Server(_config(app))
        serving = asyncio.create_task(server.serve([listener]))
        address = listener.getsockname()
        answered = await asyncio.to_thread(_ask, address, b"".join(requests))
        server.should_exit = True
        await serving
        return answered

    with socket.create_server(("127.0.0.1", 0)) as listener:
        return asyncio.run(serve(listener))


def _waits_for_a_reader(connection: Any) -> bool:
    waits: bool = connection.flow.write_paused
    return waits


def _config(app: ASGIApp) -> uvicorn.Config:
    return uvicorn.Config(app, http=BoundedHttp, lifespan="off", log_config=None, server_header=False)


def _ask(address: Any, request: bytes) -> bytes:
    with socket.create_connection(address, timeout=WITHIN_S) as connection:
        connection.sendall(request)
        with connection.makefile("rb") as answers:
            return answers.read()


def parsed(answer: bytes) -> tuple[bytes, dict[bytes, bytes], bytes]:
    """The first line, the headers, and the body."""
    head, _, body = answer.partition(b"\r\n\r\n")
    first, *lines = head.split(b"\r\n")
    headers = [(name, value) for name, _, value in (line.partition(b": ") for line in lines)]
    assert len(dict(headers)) == len(headers)
    return first, dict(headers), body


def test_an_answer_that_is_whole_is_what_was_said_with_a_date() -> None:
    first, headers, body = parsed(said(whole, LAST))
    assert first == b"HTTP/1.1 200 OK"
    assert set(headers) == {b"date", b"content-length", b"x-more", b"connection"}
    assert (headers[b"x-more"], headers[b"connection"], body) == (b"yes", b"close", b"whole")


def test_answers_follow_each_other_on_one_connection() -> None:
    answered = said(whole, NEXT, NEXT, LAST)
    assert answered.count(b"HTTP/1.1 200 OK\r\n") == answered.count(b"\r\n\r\nwhole") == 3
    assert answered.count(b"connection: close") == 1


def test_an_answer_waits_for_those_before_it() -> None:
    paths = [b"/slow", b"/quick", b"/slow", b"/slow", b"/quick"]
    requests = [b"GET %s HTTP/1.1\r\nHost: here\r\n\r\n" % path for path in paths]
    answered = said(in_its_own_time, *requests, LAST)
    assert [answer.partition(b"HTTP/1.1")[0] for answer in answered.split(b"\r\n\r\n")[1:-1]] == paths


def test_who_does_not_read_is_answered_no_more_than_is_under_way() -> None:
    """So nobody has more of this service's memory than an answer or two."""
    asked = 100
    body = b"x" * 2**20
    begun = 0

    async def answer(_scope: Scope, _receive: Receive, send: Send) -> None:
        nonlocal begun
        begun += 1
        await begin(send, [(b"content-length", b"%d" % len(body))])
        await send({"type": "http.response.body", "body": body})

    async def serve(listener: socket.socket) -> None:
        server = uvicorn.Server(_config(answer))
        serving = asyncio.create_task(server.serve([listener]))
        _, client = await asyncio.open_connection(*listener.getsockname(), limit=1)
        client.write(NEXT * asked)
        await until(lambda: any(map(_waits_for_a_reader, server.server_state.connections)), look_every_s=0)
        for _ in range(10 * asked):
            await asyncio.sleep(0)
        server.should_exit = server.force_exit = True
        client.transport.abort()
        await serving

    with socket.create_server(("127.0.0.1", 0)) as listener:
        asyncio.run(serve(listener))
    assert begun < asked / 2


def test_what_waits_for_its_turn_is_answered_before_more_is_read() -> None:
    """A request takes far more memory than it has bytes."""
    asked = 100
    at_once = asyncio.Semaphore(0)
    begun = 0

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal begun
        begun += 1
        await at_once.acquire()
        await whole(scope, receive, send)

    def has_begun(number: int) -> bool:
        return begun == number

    async def serve(listener: socket.socket) -> int:
        server = uvicorn.Server(_config(answer))
        serving = asyncio.create_task(server.serve([listener]))
        _, client = await asyncio.open_connection(*listener.getsockname())
        client.write(NEXT * asked)
        await until(partial(has_begun, 1), look_every_s=0)
        connection: Any = next(iter(server.server_state.connections))
        most = len(connection.pipeline)
        client.write(NEXT * asked)
        for number in range(2, 5):
            at_once.release()
            await until(partial(has_begun, number), look_every_s=0)
            for _ in range(100):
                await asyncio.sleep(0)
            most = max(most, len(connection.pipeline))
        server.should_exit = server.force_exit = True
        client.transport.abort()
        await serving
        return most

    with socket.create_server(("127.0.0.1", 0)) as listener:
        assert asyncio.run(serve(listener)) < asked


def test_who_asks_for_too_much_at_once_is_answered_so_far_and_no_further() -> None:
    answered = said(whole, NEXT * 4 * AHEAD_MAX)
    assert answered.count(b"HTTP/1.1 200 OK\r\n") == AHEAD_MAX + 1
    assert answered.count(b"HTTP/1.1") == AHEAD_MAX + 1
    assert answered.count(b"connection: close") == 1


def test_an_answer_in_parts_is_sent_in_chunks() -> None:
    _, headers, body = parsed(said(in_parts, LAST))
    assert headers[b"transfer-encoding"] == b"chunked"
    assert body == b"1\r\na\r\n" + b"7d0\r\n" + b"bc" * 1_000 + b"\r\n1\r\nd\r\n0\r\n\r\n"


def test_to_head_no_body_is_answered() -> None:
    first, headers, body = parsed(said(whole, LAST.replace(b"GET", b"HEAD")))
    assert (first, headers[b"content-length"], body) == (b"HTTP/1.1 200 OK", b"5", b"")


@pytest.mark.parametrize("app", [fails, fails_in_the_middle, two_in_one])
def test_what_fails_outside_of_an_endpoint_is_a_problem_that_tells_nothing(app: ASGIApp) -> None:
    answered = said(app, NEXT)
    first, headers, body = parsed(answered)
    problem = msgspec.json.decode(body)
    assert first == b"HTTP/1.1 500 Internal Server Error"
    assert headers[b"content-type"] == b"application/problem+json"
    assert (headers[b"connection"], int(headers[b"content-length"])) == (b"close", len(body))
    assert problem["code"] == "INTERNAL_ERROR"
    assert problem["request_id"] == headers[b"x-request-id"].decode()
    assert b"secret" not in answered
    assert b"evil" not in answered
