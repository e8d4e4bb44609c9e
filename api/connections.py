"""How requests are read from a connection: no more of one's beginning than any call needs."""

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_BYTES_MAX = 65_536
"""A request line and headers have a few hundred bytes; what has more is not ours to remember."""


class BoundedHttp(HttpToolsProtocol):
    """uvicorn's own protocol, but that would gather a request line and headers without end."""

    _head_bytes: int | None = None
    """So much has come of a request whose headers are not complete, None between heads."""

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
