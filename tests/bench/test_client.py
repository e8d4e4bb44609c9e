"""The load generator: it takes an answer for what it is, however it comes in, and counts what counts."""

import asyncio
import math
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import pytest

from bench.client import Answer, Flow, request, run, run_flows

ASKED = request("GET", "/")


@contextmanager
def server(*answers: Sequence[bytes]) -> Iterator[int]:
    """Answer each request in these pieces, the last ones again and again; yield the port."""
    listening = threading.Event()
    loop = asyncio.new_event_loop()
    ports: list[int] = []
    stop = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        count = 0
        while await reader.readline():
            while (await reader.readline()).strip():
                pass
            for piece in answers[min(count, len(answers) - 1)]:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0)
            count += 1
        writer.close()

    async def main() -> None:
        serving = await asyncio.start_server(serve, "127.0.0.1", 0, family=socket.AF_INET)
        ports.append(serving.sockets[0].getsockname()[1])
        listening.set()
        await stop.wait()
        serving.close()

    thread = threading.Thread(target=lambda: loop.run_until_complete(main()))
    thread.start()
    listening.wait()
    try:
        yield ports[0]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()


def answer(body: bytes, status: bytes = b"200 OK") -> bytes:
    """An answer as a server writes it."""
    return b"HTTP/1.1 %s\r\ncontent-length: %d\r\nx: y\r\n\r\n%s" % (status, len(body), body)


def whole(message: bytes) -> list[bytes]:
    return [message]


def byte_by_byte(message: bytes) -> list[bytes]:
    return [message[place : place + 1] for place in range(len(message))]


@pytest.mark.parametrize("cut", [whole, byte_by_byte])
def test_answers_are_put_together_from_whatever_pieces_they_come_in(
    cut: Callable[[bytes], list[bytes]],
) -> None:
    with server(cut(answer(b"one")), cut(answer(b"")), cut(answer(b"three"))) as port:
        result = run(port, iter([ASKED] * 3), connections=1, seconds=math.inf, keep_bodies=True)
    assert result.bodies == [b"one", b"", b"three"]
    assert result.statuses == {200: 3}
    assert (result.answers, result.body_bytes, result.body_bytes_mean) == (3, 8, 2)


def test_an_answer_that_does_not_tell_its_length_has_no_body() -> None:
    unchanged = b'HTTP/1.1 304 Not Modified\r\netag: "x"\r\n\r\n'
    with server([unchanged], [answer(b"x" * 100_000)], [unchanged]) as port:
        result = run(port, iter([ASKED] * 3), connections=1, seconds=math.inf, keep_bodies=True)
    assert result.statuses == {304: 2, 200: 1}
    assert [len(body) for body in result.bodies] == [0, 100_000, 0]


def test_what_is_answered_while_it_warms_up_does_not_count() -> None:
    with server([answer(b"x")]) as port:
        result = run(port, iter([ASKED] * 5), connections=1, seconds=math.inf, warm_s=1_000)
    assert result.answers == 0
    assert result.statuses == {200: 5}


def test_a_flow_is_told_each_answer_and_goes_on_as_it_likes() -> None:
    told: list[Answer] = []

    def flow() -> Flow:
        told.append((yield ASKED))
        told.append((yield ASKED))

    with server([answer(b"one", b"201 Created")], [answer(b"two", b"409 Conflict")]) as port:
        result = run_flows(port, [flow()], seconds=math.inf)
    assert told == [Answer(201, b"one"), Answer(409, b"two")]
    assert result.answers == 2


def test_what_a_flow_raises_ends_the_run() -> None:
    def flow() -> Flow:
        raise ValueError((yield ASKED).body)

    with server([answer(b"no seat")]) as port, pytest.raises(ValueError, match="no seat"):
        run_flows(port, [flow()], seconds=math.inf)


def test_a_server_that_goes_away_fails_the_run() -> None:
    with server([b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"]) as port:
        pass
    with pytest.raises(OSError, match=r"[Cc]onnect"):
        run(port, iter([ASKED]), connections=1, seconds=math.inf)
