"""How requests are read from a connection: no more of one's beginning than any call needs, nor for longer."""

import asyncio
import math
import resource
import time
from collections.abc import Collection, Hashable
from typing import Any
from urllib.parse import unquote

import httptools
from uvicorn.protocols.http.flow_control import CLOSE_HEADER
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from aggregates.errors import DomainError
from api import problems
from api.call import Headers
from commands.fresh_ids import fresh_id

LINES_BESIDE_HEADERS = 2
"""Of a head: the status before them, and an empty one after them."""

HEAD_BYTES_MAX = 65_536
"""A request line and headers have a few hundred bytes; what has more is not ours to remember."""

AHEAD_MAX = 256
"""So many requests may wait for the answers before theirs: each takes a hundred times its bytes of memory."""

REQUEST_S = 30.0
"""How long a client may take for a request, 64 KiB at most, or to read anything of an answer."""

LOOKS_MEANWHILE = 4
"""How often in that time all connections are looked at."""

NOT_IDLE = math.inf

FILES_MAX = 65_536
"""As many connections as one process could serve; some systems set no limit, and take none, either."""


class Exchange(RequestResponseCycle):
    """One request and its answer. Of an answer that is whole, head and body are written together.

    uvicorn's own writes them one after the other, and looks for what may not be in each name and each value.
    """

    _start: Any = None
    """What the answer begins with, until it is known whether the body is whole."""
    _refusal: DomainError | None = None

    def refuse_body(self, refusal: DomainError) -> None:
        """Have whoever reads the body, now or later, learn what is wrong with it."""
        self._refusal = refusal
        self.message_event.set()

    async def receive(self) -> Any:
        """Wait for more of the body. Raises what is wrong with it."""
        message = await super().receive()
        if self._refusal is not None and message["type"] == "http.request":
            raise self._refusal
        return message

    async def send(self, message: Any) -> None:
        """Write an answer that is whole, or have uvicorn write what comes in parts."""
        if self.response_started:
            await super().send(message)
        elif message["type"] == "http.response.start":
            self._start = message
        elif message.get("more_body", False) or self.scope["method"] == "HEAD":
            await super().send(self._start)
            await super().send(message)
        else:
            await self._answer(self._start["status"], self._start["headers"], message["body"])

    async def send_500_response(self) -> None:
        """What fails outside of an endpoint is told like all else."""
        self.keep_alive = False
        await self._answer(*_refusal(problems.InternalError(str(fresh_id()))))

    async def _answer(self, status: int, headers: Headers, body: bytes) -> None:
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected or self.transport.is_closing():
            self.disconnected = True  # which uvicorn tells the latest exchange of a connection alone
            return
        head = _head(status, (*self.default_headers, *headers), keep_alive=self.keep_alive)
        self.response_started = self.response_complete = True
        self.transport.writelines((head, body))
        self.message_event.set()
        if not self.keep_alive:
            self.transport.close()
        self.on_response()


class BoundedHttp(HttpToolsProtocol):
    """uvicorn's own protocol, but that would gather a request line, headers and trailers without end.

    What is not HTTP is answered with a problem document, like all else.
    """

    _head_bytes: int | None = None
    """So much has come of a head, or of trailers; None outside of them."""
    _piece_bytes = 0
    """The length of what came last,"""
    _others_bytes = 0
    """all of which may belong to what was before, if something was: then it does not count."""
    _requests = 0
    """How many have begun."""
    _idle_since = NOT_IDLE
    """Since when all is answered, and nothing has come."""

    def on_message_begin(self) -> None:
        """A request begins."""
        self._head_bytes = -self._others_bytes
        self._requests += 1
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Its head is complete: answer it, after those before it. Bodies are bounded where they are read.

        What comes as trailers is no header: whoever vouches for those may not have looked at it. Raises
        ValueError where the request is not to be answered.
        """
        self._end_of_head()
        parser: Any = self.parser
        if parser.should_upgrade():
            if parser.get_method() == b"CONNECT":
                raise ValueError("this is no proxy")
            return
        if len(self.pipeline) == AHEAD_MAX:
            raise ValueError("too many requests wait for the answers before theirs")
        app: Any = self.app
        earlier = self._latest
        self.cycle = self._exchange()
        self.headers = []
        if earlier is None or earlier.response_complete:
            self._start_asgi_task(self.cycle, app)
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((self.cycle, app))

    def on_chunk_header(self) -> None:
        """A chunk begins or, if nothing of a body comes, the trailers."""
        self._head_bytes = -self._others_bytes

    def on_body(self, body: bytes) -> None:
        """Some of a body came."""
        self._end_of_head()
        super().on_body(body)

    def on_chunk_complete(self) -> None:
        """A chunk has come, or all trailers have."""
        self._end_of_head()

    def _end_of_head(self) -> None:
        self._head_bytes = None
        self._others_bytes = self._piece_bytes

    def _exchange(self) -> Exchange:
        parser: Any = self.parser
        scope, version = self.scope, parser.get_http_version()
        target = httptools.parse_url(self.url)
        path = target.path.decode("ascii")
        scope["method"] = parser.get_method().decode("ascii")
        scope["http_version"] = version
        scope["path"] = unquote(path) if "%" in path else path
        scope["raw_path"] = target.path
        scope["query_string"] = target.query or b""
        return Exchange(
            scope,
            self.transport,
            self.flow,
            self.logger,
            self.access_logger,
            access_log=False,  # whatever handlers there are: it would tell what stands behind `?token=`
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=self.expect_100_continue and version != "1.0",
            keep_alive=version != "1.0" and parser.should_keep_alive(),
            on_response=self.on_response_complete,
        )

    def on_response_complete(self) -> None:
        """An answer has been written: go on with the next request, if that has come already.

        uvicorn would set a timer for each answer, and stop it with the next request: see `close_if_idle`.
        """
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
            return
        self.flow.resume_reading()
        if self._head_bytes is None:
            self._idle_since = time.monotonic()

    def data_received(self, data: bytes) -> None:
        """Go on reading, or refuse a head that is too large and close the connection."""
        self._idle_since = NOT_IDLE
        self._piece_bytes, self._others_bytes = len(data), 0
        self._read(data)
        if self._head_bytes is None or self.transport.is_closing():
            return
        self._head_bytes += self._piece_bytes
        if self._head_bytes > HEAD_BYTES_MAX:
            self.send_400_response("The request line and headers are too large.")

    def _read(self, data: bytes) -> None:
        """Read on. Who asks for another protocol is answered in this one (RFC 9110, 7.8).

        The parser would take the body of such a request for whatever comes next. So it reads the head again
        as if nothing had been asked for, and then what follows.
        """
        parser: Any = self.parser
        while data:
            try:
                parser.feed_data(data)
                data = b""
            except httptools.HttpParserUpgrade as upgrade:
                data = self._head_without_upgrade() + data[upgrade.args[0] :]
            except httptools.HttpParserError:
                self.send_400_response("Invalid HTTP request received.")
                data = b""

    def _head_without_upgrade(self) -> bytes:
        parser: Any = self.parser
        target, version = self.url, parser.get_http_version().encode()
        lines = [b"%s: %s\r\n" % header for header in self.headers if header[0] != b"upgrade"]
        return b"%s %s HTTP/%s\r\n%s\r\n" % (parser.get_method(), target, version, b"".join(lines))

    def _should_upgrade(self) -> bool:
        """What the parser says of a request that asks for another protocol is not to be believed."""
        return True

    @property
    def _latest(self) -> RequestResponseCycle | None:
        """The latest request whose headers are complete; uvicorn does not say that there may be none."""
        return self.cycle

    def waits_for(self) -> Hashable:
        """What nothing can go on here without, if that is the client's to send or to read, else None.

        Not so between two requests: that time has a limit of its own.
        """
        if unread := self.transport.get_write_buffer_size():
            return "reading", self._requests, unread
        if self.transport.is_closing():
            return None
        cycle = self._latest
        if cycle is None or cycle.response_complete:
            return ("request", self._requests) if self._idle_since == NOT_IDLE else None
        return ("body", self._requests) if cycle.more_body else None

    def close_if_idle(self, now: float) -> None:
        """Close the connection where the client has asked for nothing more for long enough."""
        if now - self._idle_since >= self.timeout_keep_alive:
            self.transport.close()

    def cut_off(self) -> None:
        """Give up on a client; where a request has begun, and no answer to it has, say why."""
        cycle = self._latest
        in_body = cycle is not None and cycle.more_body and not cycle.response_started
        if (in_body or self._head_bytes is not None) and not self.transport.get_write_buffer_size():
            self.send_400_response("The request did not come to its end in time.")
        else:
            self.transport.abort()

    def send_400_response(self, msg: str) -> None:
        """Say what is wrong, and close the connection: where the next request begins nobody knows.

        Where answers are still due, those come and nothing after them, since the client would take this for
        one of them. If a body is what is wrong, whoever reads that is told.
        """
        cycle: Any = self._latest
        if cycle is not None and not cycle.response_complete:
            cycle.keep_alive = False
            if cycle.more_body:
                cycle.refuse_body(problems.BadRequest(msg))
            self.flow.pause_reading()
            return
        status, headers, body = _refusal(problems.BadRequest(msg))
        head = _head(status, (*self.server_state.default_headers, *headers), keep_alive=False)
        self.transport.writelines((head, body))
        self.transport.close()


def _head(status: int, headers: Headers, *, keep_alive: bool) -> bytes:
    """What stands before the body. Raises ValueError for a header that would be more than one."""
    if not keep_alive:
        headers = (*headers, CLOSE_HEADER)
    pieces = [STATUS_LINE[status]]
    for name, value in headers:
        pieces.extend((name, b": ", value, b"\r\n"))
    head = b"".join((*pieces, b"\r\n"))
    if head.count(b"\n") != len(headers) + LINES_BESIDE_HEADERS:
        raise ValueError("a header would be more than one")
    return head


def _refusal(error: DomainError) -> tuple[int, Headers, bytes]:
    """Refuse what no endpoint has come to see."""
    body = problems.encoded(error, "/")
    headers = (
        (b"content-type", problems.PROBLEM_TYPE),
        (b"content-length", b"%d" % len(body)),
        (b"x-request-id", str(error.members.get("request_id", fresh_id())).encode()),
    )
    return problems.STATUS[error.code], headers, body


async def cut_off_who_stalls(connections: Collection[Any], within_s: float = REQUEST_S) -> None:
    """Give up on clients that neither send nor read for so long, or a quarter longer; until cancelled.

    And on those that ask for nothing more. Looking at all connections now and then costs the requests
    themselves nothing.
    """
    since: dict[tuple[BoundedHttp, Hashable], float] = {}
    while True:
        await asyncio.sleep(within_s / LOOKS_MEANWHILE)
        now = time.monotonic()
        for connection in connections:
            connection.close_if_idle(now)
        waiting = [(each, what) for each in connections if (what := each.waits_for()) is not None]
        since = {wait: since.get(wait, now) for wait in waiting}
        for (stalling, _), began_at in since.items():
            if now - began_at >= within_s:
                stalling.cut_off()


def allow_many_connections() -> None:
    """Let this process have as many open files, and so connections, as the machine's owner lets it."""
    allowed, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES_MAX if most == resource.RLIM_INFINITY else min(most, FILES_MAX)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(allowed, wanted), most))
