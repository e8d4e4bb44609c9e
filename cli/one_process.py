"""How one process of the service runs: until SIGTERM, SIGINT, or the end of its supervisor."""

import asyncio
import os
import signal
import sys
import threading
from collections.abc import Awaitable, Callable
from typing import Final

from cli.console import Failure
from commands.ports import LogReplaced
from infrastructure.settings import Settings
from infrastructure.telemetry import configure_logging

LIFELINE_VARIABLE: Final = "TICKETING_LIFELINE"
"""The file descriptor of the lifeline's reading end, in the environment of a supervised process."""

ORPHANED_S_MAX: Final = 10.0
"""An orphan that has not stopped cleanly by then ends at once."""

ORPHANED_EXIT_CODE: Final = 3

Work = Callable[[Settings, asyncio.Event], Awaitable[None]]
"""Works until the event is set, then finishes what it has begun."""


def run_process(settings: Settings, work: Work) -> None:
    """Run this process's work until it is told to stop. Raises Failure where it has to begin anew."""
    configure_logging(settings.log_level, settings.log_format)
    _watch_lifeline()
    try:
        if sys.platform == "win32":
            asyncio.run(_until_told_to_stop(settings, work))
        else:
            import uvloop

            uvloop.run(_until_told_to_stop(settings, work))
    except* LogReplaced:
        raise Failure(str(LogReplaced())) from None


async def _until_told_to_stop(settings: Settings, work: Work) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await work(settings, stop)


def _watch_lifeline() -> None:
    """Treat the end of the lifeline like SIGTERM: whoever held its other end is gone."""
    descriptor = os.environ.pop(LIFELINE_VARIABLE, "")
    if descriptor.isdecimal():
        threading.Thread(target=_outlive_nobody, args=[int(descriptor)], daemon=True).start()


def _outlive_nobody(descriptor: int) -> None:
    while os.read(descriptor, 1):
        pass
    forced = threading.Timer(ORPHANED_S_MAX, os._exit, [ORPHANED_EXIT_CODE])
    forced.daemon = True
    forced.start()
    os.kill(os.getpid(), signal.SIGTERM)
