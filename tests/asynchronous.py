"""Tests that are coroutines."""

import asyncio
import functools
import time
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec

P = ParamSpec("P")

WITHIN_S = 20.0
"""Nothing here takes so long; the machine may be busy."""

LOOK_EVERY_S = 0.005


def asynchronous(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Run a test that is a coroutine, in an event loop of its own."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        asyncio.run(test(*args, **kwargs))

    return run


async def until(
    condition: Callable[[], Any], within_s: float = WITHIN_S, look_every_s: float = LOOK_EVERY_S
) -> None:
    """Let others work until the condition holds."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        await asyncio.sleep(look_every_s)
