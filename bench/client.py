"""A load generator that costs little: prepared requests over kept-alive connections, one in flight on each.

It reads of an answer what it needs to know where the next begins: the status and the length. So on a machine
with two cores most of the time is left to what is measured.
"""

import asyncio
import math
import time
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple, cast

import uvloop

HEAD_END = b"\r\n\r\n"
LENGTH = b"content-length: "

LAST_ANSWER_WITHIN_S = 10
"""A service that leaves a request unanswered for so long after the end has failed the benchmark."""


class Result(NamedTuple):
    """What one run came to."""

    answers: int
    seconds: float
    latencies_ms: list[float]
    """In order."""
    statuses: Counter[int]
    client_cpu: float
    """The share of one core that the client took."""
    bodies: list[bytes]
    """The answers' bodies, where they were asked for."""

    @property
    def rate(self) -> float:
        """Requests per second."""
        return self.answers / self.seconds

    def percentile(self, percent: float) -> float:
        """The latency in ms that so many percent stay below."""
        if not self.latencies_ms:
            return 0.0
        return self.latencies_ms[min(len(self.latencies_ms) - 1, int(len(self.latencies_ms) * percent / 100))]


def request(method: str, path: str, body: bytes = b"", bearer: str | None = None) -> bytes:
    """Prepare one request."""
    head = [f"{method} {path} HTTP/1.1", "host: 127.0.0.1", f"content-length: {len(body)}"]
    if bearer is not None:
        head.append(f"authorization: Bearer {bearer}")
    return "\r\n".join(head).encode() + HEAD_END + body


def run(
    port: int,
    requests: Iterator[bytes],
    *,
    connections: int,
    seconds: float,
    keep_bodies: bool = False,
    rate: float = math.inf,
) -> Result:
    """Send the requests until they or the time run out, `connections` at once, at most `rate` a second."""
    load = _Load(requests, seconds, rate, keep_bodies=keep_bodies)
    cpu = time.process_time()
    started = time.perf_counter()
    uvloop.run(load.run(port, connections))
    elapsed = time.perf_counter() - started
    latencies = sorted(latency * 1_000 for latency in load.latencies)
    client_cpu = (time.process_time() - cpu) / elapsed
    return Result(len(latencies), elapsed, latencies, load.statuses, client_cpu, load.bodies)


class _Load:
    def __init__(self, requests: Iterator[bytes], seconds: float, rate: float, *, keep_bodies: bool) -> None:
        self.requests = requests
        self.seconds = seconds
        self.rate = rate
        self.sent = 0
        self.keep_bodies = keep_bodies
        self.latencies: list[float] = []
        self.statuses: Counter[int] = Counter()
        self.bodies: list[bytes] = []
        self.began = self.deadline = 0.0

    def wait_s(self) -> float:
        """How long the next request has to wait for its turn."""
        self.sent += 1
        return self.began + self.sent / self.rate - time.perf_counter()

    async def run(self, port: int, connections: int) -> None:
        loop = asyncio.get_running_loop()
        opened = [
            loop.create_connection(lambda: _Connection(self), "127.0.0.1", port) for _ in range(connections)
        ]
        protocols = [protocol for _, protocol in await asyncio.gather(*opened)]
        self.began = time.perf_counter()
        self.deadline = self.began + self.seconds
        for protocol in protocols:
            protocol.send_next()
        within_s = None if math.isinf(self.seconds) else self.seconds + LAST_ANSWER_WITHIN_S
        async with asyncio.timeout(within_s):
            await asyncio.gather(*(protocol.done for protocol in protocols))


class _Connection(asyncio.Protocol):
    def __init__(self, load: _Load) -> None:
        self._load = load
        self._buffer = b""
        self._sent_at = 0.0
        self._transport: asyncio.Transport | None = None
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(exc or ConnectionResetError("the server closed the connection"))

    def send_next(self) -> None:
        """Send the next request when it is its turn: latency counts from there."""
        wait_s = self._load.wait_s()
        if wait_s > 0:
            asyncio.get_running_loop().call_later(wait_s, self._send)
        else:
            self._send()

    def _send(self) -> None:
        self._sent_at = time.perf_counter()
        following = None if self._sent_at >= self._load.deadline else next(self._load.requests, None)
        transport = self._transport
        if transport is None:
            return
        if following is None:
            self.done.set_result(None)
            transport.close()
        else:
            transport.write(following)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head_end = self._buffer.find(HEAD_END)
        if head_end < 0:
            return
        start = self._buffer.find(LENGTH) + len(LENGTH)
        length = int(self._buffer[start : self._buffer.find(b"\r", start)])
        body_start = head_end + len(HEAD_END)
        if len(self._buffer) < body_start + length:
            return
        self._load.latencies.append(time.perf_counter() - self._sent_at)
        self._load.statuses[int(self._buffer[9:12])] += 1
        if self._load.keep_bodies:
            self._load.bodies.append(self._buffer[body_start : body_start + length])
        self._buffer = b""
        self.send_next()
