"""Timers as they run in production: one leads, and another takes over whatever happens to it."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from aggregates.ids import UserId
from aggregates.token import TokenActivated
from infrastructure.worker_status import WorkerFound, worker_statuses
from tests.aggregates.given import ANN, BEN, token_of
from tests.commands.steps import CAT, waiting
from tests.live_sale import LiveSale, on_sale

TAKEOVER_S_MAX = 5.0


class TimerProcess:
    """`ticketing timer`, started and seen at work."""

    def __init__(self, sale: LiveSale, folder: Path) -> None:
        before = len(timers(sale))
        self._process = subprocess.Popen(
            [sys.executable, "-m", "cli.main", "timer"],
            env={**os.environ, "DATABASE_URL": sale.dsn},
            cwd=folder,
            stderr=subprocess.DEVNULL,
        )
        try:
            sale.until(lambda: len(timers(sale)) > before)
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
        return self._process.wait(timeout=10)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()


@pytest.fixture
def pair(sale: LiveSale, tmp_path: Path) -> Iterator[tuple[TimerProcess, TimerProcess]]:
    """One that leads, and has let Ann in; one that stands by."""
    sale.start_projector()
    sale.done(on_sale(), waiting(ANN))
    with TimerProcess(sale, tmp_path) as first:
        sale.until(lambda: inside(sale) == [ANN])
        with TimerProcess(sale, tmp_path) as second:
            yield first, second


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP, signal.SIGTERM])
def test_another_timer_takes_over(
    sale: LiveSale, pair: tuple[TimerProcess, TimerProcess], how: signal.Signals
) -> None:
    pair[0].send(how)
    sale.done(waiting(BEN))
    sale.until(lambda: inside(sale) == [ANN, BEN], TAKEOVER_S_MAX)


def test_one_that_was_stopped_and_goes_on_does_no_harm(
    sale: LiveSale, pair: tuple[TimerProcess, TimerProcess]
) -> None:
    pair[0].send(signal.SIGSTOP)
    sale.done(waiting(BEN))
    sale.until(lambda: inside(sale) == [ANN, BEN])
    pair[0].send(signal.SIGCONT)
    sale.done(waiting(CAT))
    sale.until(lambda: len(inside(sale)) == 3)
    assert inside(sale) == [ANN, BEN, CAT]
    sale.until(lambda: sorted(found.facts["leads"] for found in timers(sale)) == [False, True])


def test_a_timer_that_is_told_to_stop_ends_cleanly(
    sale: LiveSale, pair: tuple[TimerProcess, TimerProcess]
) -> None:
    for timer, left in zip(pair, (1, 0), strict=True):
        timer.send(signal.SIGTERM)
        assert timer.ends() == 0
        assert len(timers(sale)) == left


def timers(sale: LiveSale) -> list[WorkerFound]:
    return [found for found in sale.read(worker_statuses) if found.role == "timer"]


def inside(sale: LiveSale) -> list[UserId]:
    """Who was let in, in the order of the log."""
    users = {token_of(user): user for user in (ANN, BEN, CAT)}
    return [
        user
        for one in sale.log()
        if isinstance(one.event, TokenActivated)
        for token_id, user in users.items()
        if token_id == one.correlation_id
    ]
