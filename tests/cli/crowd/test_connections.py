"""What comes over a connection, whole, in pieces, or not at all."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from cli.crowd.connections import Answer, Connections, NotHttp

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nLog-Position: 7\r\n\r\nhi"
LAST = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nh\r\n1\r\ni\r\n0\r\n\r\n"
EMPTY = b"HTTP/1.1 204 No Content\r\n\r\n"
TO_BE_CONTINUED = b"HTTP/1.1 103 Early Hints\r\nLink: </>\r\n\r\n"

SILENCE: Sequence[bytes] = ()
CUT: Sequence[bytes] = (b"",)


class Played:
    """A server that answers the n-th request with the n-th of these, in pieces; b"" closes the connection."""

    def __init__(self, *answers: Sequence[bytes]) -> None:
        self.answers = list(answers)
        self.requests: list[bytes] = []
        self.connected = 0
        self.open_at_once = 0
        self._open = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        self.connected += 1
        self._open += 1
        self.open_at_once = max(self.open_at_once, self._open)
        try:
            await self._serve(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self._open -= 1
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            self.requests.append(await reader.readuntil(b"\r\n\r\n"))
            for piece in self.answers.pop(0):
                if not piece:
                    return
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0)


def asked(played: Played, times: int = 1, most: int = 8, within_s: float = 5.0) -> list[Any]:
    """Ask one after another, or all at once where `most` is not 1; return answers and errors."""

    async def ask(connections: Connections) -> Answer | Exception:
        try:
            return await connections.ask("GET", "/here", headers={"X-Name": "value"}, within_s=within_s)
        except (OSError, NotHttp) as error:
            return error

    async def run() -> list[Any]:
        server = await asyncio.start_server(played.serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with Connections(f"http://127.0.0.1:{port}/api", most) as connections:
            answers = await asyncio.gather(*(ask(connections) for _ in range(times)))
        server.close()
        return answers

    return asyncio.run(run())


def test_a_request_says_what_is_asked_for_and_of_whom() -> None:
    played = Played([OK])
    asked(played)
    (request,) = played.requests
    assert request.startswith(b"GET /api/here HTTP/1.1\r\nHost: 127.0.0.1:")
    assert b"\r\nX-Name: value\r\n" in request


@pytest.mark.parametrize(
    "pieces", [[OK], [CHUNKED], [bytes([byte]) for byte in CHUNKED], [TO_BE_CONTINUED, OK]]
)
def test_an_answer_is_read_whole_in_whatever_pieces_it_comes(pieces: list[bytes]) -> None:
    (answer,) = asked(Played(pieces))
    assert (answer.status, answer.body) == (200, b"hi")


def test_headers_are_known_by_their_names_in_lower_case() -> None:
    (answer,) = asked(Played([OK]))
    assert answer.headers[b"log-position"] == b"7"


def test_a_connection_is_used_again() -> None:
    played = Played([OK], [EMPTY], [CHUNKED])
    assert [answer.status for answer in asked(played, times=3, most=1)] == [200, 204, 200]
    assert played.connected == 1


def test_nothing_of_one_answer_is_left_in_the_next() -> None:
    _, second = asked(Played([OK], [EMPTY]), times=2, most=1)
    assert (second.headers, second.body) == ({}, b"")


@pytest.mark.parametrize("first", [[LAST], [OK + OK]], ids=["announced", "said more"])
def test_a_connection_of_no_further_use_is_replaced(first: list[bytes]) -> None:
    played = Played(first, [OK])
    assert [answer.status for answer in asked(played, times=2, most=1)] == [200, 200]
    assert played.connected == 2


def test_no_more_connections_are_open_at_once_than_allowed() -> None:
    played = Played(*[[OK]] * 50)
    answers = asked(played, times=50, most=4)
    assert [answer.status for answer in answers] == [200] * 50
    assert played.open_at_once <= 4
    assert max(answer.waited_s for answer in answers) > 0


def test_an_answer_that_does_not_come_is_an_error_and_the_next_has_a_connection_of_its_own() -> None:
    late, cut, wrong, good = asked(
        Played(SILENCE, CUT, [b"SSH-2.0-OpenSSH_9.6\r\n"], [OK]), times=4, most=1, within_s=0.2
    )
    assert isinstance(late, TimeoutError)
    assert isinstance(cut, ConnectionResetError)
    assert isinstance(wrong, NotHttp)
    assert good.status == 200


def test_nobody_there_is_an_error() -> None:
    async def ask() -> Answer:
        async with Connections("http://127.0.0.1:1", 1) as connections:
            return await connections.ask("GET", "/", within_s=5)

    with pytest.raises(ConnectionRefusedError):
        asyncio.run(ask())
