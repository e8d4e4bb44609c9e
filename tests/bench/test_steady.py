"""A steady load asks when it is time to, and counts from there."""

import asyncio
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress

import pytest

from bench.client import request
from bench.steady import Answered, Due, percentile, steady

ANSWERS = {
    b"GET /here": b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nhere",
    b"GET /same": b"HTTP/1.1 304 Not Modified\r\netag: 1\r\n\r\n",
}


@contextmanager
def served(delay_s: float = 0.0, counts: Counter[str] | None = None) -> Iterator[int]:
    """Answer one request after the other, each so long after it has come, until all clients have gone.

    `counts` is told how many came on each connection.
    """
    served_at = Counter() if counts is None else counts
    answering = asyncio.Semaphore(1)
    port: Future[int] = Future()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError):
            while True:
                asked = await reader.readuntil(b"\r\n\r\n")
                served_at[writer.get_extra_info("peername")] += 1
                async with answering:
                    await asyncio.sleep(delay_s)
                writer.write(ANSWERS[asked.partition(b" HTTP/1.1")[0]])
        writer.close()
        await writer.wait_closed()

    async def serve(stop: asyncio.Event) -> None:
        visitors: list[asyncio.Task[None]] = []
        server = await asyncio.start_server(
            lambda *ends: visitors.append(asyncio.create_task(answer(*ends))), "127.0.0.1", 0
        )
        port.set_result(server.sockets[0].getsockname()[1])
        await stop.wait()
        server.close()
        await asyncio.gather(*visitors)

    with asyncio.Runner() as runner:
        loop, stop = runner.get_loop(), asyncio.Event()
        thread = threading.Thread(target=runner.run, args=[serve(stop)])
        thread.start()
        try:
            yield port.result(10)
        finally:
            loop.call_soon_threadsafe(stop.set)
            thread.join()


def test_each_kind_is_counted_by_itself() -> None:
    bodies: list[bytes] = []
    requests = [Due(request("GET", "/here"), "here", bodies.append), Due(request("GET", "/same"), "same")] * 5
    with served() as port:
        found = steady(port, iter(requests), rate=1_000, seconds=60, connections=2)
    assert found["here"].statuses == {200: 5}
    assert found["same"].statuses == {304: 5}
    assert bodies == [b"here"] * 5


def test_who_has_to_wait_for_others_is_counted_from_when_it_was_due() -> None:
    requests = [Due(request("GET", "/here"), "here")] * 20
    with served(delay_s=0.01) as port:
        found = steady(port, iter(requests), rate=10_000, seconds=60, connections=1)
    latencies = [ms for _, ms in found["here"].each]
    assert latencies == sorted(latencies)
    assert latencies[-1] > 20 * 10 - 5


def test_requests_are_due_at_even_intervals() -> None:
    requests = [Due(request("GET", "/here"), "here")] * 10
    with served() as port:
        found = steady(port, iter(requests), rate=200, seconds=60, connections=4)
    assert [due_s for due_s, _ in found["here"].each] == pytest.approx([n / 200 for n in range(10)])


def test_connections_take_turns() -> None:
    requests = [Due(request("GET", "/here"), "here")] * 12
    counts: Counter[str] = Counter()
    with served(counts=counts) as port:
        steady(port, iter(requests), rate=100, seconds=60, connections=4)
    assert list(counts.values()) == [3, 3, 3, 3]


def test_a_percentile_is_a_value_that_was_measured() -> None:
    values = [float(n) for n in range(1, 101)]
    assert [percentile(values, percent) for percent in (0, 1, 50, 99, 99.5, 100)] == [1, 1, 50, 99, 100, 100]
    assert percentile([7.0], 50) == 7.0
    assert percentile([], 99) == 0.0


def test_percentiles_of_a_part_of_the_time() -> None:
    answered = Answered([(0.0, 5.0), (1.0, 50.0), (2.0, 500.0)], Counter())
    assert answered.percentile(100) == 500.0
    assert answered.percentile(100, 1.0, 2.0) == 50.0
