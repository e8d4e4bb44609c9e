"""A load generator that costs little: prepared requests over kept-alive connections, one in flight on each.

It reads of an answer what it needs to know where the next begins: the status and the length. So on a machine
with two cores most of the time is left to what is measured.
"""

import asyncio
import gc
import math
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple, TypeAlias, cast

import uvloop

HEAD_END = b"\r\n\r\n"
LENGTH = b"content-length: "

LAST_ANSWER_WITHIN_S = 10
"""A service that leaves a request unanswered for so long after the end has failed the benchmark."""


class Answer(NamedTuple):
    """What a flow is told of an answer."""

    status: int
    body: bytes


Flow: TypeAlias = Generator[bytes, Answer, None]
"""What one connection does: it yields requests, and is sent their answers."""


class Result(NamedTuple):
    """What one run came to."""

    answers: int
    """Those that count: after the warming up."""
    seconds: float
    latencies_ms: list[float]
    """In order."""
    statuses: Counter[int]
    """Of all answers."""
    client_cpu: float
    """The share of one core that the client took."""
    bodies: list[bytes]
    """The answers' bodies, where they were asked for."""
    body_bytes: int
    """How long all the answers' bodies were together."""

    @property
    def rate(self) -> float:
        """Requests per second."""
        return self.answers / self.seconds

    @property
    def body_bytes_mean(self) -> int:
        """How long an answer's body was."""
        return self.body_bytes // max(1, self.statuses.total())

    def percentile(self, percent: float) -> float:
        """The latency in ms that so many percent stay below."""
        if not self.latencies_ms:
            return 0.0
        return self.latencies_ms[min(len(self.latencies_ms) - 1, int(len(self.latencies_ms) * percent / 100))]


def request(
    method: str, path: str, body: bytes = b"", bearer: str | None = None, *, etag: str | None = None
) -> bytes:
    """Prepare one request."""
    head = [f"{method} {path} HTTP/1.1", "host: 127.0.0.1"]
    if body:
        head += ["content-type: application/json", f"content-length: {len(body)}"]
    if bearer is not None:
        head.append(f"authorization: Bearer {bearer}")
    if etag is not None:
        head.append(f"if-none-match: {etag}")
    return "\r\n".join(head).encode() + HEAD_END + body


def run(
    port: int,
    requests: Iterator[bytes],
    *,
    connections: int,
    seconds: float,
    keep_bodies: bool = False,
    rate: float = math.inf,
    warm_s: float = 0.0,
) -> Result:
    """Send the requests until they or the time run out, `connections` at once, at most `rate` a second.

    What is answered in the first `warm_s` does not count, but in the statuses.
    """
    load = _Load(seconds, rate, warm_s, keep_bodies=keep_bodies)
    return _result(load, port, [lambda _: next(requests, None)] * connections)


def run_flows(port: int, flows: Sequence[Flow], *, seconds: float, warm_s: float = 0.0) -> Result:
    """Let each flow go on over a connection of its own until it ends or the time runs out.

    Raises what a flow raises.
    """
    load = _Load(seconds, math.inf, warm_s, tells_answers=True)
    return _result(load, port, [_steps(flow) for flow in flows])


Following: TypeAlias = Callable[[Answer | None], bytes | None]
"""What a connection sends next, after this answer; None at the end."""


def _steps(flow: Flow) -> Following:
    def following(answer: Answer | None) -> bytes | None:
        try:
            return next(flow) if answer is None else flow.send(answer)
        except StopIteration:
            return None

    return following


def _result(load: "_Load", port: int, followings: Sequence[Following]) -> Result:
    cpu, started = time.process_time(), time.perf_counter()
    with _uncollected():
        uvloop.run(load.run(port, followings))
    ended = time.perf_counter()
    client_cpu = (time.process_time() - cpu) / (ended - started)
    latencies = sorted(latency * 1_000 for latency in load.latencies)
    seconds = ended - load.counts_from
    return Result(len(latencies), seconds, latencies, load.statuses, client_cpu, load.bodies, load.body_bytes)


@contextmanager
def _uncollected() -> Iterator[None]:
    """Look for no circles of garbage meanwhile: the pauses would be taken for the server's."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


class _Load:
    def __init__(
        self,
        seconds: float,
        rate: float,
        warm_s: float,
        *,
        keep_bodies: bool = False,
        tells_answers: bool = False,
    ) -> None:
        self.seconds = seconds
        self.rate = rate
        self.warm_s = warm_s
        self.keeps_bodies = keep_bodies
        self.tells_answers = tells_answers
        self.sent = 0
        self.latencies: list[float] = []
        self.statuses: Counter[int] = Counter()
        self.bodies: list[bytes] = []
        self.body_bytes = 0
        self.began = self.counts_from = self.deadline = 0.0

    def wait_s(self) -> float:
        """How long the next request has to wait for its turn."""
        self.sent += 1
        return self.began + self.sent / self.rate - time.perf_counter()

    async def run(self, port: int, followings: Sequence[Following]) -> None:
        loop = asyncio.get_running_loop()

        async def connected(following: Following) -> _Connection:
            return (await loop.create_connection(lambda: _Connection(self, following), "127.0.0.1", port))[1]

        connections = await asyncio.gather(*map(connected, followings))
        self.began = time.perf_counter()
        self.counts_from = self.began + self.warm_s
        self.deadline = self.counts_from + self.seconds
        for connection in connections:
            connection.send_next(None)
        within_s = self.deadline - self.began + LAST_ANSWER_WITHIN_S
        async with asyncio.timeout(None if math.isinf(within_s) else within_s):
            await asyncio.gather(*(connection.done for connection in connections))


class _Connection(asyncio.Protocol):
    def __init__(self, load: _Load, following: Following) -> None:
        self._load = load
        self._following = following
        self._received: list[bytes] = []
        self._missing_bytes = 0
        """Of the answer that has begun to come; 0 where its head says nothing yet."""
        self._sent_at = 0.0
        self._transport: asyncio.Transport | None = None
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(exc or ConnectionResetError("the server closed the connection"))

    def send_next(self, answer: Answer | None) -> None:
        """Send the next request when it is its turn: latency counts from there."""
        wait_s = self._load.wait_s()
        if wait_s > 0:
            asyncio.get_running_loop().call_later(wait_s, self._send, answer)
        else:
            self._send(answer)

    def _send(self, answer: Answer | None) -> None:
        self._sent_at = time.perf_counter()
        transport = self._transport
        if transport is None or self.done.done():
            return
        try:
            following = None if self._sent_at >= self._load.deadline else self._following(answer)
        except Exception as error:  # noqa: BLE001 (it is whoever runs the flows that is to know)
            self.done.set_exception(error)
            transport.abort()
            return
        if following is None:
            self.done.set_result(None)
            transport.close()
        else:
            transport.write(following)

    def data_received(self, data: bytes) -> None:
        """Put together what has come, once the length that the head has told is there."""
        self._received.append(data)
        self._missing_bytes -= len(data)
        if self._missing_bytes > 0:
            return
        whole = data if len(self._received) == 1 else b"".join(self._received)
        head_end = whole.find(HEAD_END)
        if head_end < 0:
            self._missing_bytes = 0
            return
        body_start = head_end + len(HEAD_END)
        length = _content_length(whole, head_end)
        self._missing_bytes = body_start + length - len(whole)
        if self._missing_bytes > 0:
            return
        self._received.clear()
        self._missing_bytes = 0
        self._answered(whole, body_start, length)

    def _answered(self, whole: bytes, body_start: int, length: int) -> None:
        load, now = self._load, time.perf_counter()
        if now >= load.counts_from:
            load.latencies.append(now - self._sent_at)
        status = int(whole[9:12])
        load.statuses[status] += 1
        load.body_bytes += length
        if load.keeps_bodies:
            load.bodies.append(whole[body_start:])
        self.send_next(Answer(status, whole[body_start:]) if load.tells_answers else None)


def _content_length(whole: bytes, head_end: int) -> int:
    """How long the body is; 304 and 204 have none, and do not say so (RFC 9110, 8.6)."""
    start = whole.find(LENGTH, 0, head_end)
    if start < 0:
        return 0
    start += len(LENGTH)
    return int(whole[start : whole.find(b"\r", start)])
