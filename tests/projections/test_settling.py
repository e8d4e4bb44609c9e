"""The position that readers see: of the log, over all partitions, which never goes back."""

import asyncio
from collections.abc import Mapping, Sequence
from random import Random
from typing import Any, Final

import psycopg
import pytest

from aggregates.event import RecordedEvent
from projections import checkpoints
from projections.partitions import partition_of
from projections.registry import PROJECTIONS
from tests.projections import tables
from tests.projections.partitioned import last_positions, project_to, publish, register, settle
from tests.projections.read_models import connect
from tests.properties.histories import eventful_histories

PARTITIONS: Final = 4
STEPS: Final = 40

Connection = psycopg.Connection[Any]


def shown(dsn: str) -> int:
    """The position of all read models, which here stand alike."""

    async def run() -> Mapping[str, checkpoints.Place]:
        async with await connect(dsn) as connection:
            return await checkpoints.places(connection, PROJECTIONS)

    (position,) = {place.position for place in asyncio.run(run()).values()}
    return position


def first_missing(events: Sequence[RecordedEvent], applied: Sequence[int]) -> int:
    """The first event that has not been applied to its partition."""
    missing = (
        event.position
        for event in events
        if event.position > applied[partition_of(event.partition_key, PARTITIONS)]
    )
    return next(missing, events[-1].position + 1)


def test_a_quiet_partition_that_gets_an_event_takes_no_reader_back(dsn: str, connection: Connection) -> None:
    events = eventful_histories(6)[0]
    register(connection, PARTITIONS)
    tables.write_log(connection, events)
    quiet = partition_of(events[-1].partition_key, PARTITIONS)
    before = next(
        event.position for event in reversed(events) if partition_of(event.partition_key, PARTITIONS) != quiet
    )
    publish(connection, before, PARTITIONS)
    project_to(dsn, last_positions(events[:before], PARTITIONS))
    settle(dsn)
    assert shown(dsn) == before

    publish(connection, events[-1].position, PARTITIONS)
    assert shown(dsn) == before
    settle(dsn)
    assert shown(dsn) == before


@pytest.mark.parametrize("seed", range(6))
def test_what_is_shown_never_goes_back_and_is_never_ahead(
    dsn: str, connection: Connection, seed: int
) -> None:
    """Whoever publishes, applies and settles, and in whatever order they do."""
    random = Random(seed)
    events = eventful_histories(6)[seed]
    end = events[-1].position
    register(connection, PARTITIONS)
    tables.write_log(connection, events)
    published, seen = 0, 0
    applied = [0] * PARTITIONS
    for _ in range(STEPS):
        match random.randint(0, 2):
            case 0:
                published = min(end, published + random.randint(1, end // 8))
                publish(connection, published, PARTITIONS)
            case 1:
                applied[random.randrange(PARTITIONS)] = random.randint(0, published)
                project_forward(dsn, connection, applied)
            case _:
                settle(dsn)
        now_shown = shown(dsn)
        assert seen <= now_shown < first_missing(events, reached(connection))
        seen = now_shown
    publish(connection, end, PARTITIONS)
    project_forward(dsn, connection, [end] * PARTITIONS)
    assert shown(dsn) == end


def reached(connection: Connection) -> Sequence[int]:
    """The checkpoints of one of the read models, which stand alike."""
    rows = connection.execute(
        "SELECT position FROM ticketing.projection_checkpoints WHERE projection = 'queue' ORDER BY partition"
    )
    return [position for (position,) in rows]


def project_forward(dsn: str, connection: Connection, positions: Sequence[int]) -> None:
    """Apply up to there what has not been applied."""
    project_to(dsn, [max(pair) for pair in zip(reached(connection), positions, strict=True)])
