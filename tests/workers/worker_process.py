"""Worker processes as they run in production, which a test may stop and kill."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

from infrastructure.worker_status import WorkerFound, worker_statuses
from tests.live_sale import LiveSale

ENDS_WITHIN_S = 10


class WorkerProcess:
    """`ticketing timer` or `relay`, started and seen at work."""

    def __init__(self, sale: LiveSale, role: str, folder: Path, **environment: str) -> None:
        before = len(workers(sale, role))
        self._process = subprocess.Popen(
            [sys.executable, "-m", "cli.main", role],
            env={**os.environ, "DATABASE_URL": sale.dsn, **environment},
            cwd=folder,
            stderr=subprocess.DEVNULL,
        )
        try:
            sale.until(lambda: len(workers(sale, role)) > before)
        except BaseException:
            self.kill()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def send(self, number: signal.Signals) -> None:
        os.kill(self._process.pid, number)

    def ends(self) -> int:
        """Wait until it has ended, and return its exit code."""
        return self._process.wait(timeout=ENDS_WITHIN_S)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()


def workers(sale: LiveSale, role: str) -> list[WorkerFound]:
    """What the workers of this role tell about themselves."""
    return [found for found in sale.read(worker_statuses) if found.role == role]
