"""Relays as they run in production: one leads, and another takes over whatever happens to it."""

import signal
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from infrastructure import topic
from infrastructure.settings import Settings
from tests.aggregates.given import ANN, BEN
from tests.commands.steps import CAT, waiting
from tests.infrastructure.topic_reader import on_topic
from tests.live_sale import LiveSale, on_sale
from tests.workers.worker_process import WorkerProcess, workers

TAKEOVER_S_MAX = 5.0

Start = Callable[[], WorkerProcess]


@pytest.fixture
def start(sale: LiveSale, tmp_path: Path, kafka: str, topic_name: str) -> Start:
    topic.register(sale.dsn, Settings(kafka=(kafka,), kafka_topic=topic_name))
    told = {"TICKETING_KAFKA": kafka, "TICKETING_KAFKA_TOPIC": topic_name}
    return lambda: WorkerProcess(sale, "relay", tmp_path, **told)


@pytest.fixture
def pair(sale: LiveSale, start: Start) -> Iterator[tuple[WorkerProcess, WorkerProcess]]:
    """One that leads, and has published something; one that stands by."""
    with start() as first:
        sale.done(on_sale(), waiting(ANN))
        sale.until(lambda: is_published(sale))
        with start() as second:
            yield first, second


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP, signal.SIGTERM])
def test_another_relay_takes_over(
    sale: LiveSale,
    pair: tuple[WorkerProcess, WorkerProcess],
    kafka: str,
    topic_name: str,
    how: signal.Signals,
) -> None:
    pair[0].send(how)
    sale.done(waiting(BEN))
    sale.until(lambda: is_published(sale), TAKEOVER_S_MAX)
    assert positions(kafka, topic_name) == [one.position for one in sale.log()]


def test_one_that_was_stopped_and_goes_on_does_no_harm(
    sale: LiveSale, pair: tuple[WorkerProcess, WorkerProcess], kafka: str, topic_name: str
) -> None:
    pair[0].send(signal.SIGSTOP)
    sale.done(waiting(BEN))
    sale.until(lambda: is_published(sale), TAKEOVER_S_MAX)
    pair[0].send(signal.SIGCONT)
    sale.done(waiting(CAT))
    sale.until(lambda: is_published(sale))
    sale.until(lambda: sorted(found.facts["leads"] for found in workers(sale, "relay")) == [False, True])
    assert positions(kafka, topic_name) == [one.position for one in sale.log()]


def test_a_relay_tells_how_it_does_and_ends_cleanly_when_it_is_told_to(
    sale: LiveSale, pair: tuple[WorkerProcess, WorkerProcess]
) -> None:
    last = sale.log()[-1].position
    sale.until(lambda: last in {found.facts["published"] for found in workers(sale, "relay")})
    (leading,) = [found.facts for found in workers(sale, "relay") if found.facts["leads"]]
    assert (leading["position"], leading["failures"], leading["error"]) == (last, 0, "")
    for relay, left in zip(pair, (1, 0), strict=True):
        relay.send(signal.SIGTERM)
        assert relay.ends() == 0
        assert len(workers(sale, "relay")) == left


def is_published(sale: LiveSale) -> bool:
    """Whether all of the log is on the topic."""
    ((position,),) = sale.connection.execute("SELECT position FROM ticketing.topic").fetchall()
    return bool(position == sale.log()[-1].position)


def positions(kafka: str, topic_name: str) -> Sequence[int]:
    """Of all events that are on the topic, in the order of the log."""
    return sorted({one.position for one in on_topic(kafka, topic_name)})
