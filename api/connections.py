"""How requests are read from a connection: no more of one's beginning than any call needs, nor for longer."""

import asyncio
import resource
from collections.abc import Collection, Hashable
from typing import Any
from uuid import uuid4

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from api import problems

HEAD_BYTES_MAX = 65_536
"""A request line and headers have a few hundred bytes; what has more is not ours to remember."""

REQUEST_S = 30.0
"""How long a client may take for a request, 64 KiB at most, or to read anything of an answer."""

LOOKS_MEANWHILE = 4
"""How often in that time all connections are looked at."""

FILES_MAX = 65_536
"""As many connections as one process could serve; some systems set no limit, and take none, either."""


class BoundedHttp(HttpToolsProtocol):
    """uvicorn's own protocol, but that would gather a request line and headers without end.

    What is not HTTP is answered with a problem document, like all else.
    """

    _head_bytes: int | None = None
    """So much has come of a request whose headers are not complete, None between heads."""
    _requests = 0
    """How many have begun."""

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self.access_log = False  # whatever handlers there are: it would tell what stands behind `?token=`

    def on_message_begin(self) -> None:
        """A request begins."""
        self._head_bytes = 0
        self._requests += 1
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Its head is complete; bodies are bounded where they are read."""
        self._head_bytes = None
        super().on_headers_complete()

    def data_received(self, data: bytes) -> None:
        """Go on reading, or refuse a head that is too large and close the connection."""
        super().data_received(data)
        if self._head_bytes is None or self.transport.is_closing():
            return
        self._head_bytes += len(data)
        if self._head_bytes > HEAD_BYTES_MAX:
            self.send_400_response("The request line and headers are too large.")

    @property
    def _latest(self) -> RequestResponseCycle | None:
        """The latest request whose headers are complete; uvicorn does not say that there may be none."""
        return self.cycle

    def waits_for(self) -> Hashable:
        """What nothing can go on here without, if that is the client's to send or to read, else None.

        Not so between two requests: that time has a limit of its own.
        """
        if self.flow.write_paused:
            return "reading", self._requests, self.transport.get_write_buffer_size()
        if self.transport.is_closing():
            return None
        cycle = self._latest
        if cycle is None or cycle.response_complete:
            return None if self.timeout_keep_alive_task else ("request", self._requests)
        return ("body", self._requests) if cycle.more_body else None

    def cut_off(self) -> None:
        """Give up on a client; where a request has begun, and no answer to it has, say why."""
        cycle = self._latest
        in_body = cycle is not None and cycle.more_body and not cycle.response_started
        if (in_body or self._head_bytes is not None) and not self.flow.write_paused:
            self.send_400_response("The request did not come to its end in time.")
        else:
            self.transport.abort()

    def send_400_response(self, msg: str) -> None:
        """Say what is wrong, and close the connection: where the next request begins nobody knows.

        Where the answer to an earlier request is still due, that comes and nothing after it, since the
        client would take this for the earlier one's.
        """
        cycle = self._latest
        if cycle is not None and not cycle.response_complete and not cycle.more_body:
            cycle.keep_alive = False
            self.flow.pause_reading()
            return
        body = problems.encoded(problems.BadRequest(msg), "/")
        head = (
            b"content-type: %s\r\ncontent-length: %d\r\nx-request-id: %s\r\nconnection: close\r\n\r\n"
        ) % (problems.PROBLEM_TYPE, len(body), str(uuid4()).encode())
        self.transport.write(STATUS_LINE[problems.STATUS["BAD_REQUEST"]] + head + body)
        self.transport.close()


async def cut_off_who_stalls(connections: Collection[Any], within_s: float = REQUEST_S) -> None:
    """Give up on clients that neither send nor read for so long, or a quarter longer; until cancelled.

    Looking at all connections now and then costs the requests themselves nothing.
    """
    clock = asyncio.get_running_loop().time
    since: dict[tuple[BoundedHttp, Hashable], float] = {}
    while True:
        await asyncio.sleep(within_s / LOOKS_MEANWHILE)
        now = clock()
        waiting = [(each, what) for each in connections if (what := each.waits_for()) is not None]
        since = {wait: since.get(wait, now) for wait in waiting}
        for (connection, _), began_at in since.items():
            if now - began_at >= within_s:
                connection.cut_off()


def allow_many_connections() -> None:
    """Let this process have as many open files, and so connections, as the machine's owner lets it."""
    allowed, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES_MAX if most == resource.RLIM_INFINITY else min(most, FILES_MAX)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(allowed, wanted), most))
