"""A way to PostgreSQL that fails when a test says so, just where a COMMIT passes."""

import asyncio
import contextlib
from collections import deque
from enum import Enum, auto
from types import TracebackType
from typing import Self

from psycopg.conninfo import conninfo_to_dict, make_conninfo

LENGTH = 4
"""Bytes of a message's length, which counts itself."""


class Fault(Enum):
    """What becomes of a COMMIT, and of the connection that it was sent on."""

    NONE = auto()
    LOSE_COMMIT = auto()
    """The connection is cut before the COMMIT reaches the server."""
    LOSE_ACKNOWLEDGEMENT = auto()
    """The COMMIT reaches the server, and then the connection is cut."""
    SILENCE = auto()
    """The connection stays, but nothing passes any more, neither this COMMIT nor anything after it."""


class Proxy:
    """Passes on what clients and server say to one another. `faults` await the next COMMITs, one each."""

    def __init__(self, dsn: str) -> None:
        self.faults: deque[Fault] = deque()
        self.refuse = False
        """Whether new connections are refused."""
        self.dsn = dsn
        """Where the proxy listens, once it has started."""
        self._server_dsn = dsn
        self._connections: list[_Connection] = []

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        self.dsn = make_conninfo(
            self._server_dsn, host="127.0.0.1", port=port, sslmode="disable", gssencmode="disable"
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        self.cut()
        await asyncio.gather(*(connection.ended.wait() for connection in self._connections))

    def cut(self) -> None:
        """Cut all connections."""
        for connection in self._connections:
            connection.cut()

    def silence(self) -> None:
        """Let nothing pass any more on the connections there are."""
        for connection in self._connections:
            connection.silent = True

    def next_fault(self) -> Fault:
        """Tell what the COMMIT that has just come meets."""
        return self.faults.popleft() if self.faults else Fault.NONE

    async def _accept(self, from_client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        if self.refuse:
            to_client.close()
            return
        parameters = conninfo_to_dict(self._server_dsn)
        socket = f"{parameters['host']}/.s.PGSQL.{parameters.get('port') or 5432}"
        from_server, to_server = await asyncio.open_unix_connection(socket)
        connection = _Connection(self, from_client, to_client, from_server, to_server)
        self._connections.append(connection)
        await connection.run()


class _Connection:
    def __init__(
        self,
        proxy: Proxy,
        from_client: asyncio.StreamReader,
        to_client: asyncio.StreamWriter,
        from_server: asyncio.StreamReader,
        to_server: asyncio.StreamWriter,
    ) -> None:
        self.silent = False
        self.ended = asyncio.Event()
        self._proxy = proxy
        self._from_client, self._to_client = from_client, to_client
        self._from_server, self._to_server = from_server, to_server
        self._statements: dict[bytes, bytes] = {}

    async def run(self) -> None:
        """Pass on until either side ends."""
        try:
            await asyncio.gather(self._pass_requests(), self._pass_answers())
        finally:
            self.cut()
            self.ended.set()

    def cut(self) -> None:
        """End both sides."""
        self._to_client.close()
        self._to_server.close()

    async def _pass_requests(self) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            await self._send(await self._message(kind=b""))
            while True:
                kind = await self._from_client.readexactly(1)
                message = await self._message(kind)
                fault = self._proxy.next_fault() if self._commits(kind, message) else Fault.NONE
                if fault is Fault.LOSE_COMMIT:
                    break
                if fault is Fault.SILENCE:
                    self.silent = True
                if fault is Fault.LOSE_ACKNOWLEDGEMENT:
                    await self._commit_and_cut(message)
                    return
                await self._send(message)
        self.cut()

    async def _commit_and_cut(self, message: bytes) -> None:
        """Pass on up to the Sync that has the server answer; the answer is not for the client."""
        self._to_client.transport.abort()
        await self._send(message)
        while (kind := await self._from_client.readexactly(1)) != b"S":
            await self._send(await self._message(kind))
        await self._send(await self._message(kind))

    async def _pass_answers(self) -> None:
        with contextlib.suppress(ConnectionError):
            while answer := await self._from_server.read(65_536):
                if not self.silent and not self._to_client.is_closing():
                    self._to_client.write(answer)
                    await self._to_client.drain()
        self.cut()

    async def _send(self, message: bytes) -> None:
        if not self.silent:
            self._to_server.write(message)
            await self._to_server.drain()

    async def _message(self, kind: bytes) -> bytes:
        length = await self._from_client.readexactly(LENGTH)
        return kind + length + await self._from_client.readexactly(int.from_bytes(length) - LENGTH)

    def _commits(self, kind: bytes, message: bytes) -> bool:
        words = message[1 + LENGTH :].split(b"\0")
        if kind == b"P":
            self._statements[words[0]] = words[1]
        return kind == b"B" and self._statements.get(words[1]) == b"COMMIT"
