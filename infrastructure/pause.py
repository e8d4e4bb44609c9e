"""Waiting that ends early when a process is asked to stop."""

import asyncio
from contextlib import suppress


async def pause(seconds: float, stop: asyncio.Event) -> None:
    """Wait so long, or until `stop` is set."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await stop.wait()
