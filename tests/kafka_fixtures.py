"""A pytest plugin: a real Kafka for the tests.

One broker serves all processes of a test run. It starts when the first test asks for it (two seconds), and
ends with the run (see `tests.shared_server`). Each test has a topic of its own. Where TICKETING_TEST_KAFKA
names a broker (`host:port`), that one is used. Without Java or Maven the tests that ask for it are skipped.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final
from uuid import uuid4

import pytest

from tests.kafka.broker import Broker
from tests.kafka.programs import FETCH_S_MAX, missing_tools
from tests.shared_server import begin_run, end_run, whereabouts

GIVEN: Final = "TICKETING_TEST_KAFKA"
"""Environment variable: a broker that is there already, as `host:port`."""

FOLDER: Final = "TICKETING_TEST_KAFKA_FOLDER"
"""Environment variable: tells the processes of a test run where its broker is."""

TEST_S_MAX: Final = 60 + FETCH_S_MAX
"""The first test that needs a broker may have to wait until it is fetched."""

_run = pytest.StashKey[IO[str] | None]()


def pytest_configure(config: pytest.Config) -> None:
    """Prepare for a broker that the whole run shares."""
    config.stash[_run] = begin_run(FOLDER)


def pytest_unconfigure(config: pytest.Config) -> None:
    """End it with the run."""
    end_run(FOLDER, config.stash.get(_run, None))


def pytest_itemcollected(item: pytest.Item) -> None:
    """Skip who asks for a broker where none can be, in one line a file; else leave time to fetch it."""
    asked_for = {"kafka", "own_kafka"} & set(getattr(item, "fixturenames", ()))
    if not asked_for or (asked_for == {"kafka"} and GIVEN in os.environ):
        return
    if missing := missing_tools():
        item.add_marker(pytest.mark.skip(reason=missing))
    elif item.get_closest_marker("timeout") is None:
        item.add_marker(pytest.mark.timeout(TEST_S_MAX))


@pytest.fixture(scope="session")
def kafka() -> str:
    """The broker of the test run, as `host:port`, started by the first who asks."""
    if GIVEN in os.environ:
        return os.environ[GIVEN]
    return whereabouts(FOLDER, "tests.kafka.guard", start_deadline_s=TEST_S_MAX)


@pytest.fixture
def topic_name() -> str:
    """A name for a topic of the test's own, which is not made yet."""
    return f"test.{uuid4()}"


@pytest.fixture
def own_kafka(tmp_path: Path) -> Iterator[Broker]:
    """A running broker of the test's own, which it may stop, suspend, kill and start again."""
    with Broker(tmp_path / "kafka") as broker:
        yield broker
