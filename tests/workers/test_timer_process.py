"""Timers as they run in production: one leads, and another takes over whatever happens to it."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from aggregates.ids import UserId
from aggregates.token import TokenActivated
from tests.aggregates.given import ANN, BEN, token_of
from tests.commands.steps import CAT, waiting
from tests.live_sale import LiveSale, on_sale
from tests.workers.worker_process import WorkerProcess, workers

TAKEOVER_S_MAX = 5.0


@pytest.fixture
def pair(sale: LiveSale, tmp_path: Path) -> Iterator[tuple[WorkerProcess, WorkerProcess]]:
    """One that leads, and has let Ann in; one that stands by."""
    sale.start_projector()
    sale.done(on_sale(), waiting(ANN))
    with WorkerProcess(sale, "timer", tmp_path) as first:
        sale.until(lambda: inside(sale) == [ANN])
        with WorkerProcess(sale, "timer", tmp_path) as second:
            yield first, second


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP, signal.SIGTERM])
def test_another_timer_takes_over(
    sale: LiveSale, pair: tuple[WorkerProcess, WorkerProcess], how: signal.Signals
) -> None:
    pair[0].send(how)
    sale.done(waiting(BEN))
    sale.until(lambda: inside(sale) == [ANN, BEN], TAKEOVER_S_MAX)


def test_one_that_was_stopped_and_goes_on_does_no_harm(
    sale: LiveSale, pair: tuple[WorkerProcess, WorkerProcess]
) -> None:
    pair[0].send(signal.SIGSTOP)
    sale.done(waiting(BEN))
    sale.until(lambda: inside(sale) == [ANN, BEN])
    pair[0].send(signal.SIGCONT)
    sale.done(waiting(CAT))
    sale.until(lambda: len(inside(sale)) == 3)
    assert inside(sale) == [ANN, BEN, CAT]
    sale.until(lambda: sorted(found.facts["leads"] for found in workers(sale, "timer")) == [False, True])


def test_a_timer_that_is_told_to_stop_ends_cleanly(
    sale: LiveSale, pair: tuple[WorkerProcess, WorkerProcess]
) -> None:
    for timer, left in zip(pair, (1, 0), strict=True):
        timer.send(signal.SIGTERM)
        assert timer.ends() == 0
        assert len(workers(sale, "timer")) == left


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
