"""Traps in the proxy between PostgreSQL and what runs beside `up`: for what no signal can be timed for."""

import asyncio
from collections.abc import Callable
from typing import Final

from tests.infrastructure.proxy import Passing

APPEND: Final = "ticketing-append"
PROJECTOR: Final = "ticketing-projector"


class CutAfter:
    """Cuts a connection of an application before so many more of its messages have passed."""

    def __init__(self, application: str, messages: int) -> None:
        self.sprung = asyncio.Event()
        self._application = application
        self._messages = messages

    async def __call__(self, passing: Passing) -> None:
        """See a message."""
        if passing.application != self._application or self.sprung.is_set():
            return
        if self._messages == 0:
            self.sprung.set()
            passing.cut()
        self._messages -= 1


class HoldAt:
    """Does something when an application is about to execute a statement, and keeps that waiting."""

    def __init__(self, application: str, statement: str, do: Callable[[Passing], None]) -> None:
        """`statement` is how it begins, but for white space."""
        self.sprung = asyncio.Event()
        self._application = application
        self._statement = statement
        self._do = do
        self._released = asyncio.Event()

    async def __call__(self, passing: Passing) -> None:
        """See a message."""
        is_awaited = passing.statement.lstrip().startswith(self._statement)
        if passing.application == self._application and is_awaited and not self.sprung.is_set():
            self.sprung.set()
            self._do(passing)
            await self._released.wait()

    def release(self) -> None:
        """Let it pass."""
        self._released.set()
