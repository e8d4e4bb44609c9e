"""A projector that follows a topic: each event once, whatever the topic repeats, lacks, withholds or moves.

The topic here is a list of messages, at random what a real one may be at its worst: partitions change hands
without a word, messages come twice or not at all, some partitions are nobody's.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import pairwise
from random import Random
from typing import Any

import psycopg
import pytest

from aggregates.event import RecordedEvent
from infrastructure.arrivals import Arrival, Assigned
from infrastructure.epochs import settle
from projections import projector, standstill
from projections.feed import AnotherEpoch, Reading
from projections.partitions import Positions, partition_of
from projections.projector import Projector
from projections.registry import PROJECTIONS
from tests.projections import tables
from tests.projections.partitioned import project_to, publish, register
from tests.projections.read_models import ListFeed, project, projecting
from tests.properties.histories import eventful_histories

PARTITIONS = 5
DEADLINE_S = 30.0
POLL_S = 0.001

HISTORIES = 6

MOVED = """UPDATE ticketing.log_epochs SET whereabouts = whereabouts || '{"cluster": "another"}'"""

Messages = Mapping[int, Sequence[Arrival]]


def messages(events: Sequence[RecordedEvent], partitions: int = PARTITIONS) -> Messages:
    """What a relay makes of a log."""
    parts: dict[int, list[RecordedEvent]] = {partition: [] for partition in range(partitions)}
    for event in events:
        parts[partition_of(event.partition_key, partitions)].append(event)
    return {
        partition: [
            Arrival(before.position if before else 0, event, offset)
            for offset, (before, event) in enumerate(pairwise([None, *part]))
            if event is not None
        ]
        for partition, part in parts.items()
    }


class ListTopic:
    """A topic that is a list for each partition, as a projector sees it. See `projections.feed.Topic`."""

    def __init__(
        self, messages: Messages, ours: Callable[[], Sequence[int]], random: Random, *, loses: float = 0.02
    ) -> None:
        self._messages = messages
        self._loses = loses
        self._ours = ours
        self._random = random
        self._assigned = Assigned()
        self._offsets = dict.fromkeys(messages, 0)
        self.holds_back = False
        """Whether nothing comes for now."""

    async def read(self, after: Positions, limit: int) -> Reading | None:
        """Let some messages come, of which a few have come before and a few never do."""
        self._assigned.forget(after)
        self._assigned.assign(self._ours())
        for partition in () if self.holds_back else self._assigned.partitions:
            arrivals = self._assigned.of(partition)
            assert arrivals is not None
            for arrival in self._come(partition, limit):
                arrivals.add(arrival)
        return self._assigned.reading(after, limit)

    def _come(self, partition: int, limit: int) -> Sequence[Arrival]:
        start = max(0, self._offsets[partition] - self._random.choice([0, 0, 0, 3]))
        end = min(start + self._random.randint(0, min(limit, 12)), len(self._messages[partition]))
        self._offsets[partition] = max(end, self._offsets[partition])
        chosen = self._messages[partition][start:end]
        return [one for one in chosen if self._random.random() >= self._loses]


@pytest.fixture
def over_topic(connection: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """A topic is registered, and nobody is waited for long."""
    register(connection, PARTITIONS)
    monkeypatch.setattr(standstill, "STILL_S", 0.1)
    monkeypatch.setattr(standstill, "FROM_LOG_S", 0.1)
    monkeypatch.setattr(projector, "LOOK_EVERY_S", 0.02)


@asynccontextmanager
async def all_of(projectors: Sequence[Projector]) -> AsyncIterator[None]:
    async with AsyncExitStack() as stack:
        for one in projectors:
            await stack.enter_async_context(projecting(one))
        yield


async def run_until(projectors: Sequence[Projector], position: int) -> None:
    """Run them until each sees that everything has been applied."""
    stop = asyncio.Event()
    async with asyncio.timeout(DEADLINE_S), all_of(projectors), asyncio.TaskGroup() as running:
        for one in projectors:
            running.create_task(one.run(stop))
        standings = [standing for one in projectors for standing in one.standings.values()]
        while any(standing.position < position for standing in standings):  # noqa: ASYNC110 (nobody is told)
            await asyncio.sleep(POLL_S)
        stop.set()


def rows(connection: psycopg.Connection[Any]) -> Mapping[str, Sequence[str]]:
    """What stands in the read models."""
    projected = dict(tables.projected(connection))
    del projected["ticketing.projection_checkpoints"]
    return projected


def expected(dsn: str, connection: psycopg.Connection[Any], events: Sequence[RecordedEvent]) -> Any:
    """What one undisturbed projector makes of the log itself."""
    project(dsn, events)
    found = rows(connection)
    tables.empty(connection)
    return found


@pytest.mark.parametrize("number", range(HISTORIES))
@pytest.mark.usefixtures("over_topic")
def test_whatever_happens_to_the_topic_each_event_is_applied_once(
    dsn: str, connection: psycopg.Connection[Any], number: int
) -> None:
    random = Random(number)
    events = eventful_histories(HISTORIES)[number]
    right = expected(dsn, connection, events)
    tables.write_log(connection, events)
    publish(connection, len(events), PARTITIONS)
    published = messages(events)

    def some() -> Sequence[int]:
        return random.sample(range(PARTITIONS), random.randint(0, PARTITIONS))

    projectors = [
        Projector(dsn, ListFeed(events), PROJECTIONS, topic=ListTopic(published, some, random))
        for _ in range(2)
    ]
    asyncio.run(run_until(projectors, len(events)))

    assert rows(connection) == right
    failures = sum(standing.failures for one in projectors for standing in one.standings.values())
    assert failures == 0
    for projection in PROJECTIONS:
        applied = sum(one.standings[projection.name].events for one in projectors)
        assert applied == len(events)


@pytest.mark.usefixtures("over_topic")
def test_a_topic_that_brings_nothing_is_not_waited_for(dsn: str, connection: psycopg.Connection[Any]) -> None:
    events = eventful_histories(HISTORIES)[0]
    right = expected(dsn, connection, events)
    nothing = ListTopic({one: [] for one in range(PARTITIONS)}, lambda: range(PARTITIONS), Random(0))

    asyncio.run(run_until([Projector(dsn, ListFeed(events), PROJECTIONS, topic=nothing)], len(events)))

    assert rows(connection) == right


@pytest.mark.usefixtures("over_topic")
def test_partitions_that_nobody_takes_are_read_from_the_log(
    dsn: str, connection: psycopg.Connection[Any]
) -> None:
    events = eventful_histories(HISTORIES)[1]
    right = expected(dsn, connection, events)
    tables.write_log(connection, events)
    publish(connection, len(events), PARTITIONS)
    topic = ListTopic(messages(events), lambda: [0, 1], Random(1), loses=0)

    asyncio.run(run_until([Projector(dsn, ListFeed(events), PROJECTIONS, topic=topic)], len(events)))

    assert rows(connection) == right


def test_a_topic_may_be_registered_while_projectors_follow_the_log(
    dsn: str, connection: psycopg.Connection[Any]
) -> None:
    events = eventful_histories(HISTORIES)[2]
    right = expected(dsn, connection, events)
    feed = ListFeed(events[: len(events) // 2])
    following = Projector(dsn, feed, PROJECTIONS, batch_events_max=10)

    async def run() -> None:
        async with projecting(following):
            await following.advance()
            register(connection, PARTITIONS)
            feed.events = events
            while await following.advance():
                pass

    asyncio.run(run())

    assert rows(connection) == right
    for projection in PROJECTIONS:
        assert following.standings[projection.name].events == len(events)
        assert following.standings[projection.name].positions == dict.fromkeys(range(PARTITIONS), len(events))


@pytest.mark.usefixtures("over_topic")
def test_quiet_partitions_count_as_far_as_the_topic_has_come(
    dsn: str, connection: psycopg.Connection[Any]
) -> None:
    events = eventful_histories(HISTORIES)[3]
    tables.write_log(connection, events)
    publish(connection, len(events), PARTITIONS)
    topic = ListTopic(messages(events), lambda: range(PARTITIONS), Random(3))
    following = Projector(dsn, ListFeed(events), PROJECTIONS, topic=topic)

    asyncio.run(run_until([following], len(events)))

    positions = connection.execute("SELECT DISTINCT position FROM ticketing.read_model_positions").fetchall()
    assert positions == [(len(events),)]


@pytest.mark.usefixtures("over_topic")
def test_events_that_do_not_follow_what_has_been_applied_are_not_applied(
    dsn: str, connection: psycopg.Connection[Any]
) -> None:
    """As when the read models went back under a running projector, after a restore from a backup, say."""
    events = eventful_histories(HISTORIES)[4]
    right = expected(dsn, connection, events)
    feed = ListFeed(events[: len(events) // 2])
    following = Projector(dsn, feed, PROJECTIONS)

    async def run() -> None:
        async with projecting(following):
            while await following.advance():
                pass
            tables.empty(connection)
            feed.events = events
            while await following.advance():
                pass

    asyncio.run(run())

    assert rows(connection) == right


@pytest.mark.usefixtures("over_topic")
def test_a_read_model_that_others_do_not_have_is_not_left_behind_in_their_partitions(
    dsn: str, connection: psycopg.Connection[Any]
) -> None:
    """As while two versions of the software run: processes of the one before know nothing of a new one."""
    events = eventful_histories(HISTORIES)[5]
    right = expected(dsn, connection, events)
    tables.write_log(connection, events)
    publish(connection, len(events), PARTITIONS)
    published = messages(events)
    before = ListTopic(published, lambda: [0, 1, 2], Random(5), loses=0)
    now = ListTopic(published, lambda: [3, 4], Random(5), loses=0)
    projectors = [
        Projector(dsn, ListFeed(events), PROJECTIONS[:-1], topic=before),
        Projector(dsn, ListFeed(events), PROJECTIONS, topic=now),
    ]

    asyncio.run(run_until(projectors, len(events)))

    assert rows(connection) == right


@pytest.mark.usefixtures("over_topic")
def test_what_a_restore_has_lost_is_not_applied_by_who_has_begun_before_it(
    dsn: str, connection: psycopg.Connection[Any]
) -> None:
    """The topic still has it, and who does not know of the restore takes it for what follows."""
    events = eventful_histories(HISTORIES)[0]
    kept = events[: len(events) // 2]
    right = expected(dsn, connection, kept)
    tables.write_log(connection, kept)
    publish(connection, len(kept), PARTITIONS)
    project_to(dsn, [len(kept)] * PARTITIONS)
    everything = ListTopic(messages(events), lambda: range(PARTITIONS), Random(0), loses=0)
    following = Projector(dsn, ListFeed(kept), PROJECTIONS, topic=everything)

    async def run() -> None:
        async with projecting(following):
            everything.holds_back = True
            await following.advance()
            settle(dsn, restored=True)
            everything.holds_back = False
            with pytest.raises(AnotherEpoch):
                await asyncio.wait_for(following.run(asyncio.Event()), DEADLINE_S)

    asyncio.run(run())
    assert rows(connection) == right


@pytest.mark.usefixtures("over_topic")
def test_no_topic_is_followed_over_a_connection_to_a_log_that_has_moved(
    dsn: str, connection: psycopg.Connection[Any]
) -> None:
    """It has failed over, say, to a standby that lacks what is on the topic; no process knows it yet."""
    events = eventful_histories(HISTORIES)[0]
    everything = ListTopic(messages(events), lambda: range(PARTITIONS), Random(0), loses=0)
    following = Projector(dsn, ListFeed([]), PROJECTIONS, topic=everything)

    async def run() -> None:
        async with projecting(following):
            settle(dsn)
            connection.execute(MOVED)
            with pytest.raises(AnotherEpoch):
                await following.advance()

    asyncio.run(run())
    assert max(connection.execute("SELECT position FROM ticketing.projection_checkpoints")) == (0,)
