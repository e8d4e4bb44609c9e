"""How requests are read from a connection: no more of one's beginning than any call needs."""

from typing import Any
from uuid import uuid4

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from api import problems

HEAD_BYTES_MAX = 65_536
"""A request line and headers have a few hundred bytes; what has more is not ours to remember."""


class BoundedHttp(HttpToolsProtocol):
    """uvicorn's own protocol, but that would gather a request line and headers without end.

    What is not HTTP is answered with a problem document, like all else.
    """

    _head_bytes: int | None = None
    """So much has come of a request whose headers are not complete, None between heads."""

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self.access_log = False  # whatever handlers there are: it would tell what stands behind `?token=`

    def on_message_begin(self) -> None:
        """A request begins."""
        self._head_bytes = 0
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

    def send_400_response(self, msg: str) -> None:
        """Say what is wrong, and close the connection: where the next request begins nobody knows."""
        body = problems.encoded(problems.BadRequest(msg), "/")
        head = (
            b"content-type: %s\r\ncontent-length: %d\r\nx-request-id: %s\r\nconnection: close\r\n\r\n"
        ) % (problems.PROBLEM_TYPE, len(body), str(uuid4()).encode())
        self.transport.write(STATUS_LINE[problems.STATUS["BAD_REQUEST"]] + head + body)
        self.transport.close()
