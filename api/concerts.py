"""Concerts, their dates, and their seat maps."""

from datetime import date

import msgspec

from aggregates.errors import (
    ConcertNotFound,
    PerformanceAmbiguous,
    PerformanceNotFound,
    PerformanceStarted,
)
from aggregates.ids import StartTime
from api import paging
from api.board import Board
from api.call import Call, Reply, json_reply
from api.endpoint import Access, Operation
from api.reservations import ACTIVE_TOKEN_ERRORS
from api.views import Code, ConcertView, DatesView, Limit, Page, SeatsView, Text, Time
from projections import concerts
from projections.concerts import ConcertFound
from projections.seat_map import PerformanceFound


class ConcertsQuery(msgspec.Struct, frozen=True):
    """Which concerts: of one category, or all; what comes `after` a code."""

    category: Text | None = None
    limit: Limit = 50
    after: Code | None = None


class DatesQuery(msgspec.Struct, frozen=True):
    """Which dates: with an available seat, or all that have not begun."""

    all: bool = False


class SeatsQuery(msgspec.Struct, frozen=True):
    """Which performance; where the date has one, `start_time` may be left out."""

    date: date
    start_time: Time | None = None


async def list_all(call: Call[None, ConcertsQuery]) -> Reply:
    """Answer with the concerts, by code."""
    found = await call.read(
        concerts.PROJECTION,
        concerts.list_page,
        category=call.query.category,
        after=call.query.after,
        limit=call.query.limit,
    )
    return paging.page_reply(found, _view)


async def look(call: Call[None, None]) -> Reply:
    """Answer with one concert."""
    found = await call.read(concerts.PROJECTION, concerts.find, call.code)
    if found.value is None:
        raise ConcertNotFound
    return json_reply(200, _view(found.value), found.position)


def _view(concert: ConcertFound) -> ConcertView:
    return ConcertView(
        code=concert.code,
        title=concert.title,
        description=concert.description,
        category=concert.category,
        venue=concert.venue,
        time_zone=concert.time_zone,
        sales="OPEN" if concert.sales_open else "CLOSED",
        sales_open_at=concert.sales_open_at,
        sales_close_at=concert.sales_close_at,
        first_date=concert.first_date,
        last_date=concert.last_date,
    )


async def dates(call: Call[None, DatesQuery]) -> Reply:
    """Answer with the performances that have not begun (rules Q7, L2)."""
    board = await call.board(Board.QUEUE, Board.SEAT_MAP)
    await board.require_active(call.claims)
    concert = await board.concert(call.code)
    now = board.now()
    dates = [
        listed
        for performance, listed in board.showings(call.code)
        if performance.starts_at > now and (call.query.all or listed.seats_available > 0)
    ]
    view = DatesView(concert.code, concert.title, dates)
    return json_reply(200, view, board.position_of(Board.SEAT_MAP, concert.code))


async def seats(call: Call[None, SeatsQuery]) -> Reply:
    """Answer with a seat map, rendered once per change; 304 for who has it already."""
    board = await call.board(Board.QUEUE, Board.SEAT_MAP)
    await board.require_active(call.claims)
    performance = _performance(call)
    rendered, position = await board.seat_map(performance)
    headers = ((b"etag", rendered.etag),)
    if _matches(call.headers.get(b"if-none-match"), rendered.etag):
        return Reply(304, b"", position, headers)
    return Reply(200, rendered.body, position, headers)


def _performance(call: Call[None, SeatsQuery]) -> PerformanceFound:
    """Find the performance meant. Raises PerformanceNotFound, PerformanceAmbiguous, PerformanceStarted."""
    board, query = call.services.board, call.query
    on_that_day = [
        performance
        for performance, _ in board.showings(call.code)
        if performance.date == query.date
        and (query.start_time is None or performance.start_time == query.start_time)
    ]
    match on_that_day:
        case []:
            raise PerformanceNotFound
        case [performance]:
            if performance.starts_at <= board.now():
                raise PerformanceStarted
            return performance
        case several:
            raise PerformanceAmbiguous(sorted(StartTime(p.start_time) for p in several))


def _matches(if_none_match: bytes | None, etag: bytes) -> bool:
    """RFC 9110: a list of tags, weak ones compare like strong ones, and `*` matches any."""
    if if_none_match is None:
        return False
    tags = [tag.strip().removeprefix(b"W/") for tag in if_none_match.split(b",")]
    return etag in tags or b"*" in tags


PERFORMANCE_ERRORS = ("PERFORMANCE_NOT_FOUND", "PERFORMANCE_AMBIGUOUS", "PERFORMANCE_STARTED")

OPERATIONS = [
    Operation(
        "GET",
        "/api/v1/concerts",
        "List concerts",
        list_all,
        {200: Page[ConcertView]},
        query=ConcertsQuery,
    ),
    Operation(
        "GET",
        "/api/v1/concerts/{code}",
        "Look at a concert",
        look,
        {200: ConcertView},
        errors=("CONCERT_NOT_FOUND",),
    ),
    Operation(
        "GET",
        "/api/v1/concerts/{code}/dates",
        "List dates",
        dates,
        {200: DatesView},
        access=Access.TOKEN,
        query=DatesQuery,
        errors=(*ACTIVE_TOKEN_ERRORS, "CONCERT_NOT_FOUND"),
    ),
    Operation(
        "GET",
        "/api/v1/concerts/{code}/seats",
        "Look at a seat map",
        seats,
        {200: SeatsView, 304: None},
        access=Access.TOKEN,
        query=SeatsQuery,
        errors=(*ACTIVE_TOKEN_ERRORS, "CONCERT_NOT_FOUND", *PERFORMANCE_ERRORS),
        cache_control=b"private, no-cache",
    ),
]
