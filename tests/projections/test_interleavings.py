"""However the log is split into partitions, and however these are applied side by side: the same read models.

The histories are those of `tests.properties`: several concerts with all that may happen in their sales, and
users with wallets who buy at each of them.
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from random import Random

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aggregates.concert import ConcertAnnounced
from aggregates.event import RecordedEvent
from aggregates.registry import EVENT_TYPES
from projections.partitions import partition_of
from projections.registry import PROJECTIONS
from tests.projections import tables
from tests.projections.read_models import connect
from tests.projections.tables import Rows
from tests.properties.histories import eventful_histories

HISTORIES = 6
CHECKPOINTS = "ticketing.projection_checkpoints"

EXAMPLES = settings(
    max_examples=25,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
"""The database of the fixture is emptied before each example."""

PARTITIONS = (2, 3, 6, 64, 1_000_003)
"""With the last one every key stands alone, as good as certainly."""

BATCH_EVENTS_MAX = 60
RUN_EVENTS_MAX = 25
"""So many events of one partition may be applied before another's turn comes."""

History = Sequence[RecordedEvent]

histories = st.integers(0, HISTORIES - 1)


@pytest.fixture(scope="module", autouse=True)
def told() -> None:
    """Let the histories happen before hypothesis is at work, which cannot be asked while it is."""
    eventful_histories(HISTORIES)


def history(number: int) -> History:
    """One of the histories; by number, so that what hypothesis prints stays short."""
    return eventful_histories(HISTORIES)[number]


def apply(dsn: str, batches: Iterable[History]) -> None:
    """Apply the batches one after another, each in one transaction, as projectors do."""

    async def run() -> None:
        async with await connect(dsn) as connection:
            for batch in batches:
                async with connection.pipeline(), connection.transaction():
                    for projection in PROJECTIONS:
                        await projection.apply(connection, batch)

    asyncio.run(run())


def projected(dsn: str, batches: Iterable[History]) -> Mapping[str, Rows]:
    """Return every row of every table after these batches and nothing else."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        tables.empty(connection)
        apply(dsn, batches)
        return tables.projected(connection)


@cache
def in_log_order(dsn: str, number: int) -> Mapping[str, Rows]:
    """What one projector makes of a history that follows the log."""
    return projected(dsn, [history(number)])


def split(events: History, partitions: int) -> Mapping[int, History]:
    """Give each partition its events, in their order."""
    parts: dict[int, list[RecordedEvent]] = defaultdict(list)
    for event in events:
        parts[partition_of(event.partition_key, partitions)].append(event)
    return parts


def interleaved(parts: Mapping[int, History], random: Random) -> Iterator[History]:
    """Let the partitions overtake each other, and cut what comes of that into batches."""
    left = {partition: list(events) for partition, events in parts.items()}
    batch: list[RecordedEvent] = []
    batch_events = random.randint(1, BATCH_EVENTS_MAX)
    while left:
        partition = random.choice(list(left))
        count = random.randint(1, RUN_EVENTS_MAX)
        batch += left[partition][:count]
        del left[partition][:count]
        if not left[partition]:
            del left[partition]
        if len(batch) >= batch_events or not left:
            yield batch
            batch, batch_events = [], random.randint(1, BATCH_EVENTS_MAX)


@EXAMPLES
@given(histories, st.sampled_from(PARTITIONS), st.integers(0, 2**32 - 1))
def test_partitions_may_overtake_each_other_anywhere(
    dsn: str, number: int, partitions: int, seed: int
) -> None:
    batches = interleaved(split(history(number), partitions), Random(seed))
    assert projected(dsn, batches) == in_log_order(dsn, number)


@pytest.mark.parametrize("number", range(HISTORIES))
def test_each_row_comes_from_the_events_of_one_key(dsn: str, number: int) -> None:
    """Projected one key at a time, each from nothing, the rows are those of the whole log."""
    by_key: dict[str, list[RecordedEvent]] = defaultdict(list)
    for event in history(number):
        by_key[event.partition_key].append(event)
    rows: dict[str, list[str]] = defaultdict(list)
    for events in by_key.values():
        for table, of_key in projected(dsn, [events]).items():
            rows[table] += of_key
    whole = in_log_order(dsn, number)
    del rows[CHECKPOINTS]
    assert {table: sorted(of_keys) for table, of_keys in rows.items()} == {
        table: of_log for table, of_log in whole.items() if table != CHECKPOINTS
    }


def test_a_stream_has_one_partition_key_for_ever() -> None:
    for number in range(HISTORIES):
        keys: dict[str, set[str]] = defaultdict(set)
        for event in history(number):
            keys[event.stream].add(event.partition_key)
        assert {stream: found for stream, found in keys.items() if len(found) > 1} == {}


def test_the_key_is_the_concert_s_code_or_for_a_wallet_the_user() -> None:
    for number in range(HISTORIES):
        events = history(number)
        codes = {one.event.code for one in events if isinstance(one.event, ConcertAnnounced)}
        for event in events:
            kind, _, name = event.stream.partition("/")
            assert event.partition_key == name if kind == "wallet" else event.partition_key in codes


def test_the_histories_hold_every_kind_of_event_and_many_keys() -> None:
    told = [event for number in range(HISTORIES) for event in history(number)]
    assert {event.event.topic for event in told} == set(EVENT_TYPES)
    for number in range(HISTORIES):
        assert len({event.partition_key for event in history(number)}) >= 7
