import asyncio
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import uuid4
from zoneinfo import ZoneInfo

import msgspec
import psycopg
import pytest
from typer.testing import CliRunner, Result

from aggregates import concert
from aggregates.concert import ConcertAnnounced
from aggregates.ids import ConcertCode
from aggregates.policy import Policy
from cli.catalogue_file import SAMPLE, parse
from cli.catalogue_format import Catalogue
from cli.catalogue_loading import Loaded, NotLoaded, load, log_is_empty
from cli.main import app
from infrastructure import codec

SEOUL = ZoneInfo("Asia/Seoul")

HALL = """
concerts:
  - code: HALL
    title: In the Hall
    venue: Hall
    sales: open
    performances:
      - {date: 2031-05-01, start_time: "19:00"}
      - {date: {in_days: 30}, start_time: "20:00"}
"""


def load_text(dsn: str, text: str) -> Loaded:
    """Load a file with one concert."""
    (loaded,) = asyncio.run(load(dsn, parse(text.encode(), "season.yaml")))
    return loaded


def events(dsn: str) -> Sequence[Any]:
    """All that is recorded, in the order of the log."""
    with psycopg.connect(dsn) as connection:
        rows = connection.execute(
            "SELECT notification_id, originator_version, topic, state "
            "FROM ticketing.ticketing_events ORDER BY notification_id"
        ).fetchall()
    return [codec.decode(*row) for row in rows]


def performance_dates(dsn: str) -> set[date]:
    return {event.event.date for event in events(dsn) if event.event.topic == "concert.performance_scheduled"}


def announce_long_ago(dsn: str, code: str, at: datetime, time_zone: str = "Asia/Seoul") -> None:
    """Put a concert into the log as if it had been loaded then."""
    announced = ConcertAnnounced(ConcertCode(code), "In the Hall", "", "CONCERT", "Hall", time_zone, Policy())
    stream = concert.stream(ConcertCode(code))
    stored = codec.encode(codec.StoredForm(stream.name, code, at, uuid4(), uuid4(), uuid4(), announced))
    with psycopg.connect(dsn) as connection:
        connection.execute(
            "INSERT INTO ticketing.ticketing_events VALUES (%s, 1, %s, %s)",
            [stream.id, announced.topic, stored],
        )


def test_loading_announces_schedules_and_opens_the_sale(dsn: str) -> None:
    loaded = load_text(dsn, HALL)
    assert loaded == Loaded("HALL", True, 2, 0, True, [])
    topics = [event.event.topic for event in events(dsn)]
    assert topics.count("concert.performance_scheduled") == 2
    assert "concert.sales_opened" in topics


def test_loading_again_changes_nothing(dsn: str) -> None:
    load_text(dsn, HALL)
    before = events(dsn)
    assert load_text(dsn, HALL) == Loaded("HALL", False, 0, 2, False, [])
    assert events(dsn) == before


def test_loading_goes_on_where_it_was_interrupted(dsn: str) -> None:
    load_text(dsn, HALL.partition("    sales:")[0])
    loaded = load_text(dsn, HALL)
    assert (loaded.announced, loaded.performances_added, loaded.sales_opened) == (False, 2, True)


def test_dates_ahead_are_counted_from_the_day_of_the_first_loading(dsn: str) -> None:
    first_loaded = datetime(2026, 3, 1, 23, 30, tzinfo=UTC)  # the second of March at the venue
    announce_long_ago(dsn, "HALL", first_loaded)
    load_text(dsn, HALL)
    assert performance_dates(dsn) == {date(2031, 5, 1), date(2026, 3, 2) + timedelta(days=30)}


def test_a_sale_that_was_closed_by_hand_stays_closed(dsn: str) -> None:
    load_text(dsn, HALL)
    closing = HALL.replace("sales: open", "sales: closed")
    assert not load_text(dsn, closing).changed
    assert not load_text(dsn, HALL).changed


def test_what_the_log_has_otherwise_is_told_and_left_so(dsn: str) -> None:
    load_text(dsn, HALL)
    before = events(dsn)
    changed = HALL.replace("In the Hall", "Outside").replace(
        "sales: open", "policy: {max_active: 5}\n    seats: [{first: 1, last: 10, type: VIP, price: 1}]"
    )
    loaded = load_text(dsn, changed)
    assert "title" in loaded.differences
    assert "policy" in loaded.differences
    assert "the seats of 2031-05-01T19:00" in loaded.differences
    assert events(dsn) == before


def test_a_rule_that_depends_on_the_day_of_the_first_loading_refuses_with_the_concerts_name(dsn: str) -> None:
    """The file was checked on another day than that from which its dates are counted."""
    announce_long_ago(dsn, "HALL", datetime(2026, 2, 6, 12, tzinfo=UTC), time_zone="America/New_York")
    skipped = {"date": {"in_days": 30}, "start_time": "02:30"}
    hall = {"code": "HALL", "title": "In the Hall", "venue": "Hall", "performances": [skipped]}
    with pytest.raises(NotLoaded, match="HALL: start_time: the venue's clock skips this time"):
        asyncio.run(load(dsn, msgspec.convert({"concerts": [hall]}, Catalogue)))


def test_two_who_load_at_once_load_it_once(dsn: str) -> None:
    catalogue = parse(HALL.encode(), "season.yaml")

    async def both() -> Sequence[Sequence[Loaded]]:
        return await asyncio.gather(load(dsn, catalogue), load(dsn, catalogue))

    results = [loaded for (loaded,) in asyncio.run(both())]
    assert sum(loaded.announced for loaded in results) == 1
    assert sum(loaded.performances_added for loaded in results) == 2
    topics = [event.event.topic for event in events(dsn)]
    assert topics.count("concert.announced") == topics.count("concert.sales_opened") == 1


def test_the_sample_lies_in_the_future_and_fills_an_empty_log(dsn: str) -> None:
    assert asyncio.run(log_is_empty(dsn))
    result = _load_sample(dsn)
    assert result.exit_code == 0, result.output
    assert "FIVE-NIGHTS: announced, 5 performances added, sales opened" in result.stdout
    assert "ARENA: announced, 1 performances added\n" in result.stdout
    assert min(performance_dates(dsn)) > datetime.now(SEOUL).date()
    assert not asyncio.run(log_is_empty(dsn))


def test_the_command_says_that_nothing_was_left_to_do(dsn: str) -> None:
    _load_sample(dsn)
    before = len(events(dsn))
    assert _load_sample(dsn).stdout == (
        "FIVE-NIGHTS: already there\nTHEATRE: already there\nARENA: already there\n"
    )
    assert len(events(dsn)) == before


def _load_sample(dsn: str) -> Result:
    return CliRunner().invoke(app, ["catalogue", "load", str(SAMPLE)], env={"DATABASE_URL": dsn})
