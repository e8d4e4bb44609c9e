"""A read model that has parked events says so, and is compared as exactly as before in all other rows."""

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any

import psycopg
import pytest
from psycopg import AsyncConnection, Connection
from structlog.testing import capture_logs

import audit
from audit import Parked
from audit.read_models.comparison import Compared
from infrastructure.feed import PostgresFeed
from projections import dead_letters, projector, retrying
from projections.registry import PROJECTIONS
from tests.audit.database import store
from tests.audit.sales import a_sale_of_all_kinds
from tests.projections.poison import Poison
from tests.projections.test_projector import NAMES, run_until


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(projector, "REST_MIN_S", 0.0)
    with capture_logs():
        yield


@pytest.fixture
def connection(dsn: str) -> Iterator[Connection[Any]]:
    store(dsn, a_sale_of_all_kinds().rows())
    with psycopg.connect(dsn, autocommit=True) as connection:
        yield connection


def project_poison(dsn: str, positions: Sequence[int]) -> None:
    poison = Poison(positions)
    poisoned = [poison.into(projection) for projection in PROJECTIONS]

    async def run() -> None:
        feed = PostgresFeed(dsn)
        last = await feed.last_position()
        await run_until([projector.Projector(dsn, feed, poisoned)], NAMES, last)
        await feed.close()

    asyncio.run(run())


def compared(dsn: str) -> Compared:
    report = audit.run(dsn)
    assert report.breaches == []
    assert report.read_models is not None
    assert report.ok == (report.read_models.different == 0)
    return report.read_models


def first_position(connection: Connection[Any], topic: str) -> int:
    row = connection.execute(
        "SELECT min(notification_id) FROM ticketing.ticketing_events WHERE topic = %s", [topic]
    ).fetchone()
    assert row is not None
    return int(row[0])


def retry_all(dsn: str) -> None:
    async def run() -> None:
        feed = PostgresFeed(dsn)
        async with await AsyncConnection.connect(dsn, autocommit=True, options="-c timezone=UTC") as other:
            for letter in await dead_letters.find_all(other):
                projection = PROJECTIONS[NAMES.index(letter.projection)]
                await retrying.retry(other, dsn, projection, letter.stream_id, feed.read_at)
        await feed.close()

    asyncio.run(run())


@pytest.mark.parametrize(
    ("topic", "reports_on"),
    [
        ("concert.announced", {"concerts", "deadlines", "payments", "seat_map"}),
        ("seat.held", {"seat_map"}),
        ("reservation.opened", {"reservations", "payments", "deadlines"}),
        ("wallet.charged", {"wallet_entries"}),
        ("payment.completed", {"payments"}),
        ("queue.opened", {"queue", "deadlines"}),
        ("token.activated", {"queue", "deadlines"}),
    ],
)
def test_a1_a_read_model_with_parked_events_says_so_instead_of_looking_broken(
    dsn: str, connection: Connection[Any], topic: str, reports_on: set[str]
) -> None:
    project_poison(dsn, [first_position(connection, topic)])

    found = compared(dsn)

    assert found.different == 0
    assert set(found.parked) <= reports_on
    assert found.parked
    assert all(parked.events > 0 and parked.streams == 1 for parked in found.parked.values())
    rests_on_it = topic.startswith(("concert.", "queue."))
    assert rests_on_it or all(parked.explained == 0 for parked in found.parked.values())
    retry_all(dsn)
    assert compared(dsn).parked == {}
    assert compared(dsn).different == 0


def test_a1_a_row_that_is_wrong_besides_is_found_all_the_same(dsn: str, connection: Connection[Any]) -> None:
    project_poison(dsn, [first_position(connection, "seat.held")])
    connection.execute("UPDATE seat_map_v1.performances SET seats_total = seats_total + 1")

    found = compared(dsn)

    assert found.different > 0
    assert set(found.parked) == {"seat_map"}


def test_a1_what_was_dropped_stays_told(dsn: str, connection: Connection[Any]) -> None:
    position = first_position(connection, "wallet.charged")
    project_poison(dsn, [position])
    events = compared(dsn).parked["wallet_entries"].events
    connection.execute(
        """
        UPDATE ticketing.dead_letters
        SET dropped_at = clock_timestamp(), dropped_by = 'ann', dropped_reason = 'why not'
        WHERE position = %s
        """,
        [position],
    )

    found = compared(dsn)

    assert found.different == 0
    assert found.parked == {"wallet_entries": Parked(events - 1, min(1, events - 1), dropped=1)}
