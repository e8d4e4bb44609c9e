"""Relay and projector stop as soon as they are told to, also while no broker answers."""

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable, Iterator

import pytest
from pydantic import SecretStr

from cli.whole_service import WORKERS_STOP_WITHIN_S
from infrastructure import topic
from infrastructure.settings import Settings
from workers import projector, relay

Work = Callable[[Settings, asyncio.Event], Awaitable[None]]

RUNS_S = 0.3


@pytest.fixture(params=["refuses", "is silent"])
def broker(request: pytest.FixtureRequest) -> Iterator[str]:
    """An address at which no broker answers, either way."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        if request.param == "refuses":
            server.close()
            yield "127.0.0.1:1"
        else:
            yield f"127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.parametrize("work", [relay.run, projector.run], ids=["relay", "projector"])
def test_whoever_waits_for_a_broker_stops_in_time(dsn: str, broker: str, work: Work) -> None:
    settings = Settings(database_url=SecretStr(dsn), kafka=(broker,))
    topic.register(dsn, settings)
    told_at = 0.0

    async def run() -> None:
        nonlocal told_at
        stop = asyncio.Event()
        running = asyncio.ensure_future(work(settings, stop))
        await asyncio.wait([running], timeout=RUNS_S)
        told_at = time.monotonic()
        stop.set()
        await running

    asyncio.run(run())
    assert time.monotonic() - told_at < WORKERS_STOP_WITHIN_S
