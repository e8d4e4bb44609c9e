"""Waiting that ends early when a process is asked to stop."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from threading import Thread
from typing import Any


async def pause(seconds: float, stop: asyncio.Event) -> None:
    """Wait so long, or until `stop` is set."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await stop.wait()


async def called(call: Callable[[], object], stop: asyncio.Event) -> bool:
    """Make a call that blocks, and wait until it returns; false if `stop` is set before.

    Then nobody waits for it, neither the event loop nor the process when they end. Raises what it raises.
    """
    ending: Future[object] = Future()
    Thread(target=_call, args=(call, ending), daemon=True).start()
    ended = asyncio.wrap_future(ending)
    stopped = asyncio.ensure_future(stop.wait())
    either: tuple[asyncio.Future[Any], ...] = ended, stopped
    try:
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if ended.done():
            ended.result()
        return ended.done()
    finally:
        ended.cancel()
        stopped.cancel()


def _call(call: Callable[[], object], ending: Future[object]) -> None:
    ending.set_running_or_notify_cancel()  # it cannot be cancelled any more, whoever has stopped waiting
    try:
        ending.set_result(call())
    except Exception as error:  # noqa: BLE001 (whoever waits for it is told)
        ending.set_exception(error)
