"""Concerts, as they are listed."""

from datetime import date

import pytest

from aggregates.ids import ConcertCode
from aggregates.policy import Policy
from commands.announce_concert import AnnounceConcert
from commands.run_sale import CloseSales, OpenSales
from projections import concerts
from projections.concerts import ConcertFound
from tests.aggregates.given import CODE, at
from tests.commands.steps import announce, change_policy, schedule
from tests.projections.read_models import ReadModels


def test_an_announced_concert_is_closed_and_has_no_dates(read_models: ReadModels) -> None:
    read_models.given(announce(max_active=7))

    assert read_models.read(concerts.find, CODE) == ConcertFound(
        code=CODE,
        title="An Evening",
        description="With songs.",
        category="CONCERT",
        venue="The Hall",
        time_zone="Asia/Seoul",
        policy=Policy(max_active=7),
        sales_open=False,
        first_date=None,
        last_date=None,
        changed_position=1,
    )


def test_a_concert_that_nobody_announced_is_not_found(read_models: ReadModels) -> None:
    assert read_models.read(concerts.find, "NONE") is None
    read_models.given(announce())
    assert read_models.read(concerts.find, "NONE") is None


def test_its_dates_reach_from_the_first_performance_to_the_last(read_models: ReadModels) -> None:
    read_models.given(announce())
    for days, reach in (((3, 4, 2), (2, 4)), ((3,), (2, 4)), ((1,), (1, 4)), ((5,), (1, 5))):
        read_models.given(
            *[schedule(day=date(2026, 5, day), start_time=f"0{len(days)}:{sum(days):02}") for day in days]
        )

        found = read_models.read(concerts.find, CODE)

        assert found is not None
        assert (found.first_date, found.last_date) == tuple(date(2026, 5, day) for day in reach)


def test_sales_are_open_from_opening_to_closing(read_models: ReadModels) -> None:
    for step, is_open in ((announce(), False), (OpenSales(CODE), True), (CloseSales(CODE), False)):
        read_models.given(step)
        found = read_models.read(concerts.find, CODE)
        assert found is not None
        assert found.sales_open is is_open


def test_sales_times_follow_the_policy(read_models: ReadModels) -> None:
    read_models.given(
        announce(sales_open_at=at("12:30")), change_policy(sales_close_at="2026-03-02T23:00:00Z")
    )

    found = read_models.read(concerts.find, CODE)

    assert found is not None
    assert (found.sales_open_at, found.sales_close_at) == (at("12:30"), at("23:00"))


@pytest.fixture
def five_concerts(read_models: ReadModels) -> ReadModels:
    for code, category in (
        ("B", "SPORTS"),
        ("D", "CONCERT"),
        ("A", "CONCERT"),
        ("E", "SPORTS"),
        ("C", "CONCERT"),
    ):
        concert_code = ConcertCode(f"{code}-1")
        read_models.given(AnnounceConcert(concert_code, code, "", category, "", "Asia/Seoul", Policy()))
    return read_models


def test_concerts_are_paged_by_their_code(five_concerts: ReadModels) -> None:
    pages = []
    after: str | None = None
    while True:
        page = five_concerts.read(concerts.list_page, after=after, limit=2)
        pages.append([concert.title for concert in page.items])
        if page.next is None:
            break
        after = page.next
    assert pages == [["A", "B"], ["C", "D"], ["E"]]


def test_concerts_are_paged_within_a_category(five_concerts: ReadModels) -> None:
    first = five_concerts.read(concerts.list_page, category="CONCERT", limit=2)
    second = five_concerts.read(concerts.list_page, category="CONCERT", after=first.next, limit=2)

    assert [concert.title for concert in first.items] == ["A", "C"]
    assert [concert.title for concert in second.items] == ["D"]
    assert second.next is None


def test_only_what_changed_since_is_read_anew(five_concerts: ReadModels) -> None:
    position = five_concerts.position
    five_concerts.given(OpenSales(ConcertCode("D-1")), OpenSales(ConcertCode("B-1")))

    changed = five_concerts.read(concerts.changed_since, position)

    assert [concert.title for concert in changed] == ["D", "B"]
    assert len(five_concerts.read(concerts.changed_since, 0)) == 5
