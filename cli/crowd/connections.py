"""HTTP over a bounded number of connections, at little cost: a crowd asks thousands of times a second.

A general client spends more on a call than the service does, and the two may share a machine.
"""

import asyncio
import ssl
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Final, NamedTuple, Self, cast
from urllib.parse import urlsplit

import httptools

IDLE_S_MAX: Final = 15.0
"""Shorter than servers and proxies keep a connection that nobody uses: none is closed while it is asked."""

DEFAULT_PORTS: Final = {"http": 80, "https": 443}

FIRST_FINAL_STATUS: Final = 200
"""What is below only says that the answer is still to come."""


class NotHttp(Exception):
    """Something came over a connection that is no answer."""


class Answer(NamedTuple):
    """What came back."""

    status: int
    headers: Mapping[bytes, bytes]
    """By their names in lower case."""
    body: bytes
    waited_s: float
    """Until one of the connections was free."""
    took_s: float
    """From then on, with connecting, where that was needed."""


class Connections:
    """Connections to one address, at most so many at once, each used again for later calls."""

    def __init__(self, url: str, most: int) -> None:
        """`url` says where calls' targets begin, without a slash at its end."""
        parts = urlsplit(url)
        self._host = parts.hostname or ""
        self._port = parts.port or DEFAULT_PORTS[parts.scheme]
        self._tls = ssl.create_default_context() if parts.scheme == "https" else None
        self._prefix = parts.path
        self._fixed_headers = f"Host: {parts.netloc.rpartition('@')[2]}\r\nAccept: application/json\r\n"
        self._free = asyncio.Semaphore(most)
        self._idle: list[_Connection] = []

    async def __aenter__(self) -> Self:
        """Connections are made as they are needed."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        """Close those that are idle; one that is in use ends with its call."""
        for connection in self._idle:
            connection.close()

    async def ask(
        self,
        method: str,
        target: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        within_s: float,
    ) -> Answer:
        """Send one request, and return its answer. Raises OSError (TimeoutError among others) and NotHttp."""
        request = self._request(method, target, headers or {}, body)
        asked_at = time.perf_counter()
        async with self._free:
            began_at = time.perf_counter()
            async with asyncio.timeout(within_s):
                connection = self._idle_one() or await self._connect()
                try:
                    status, answered, content = await connection.ask(request)
                finally:
                    self._put_back(connection)
        took_s = time.perf_counter() - began_at
        return Answer(status, answered, content, began_at - asked_at, took_s)

    def _request(self, method: str, target: str, headers: Mapping[str, str], body: bytes | None) -> bytes:
        head = f"{method} {self._prefix}{target} HTTP/1.1\r\n{self._fixed_headers}"
        for name, value in headers.items():
            head += f"{name}: {value}\r\n"
        if body is None:
            return head.encode() + b"\r\n"
        return f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body

    def _idle_one(self) -> "_Connection | None":
        """The connection that was used last, if there is one that is open and was used lately."""
        while self._idle:
            connection = self._idle.pop()
            if connection.can_be_used_again and time.perf_counter() - connection.used_at < IDLE_S_MAX:
                return connection
            connection.close()
        return None

    async def _connect(self) -> "_Connection":
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(_Connection, self._host, self._port, ssl=self._tls)
        return connection

    def _put_back(self, connection: "_Connection") -> None:
        if connection.can_be_used_again:
            connection.used_at = time.perf_counter()
            self._idle.append(connection)
        else:
            connection.close()


class _Connection(asyncio.Protocol):
    """One connection, on which one request at a time is under way."""

    def __init__(self) -> None:
        self.can_be_used_again = False
        """Whether it is open, and everything that was asked on it has been answered."""
        self.used_at = 0.0
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self._headers: dict[bytes, bytes] = {}
        self._pieces: list[bytes] = []
        self._answer: asyncio.Future[tuple[int, Mapping[bytes, bytes], bytes]] | None = None

    async def ask(self, request: bytes) -> tuple[int, Mapping[bytes, bytes], bytes]:
        """Send a request; return its answer's status, headers and body. Raises OSError and NotHttp."""
        if self._transport is None:
            raise AssertionError("a connection is asked once it has been made")
        self.can_be_used_again = False
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._answer

    def close(self) -> None:
        """Whatever is still to come is of no use any more."""
        self.can_be_used_again = False
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember where to write."""
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """An answer that is still due will not come."""
        self._fail(exc or ConnectionResetError("the connection was closed"))

    def data_received(self, data: bytes) -> None:
        """Go on reading the answer; what nobody has asked for ends the connection."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(NotHttp(str(error)))
            self.close()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header."""
        self._headers[name.lower()] = value

    def on_body(self, body: bytes) -> None:
        """Keep a piece of the body."""
        self._pieces.append(body)

    def on_message_complete(self) -> None:
        """Hand the answer over."""
        status, headers, body = self._parser.get_status_code(), self._headers, b"".join(self._pieces)
        self._headers, self._pieces = {}, []
        if status < FIRST_FINAL_STATUS:
            return
        if self._answer is None or self._answer.done():
            self.close()
            return
        self.can_be_used_again = self._parser.should_keep_alive()
        self._answer.set_result((status, headers, body))

    def _fail(self, error: Exception) -> None:
        self.can_be_used_again = False
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)
