"""Memory grows with wallets, with the users of each concert and with what is on sale, not with the log."""

import tracemalloc
from collections import Counter
from pathlib import Path

import pytest

import audit
from audit.read_models.comparison import READ_MODELS, Digests, Expected, Reached
from audit.replay import Replay
from tests.audit.crowd import Crowd
from tests.audit.forgeries.forgery import ANN, BEN, GALA, let_in, on_sale
from tests.audit.log_builder import LogBuilder, StoredRow

REPETITIONS = 300


def test_a1_of_a_concert_that_is_over_nothing_is_left_but_its_users() -> None:
    replay = Replay()
    for events in Crowd(LogBuilder(), buyers=100).concerts(3):
        replay.apply_all(event.row() for event in events)
    replay.close()
    kinds = Counter(name.partition("/")[0] for name in replay.books.streams)
    assert kinds == {"concert": 3, "queue": 3, "wallet": 300, "token": 300}


@pytest.mark.parametrize("partitions", [1, 6])
def test_a1_a_sale_that_goes_on_and_on_takes_no_more_memory(partitions: int) -> None:
    """Two users come back all the time: they give up, are too late, cannot pay, pay and get it back."""
    rows = _a_long_sale()
    last = rows[-1][0]
    reached = dict.fromkeys(READ_MODELS, Reached((last, *range(1, partitions))))
    expected = Expected(reached, Digests().emit)
    replay = Replay(on_event=expected.apply)
    tracemalloc.start()
    try:
        replay.apply_all(rows[: len(rows) // 3])
        after_a_third = _of_the_audit()
        replay.apply_all(rows[len(rows) // 3 :])
        after_all = _of_the_audit()
    finally:
        tracemalloc.stop()
    assert replay.books.breaches.kept == []
    assert after_all - after_a_third < len(rows)


def _of_the_audit() -> int:
    """Bytes that it has. Other tests' services run on in this process, and take and leave some meanwhile."""
    its_own = tracemalloc.Filter(True, f"{Path(audit.__file__).parent}/*")
    return sum(trace.size for trace in tracemalloc.take_snapshot().filter_traces([its_own]).traces)


def _a_long_sale() -> list[StoredRow]:
    log = on_sale(admit_per_interval=100, admit_interval_s=3_600)
    for _ in range(REPETITIONS):
        let_in(log, ANN, BEN)
        log.release(log.reserve(GALA, ANN, 7, 8))
        lapsing = log.reserve(GALA, ANN, 7)
        bought = log.reserve(GALA, BEN, 9)
        log.pay(bought)
        log.refund(bought)
        log.pass_time(300)
        log.expire_hold(lapsing)
        log.leave(GALA, ANN)
    return log.rows()
