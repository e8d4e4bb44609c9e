"""A steady load: requests that are due at even intervals, whatever becomes of the ones before.

The latency of each counts from when it was due: a service that stalls is not spared those that had to wait.
"""

import asyncio
import gc
import math
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, cast

import uvloop

HEAD_END = b"\r\n\r\n"
LENGTH = b"content-length: "

LAST_ANSWER_WITHIN_S = 10
"""A service that leaves a request unanswered for so long after the end has failed."""


class Due(NamedTuple):
    """One request, and who wants to know what its answer says."""

    request: bytes
    kind: str
    tell: Callable[[bytes], None] | None = None


class Answered(NamedTuple):
    """What became of the requests of one kind."""

    each: Sequence[tuple[float, float]]
    """When it was due, in seconds from the beginning, and how many ms later it was answered."""
    statuses: Counter[int]

    def percentile(self, percent: float, first_s: float = 0.0, until_s: float = math.inf) -> float:
        """The latency in ms that so many percent do not exceed, of those that were due in that time."""
        return percentile(sorted(ms for due_s, ms in self.each if first_s <= due_s < until_s), percent)


def percentile(ordered: Sequence[float], percent: float) -> float:
    """The value that so many percent of them do not exceed; 0 where there are none."""
    if not ordered:
        return 0.0
    return ordered[max(0, -int(-len(ordered) * percent // 100) - 1)]


def steady(
    port: int, requests: Iterator[Due], *, rate: float, seconds: float, connections: int
) -> dict[str, Answered]:
    """Send `rate` requests a second for so long, or until they run out; return what became of each kind.

    Raises TimeoutError where the last answers do not come, ConnectionError where one is cut off.
    """
    load = _Load(requests, rate, seconds)
    gc.collect()
    gc.disable()  # its pauses would be taken for the service's
    try:
        uvloop.run(load.run(port, connections))
    finally:
        gc.enable()
    return {kind: Answered(each, load.statuses[kind]) for kind, each in load.each.items()}


class _Load:
    def __init__(self, requests: Iterator[Due], rate: float, seconds: float) -> None:
        self._requests = requests
        self._rate = rate
        self._seconds = seconds
        self._waiting: deque[tuple[Due, float]] = deque()
        self._free: deque[_Connection] = deque()
        """They take turns: one that nobody used for a minute would be closed by the service."""
        self._began = 0.0
        self.each: dict[str, list[tuple[float, float]]] = {}
        self.statuses: dict[str, Counter[int]] = {}

    async def run(self, port: int, connections: int) -> None:
        loop = asyncio.get_running_loop()
        opened = [
            await loop.create_connection(lambda: _Connection(self), "127.0.0.1", port)
            for _ in range(connections)
        ]
        self._free = deque(protocol for _, protocol in opened)
        async with asyncio.timeout(self._seconds + LAST_ANSWER_WITHIN_S):
            await self._send_all()
            while self._waiting or len(self._free) < connections:
                await asyncio.sleep(0.01)
                _raise_first(protocol for _, protocol in opened)
        for transport, _ in opened:
            transport.close()

    async def _send_all(self) -> None:
        self._began = time.perf_counter()
        for place in range(int(self._rate * self._seconds)):
            due_at = self._began + place / self._rate
            wait_s = due_at - time.perf_counter()
            if wait_s > 0:
                await asyncio.sleep(wait_s)
            following = next(self._requests, None)
            if following is None:
                return
            if self._free:
                self._free.popleft().send(following, due_at)
            else:
                self._waiting.append((following, due_at))

    def answered(self, connection: "_Connection", due: Due, due_at: float, status: int) -> None:
        latency_ms = (time.perf_counter() - due_at) * 1_000
        self.each.setdefault(due.kind, []).append((due_at - self._began, latency_ms))
        self.statuses.setdefault(due.kind, Counter())[status] += 1
        if self._waiting:
            connection.send(*self._waiting.popleft())
        else:
            self._free.append(connection)


def _raise_first(connections: "Iterator[_Connection]") -> None:
    for connection in connections:
        if connection.lost is not None:
            raise connection.lost


class _Connection(asyncio.Protocol):
    def __init__(self, load: _Load) -> None:
        self._load = load
        self._buffer = b""
        self._due: Due | None = None
        self._due_at = 0.0
        self._transport: asyncio.Transport | None = None
        self.lost: Exception | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._due is not None:
            self.lost = exc or ConnectionResetError("the server closed the connection")

    def send(self, due: Due, due_at: float) -> None:
        self._due, self._due_at = due, due_at
        if self._transport is not None:
            self._transport.write(due.request)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head_end = self._buffer.find(HEAD_END)
        if head_end < 0 or self._due is None:
            return
        body_start = head_end + len(HEAD_END)
        body_end = body_start + _length(self._buffer[:head_end])
        if len(self._buffer) < body_end:
            return
        due, self._due = self._due, None
        if due.tell is not None:
            due.tell(self._buffer[body_start:body_end])
        status = int(self._buffer[9:12])
        self._buffer = b""
        self._load.answered(self, due, self._due_at, status)


def _length(head: bytes) -> int:
    """Some answers, such as 304, have no body and need not say so."""
    start = head.find(LENGTH)
    return 0 if start < 0 else int(head[start + len(LENGTH) :].split(b"\r", 1)[0])
