"""A way to PostgreSQL that fails when a test says so: where a COMMIT passes, or any other message."""

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable
from enum import Enum, auto
from types import TracebackType
from typing import NamedTuple, Self

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
    GARBLE = auto()
    """The COMMIT reaches the server, and nobody can read what it answers."""
    SILENCE = auto()
    """The connection stays, but nothing passes any more, neither this COMMIT nor anything after it."""


class Passing(NamedTuple):
    """A message of a client on its way to the server."""

    application: str
    """The client's `application_name`."""
    port: int
    """The client's own, by which its process can be found."""
    statement: str
    """What it has the server execute, empty where it is another kind of message."""
    cut: Callable[[], None]
    """Cuts its connection."""


Trap = Callable[[Passing], Awaitable[None]]
"""Sees each message before it is passed on, and may keep it waiting, or cut its connection."""


class Proxy:
    """Passes on what clients and server say to one another. `faults` await the next COMMITs, one each."""

    def __init__(self, dsn: str) -> None:
        self.faults: deque[Fault] = deque()
        self.faults_of: str | None = None
        """Whose COMMITs: those of all, or of clients with this `application_name`."""
        self.trap: Trap | None = None
        self.refuse = False
        """Whether new connections are refused."""
        self.dsn = dsn
        """Where the proxy listens, once it has started."""
        self._server_dsn = dsn
        self._connections: set[_Connection] = set()

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
        await asyncio.gather(*(connection.ended.wait() for connection in tuple(self._connections)))

    def cut(self) -> None:
        """Cut all connections."""
        for connection in tuple(self._connections):
            connection.cut()

    def silence(self) -> None:
        """Let nothing pass any more on the connections there are."""
        for connection in self._connections:
            connection.silent = True

    def next_fault(self, application: str) -> Fault:
        """Tell what this client's COMMIT that has just come meets."""
        concerned = self.faults_of in {None, application}
        return self.faults.popleft() if self.faults and concerned else Fault.NONE

    async def _accept(self, from_client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        if self.refuse:
            to_client.close()
            return
        parameters = conninfo_to_dict(self._server_dsn)
        socket = f"{parameters['host']}/.s.PGSQL.{parameters.get('port') or 5432}"
        try:
            from_server, to_server = await asyncio.open_unix_connection(socket)
        except OSError:
            to_client.close()
            return
        connection = _Connection(self, from_client, to_client, from_server, to_server)
        self._connections.add(connection)
        try:
            await connection.run()
        finally:
            self._connections.discard(connection)


class _Connection:
    def __init__(
        self,
        proxy: Proxy,
        from_client: asyncio.StreamReader,
        to_client: asyncio.StreamWriter,
        from_server: asyncio.StreamReader,
        to_server: asyncio.StreamWriter,
    ) -> None:
        self.silent = self.garbled = False
        self.ended = asyncio.Event()
        self._proxy = proxy
        self._from_client, self._to_client = from_client, to_client
        self._from_server, self._to_server = from_server, to_server
        self._statements: dict[bytes, bytes] = {}
        self._application = ""

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
            introduction = await self._message(kind=b"")
            self._application = _application_name(introduction)
            await self._send(introduction)
            while True:
                kind = await self._from_client.readexactly(1)
                message = await self._message(kind)
                if self._proxy.trap is not None:
                    await self._proxy.trap(self._passing(kind, message))
                fault = self._fault_of(kind, message)
                if fault is Fault.LOSE_COMMIT:
                    break
                if fault is Fault.SILENCE:
                    self.silent = True
                if fault is Fault.GARBLE:
                    self.garbled = True
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
                    self._to_client.write(b"?" * len(answer) if self.garbled else answer)
                    await self._to_client.drain()
        self.cut()

    async def _send(self, message: bytes) -> None:
        if not self.silent:
            self._to_server.write(message)
            await self._to_server.drain()

    async def _message(self, kind: bytes) -> bytes:
        length = await self._from_client.readexactly(LENGTH)
        return kind + length + await self._from_client.readexactly(int.from_bytes(length) - LENGTH)

    def _passing(self, kind: bytes, message: bytes) -> Passing:
        _, port = self._to_client.get_extra_info("peername")
        return Passing(self._application, port, self._executed(kind, message), self.cut)

    def _fault_of(self, kind: bytes, message: bytes) -> Fault:
        if self._executed(kind, message) != "COMMIT":
            return Fault.NONE
        return self._proxy.next_fault(self._application)

    def _executed(self, kind: bytes, message: bytes) -> str:
        """Return the statement that a Bind has executed; a Parse is where it is learnt."""
        if kind not in {b"P", b"B"}:
            return ""
        words = message[1 + LENGTH :].split(b"\0", 2)
        if kind == b"P":
            self._statements[words[0]] = words[1]
            return ""
        return self._statements.get(words[1], b"").decode()


def _application_name(introduction: bytes) -> str:
    words = introduction.split(b"\0")
    named = words.index(b"application_name") if b"application_name" in words else None
    return "" if named is None else words[named + 1].decode()
