"""What a query string means is remembered, and is the same for everybody who sends it."""

from typing import Final

import msgspec
import pytest

from aggregates.errors import ValidationFailed
from api.app import OPERATIONS
from api.call import QUERIES_MAX, read_query
from api.concerts import ConcertsQuery, DatesQuery
from api.views import PageQuery

QUERY_TYPES: Final = sorted(
    {operation.query for operation in OPERATIONS if operation.query is not None}, key=lambda one: one.__name__
)


@pytest.mark.parametrize("query_type", QUERY_TYPES)
def test_what_is_remembered_cannot_be_changed_by_who_reads_it(query_type: type[msgspec.Struct]) -> None:
    assert query_type.__struct_config__.frozen
    hash(msgspec.convert({"date": "2096-04-01"}, query_type))  # and so can none of its fields


def test_the_same_words_mean_to_each_call_what_they_mean_there() -> None:
    page, concerts = read_query(b"limit=7", PageQuery), read_query(b"limit=7", ConcertsQuery)
    assert (type(page), page.limit) == (PageQuery, 7)
    assert (type(concerts), concerts.limit) == (ConcertsQuery, 7)
    assert read_query(b"limit=8", PageQuery).limit == 8


def test_what_is_wrong_stays_wrong() -> None:
    for _ in range(3):
        with pytest.raises(ValidationFailed):
            read_query(b"all=perhaps", DatesQuery)


def test_no_more_is_remembered_than_there_is_room_for() -> None:
    for number in range(2 * QUERIES_MAX):
        read_query(b"after=%d" % number, PageQuery)
    assert read_query.cache_info().currsize <= QUERIES_MAX
