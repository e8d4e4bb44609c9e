"""The supervisor: keeps the processes of a service running on one machine, and ends them in order.

Its children have sessions of their own, so that the terminal's Ctrl-C reaches the supervisor alone. Each
holds the reading end of a pipe, the lifeline, whose writing end only the supervisor has: when it is killed,
they read the end of the pipe, and stop by themselves.
"""

import asyncio
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Protocol, Self

from infrastructure.embedded_postgres import EmbeddedPostgres, EmbeddedPostgresError

STEADY_AFTER_S: Final = 30.0
"""A child that ran for so long is started again as soon as one that never failed."""

RESTART_PAUSE_S_MIN: Final = 0.2
RESTART_PAUSE_S_MAX: Final = 5.0
"""Half of the time within which all is well again after an outage, however long that was."""

POLL_S: Final = 0.1
"""How often an embedded PostgreSQL is looked after."""

LOG_BYTES_MAX: Final = 10 * 1024 * 1024
"""A log that has grown past it makes room for a new one; the one before it is kept."""

LOG_CHECK_EVERY_S: Final = 5.0

Say = Callable[[str], None]
"""Tells the person at the terminal something in one line."""


class Child(Protocol):
    """A process that can be started again and again."""

    name: str

    async def start(self) -> None:
        """Start it. Raises ChildFailed."""
        ...

    async def ended(self) -> str:
        """Wait until it ends, and tell how."""
        ...

    async def stop(self) -> None:
        """End it, cleanly if it lets us; do nothing if it does not run."""
        ...


class ChildFailed(Exception):
    """A child cannot be started; the text is one line."""


class Lifeline:
    """The pipe by which children learn that their supervisor is gone."""

    def __init__(self) -> None:
        self.reading_end, self._writing_end = os.pipe()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._writing_end)
        os.close(self.reading_end)


class ProcessChild:
    """A process of ours, that ends on SIGTERM. What it says goes to `log_file`."""

    def __init__(
        self,
        name: str,
        arguments: Sequence[str],
        *,
        environment: Mapping[str, str],
        descriptors: Sequence[int],
        log_file: Path,
        stop_within_s: float,
    ) -> None:
        """`descriptors` stay open in the process. Secrets go into `environment`: anyone can see arguments."""
        self.name = name
        self._arguments = arguments
        self._environment = environment
        self._descriptors = descriptors
        self._log_file = log_file
        self._stop_within_s = stop_within_s
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start it, in a session of its own."""
        try:
            make_room(self._log_file)
            with self._log_file.open("ab") as log:
                self._process = await asyncio.create_subprocess_exec(
                    *self._arguments,
                    env=self._environment,
                    pass_fds=self._descriptors,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
        except OSError as error:
            raise ChildFailed(f"{self.name} cannot be started: {error.strerror or error}") from error

    async def ended(self) -> str:
        """Wait until it ends, and tell how."""
        if self._process is None:
            return "was not started"
        how = _ending(await self._process.wait())
        return f"{how} (see {self._log_file})"

    async def stop(self) -> None:
        """Ask it to end, and after `stop_within_s` make it."""
        process = self._process
        if process is None or process.returncode is not None:
            return
        with suppress(ProcessLookupError):
            process.terminate()
        try:
            async with asyncio.timeout(self._stop_within_s):
                await process.wait()
        except TimeoutError:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()


class PostgresChild:
    """The embedded PostgreSQL as a child."""

    name = "PostgreSQL"

    def __init__(self, postgres: EmbeddedPostgres) -> None:
        self._postgres = postgres
        self._starting: asyncio.Future[None] | None = None

    async def start(self) -> None:
        """Start it, and wait until it answers."""
        self._starting = asyncio.ensure_future(asyncio.to_thread(self._postgres.start))
        try:
            await asyncio.shield(self._starting)
        except EmbeddedPostgresError as error:
            raise ChildFailed(str(error)) from error

    async def ended(self) -> str:
        """Wait until it ends, and tell how."""
        while (code := self._postgres.poll()) is None:  # noqa: ASYNC110 (it tells no one when it ends)
            await asyncio.sleep(POLL_S)
        return _ending(code)

    async def stop(self) -> None:
        """Stop it, also in the middle of a start that takes long."""
        while self._starting is not None and not self._starting.done():
            await asyncio.to_thread(self._postgres.stop)
            await asyncio.wait({self._starting}, timeout=POLL_S)
        await asyncio.to_thread(self._postgres.stop)


class Supervisor:
    """Keeps groups of children running, and stops the last group first."""

    def __init__(self, say: Say, steady_after_s: float = STEADY_AFTER_S) -> None:
        self._say = say
        self._steady_after_s = steady_after_s
        self._groups: list[Sequence[Child]] = []
        self._keeping: list[asyncio.Task[None]] = []

    async def start(self, *group: Child) -> None:
        """Start these children side by side, and keep them running from then on. Raises ChildFailed."""
        self._groups.append(group)
        await asyncio.gather(*(child.start() for child in group))
        self._keeping += [asyncio.create_task(self._keep(child)) for child in group]

    async def stop(self) -> None:
        """Stop all children, group by group, the last one first."""
        for keeping in self._keeping:
            keeping.cancel()
        await asyncio.gather(*self._keeping, return_exceptions=True)
        for group in reversed(self._groups):
            await asyncio.gather(*(child.stop() for child in group))

    async def _keep(self, child: Child) -> None:
        clock = asyncio.get_running_loop().time
        pause_s = RESTART_PAUSE_S_MIN
        while True:
            started_at = clock()
            how = await child.ended()
            if clock() - started_at > self._steady_after_s:
                pause_s = RESTART_PAUSE_S_MIN
            self._tell(f"{child.name} {how}; it is started again in {pause_s:g} s")
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, RESTART_PAUSE_S_MAX)
            try:
                await child.start()
            except ChildFailed as failure:
                self._tell(str(failure))

    def _tell(self, line: str) -> None:
        """Say it; where that cannot be said, since a disk is full, the children are kept all the same."""
        with suppress(OSError):
            self._say(line)


async def keep_logs_short(log_files: Sequence[Path]) -> None:
    """Make room in these logs for as long as it runs."""
    while True:
        await asyncio.sleep(LOG_CHECK_EVERY_S)
        for log_file in log_files:
            make_room(log_file)


def make_room(log_file: Path) -> None:
    """Keep a long log beside its place, and go on from an empty one.

    The file itself stays, since processes append to it. Where there is no space to keep it, it goes.
    """
    kept = log_file.with_suffix(".log.1")
    with suppress(FileNotFoundError):
        if log_file.stat().st_size > LOG_BYTES_MAX:
            try:
                shutil.copyfile(log_file, kept)
            except OSError:
                kept.unlink(missing_ok=True)
            os.truncate(log_file, 0)


def _ending(code: int) -> str:
    if code < 0:
        return f"was ended by {signal.Signals(-code).name}"
    return f"ended with exit code {code}"
