"""API: every seat map and list of dates is that of one moment, not before the position that it names."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from tests.histories.checker.clock import DatabaseClock, seconds
from tests.histories.checker.seats import (
    FREE,
    MAY_END_A_HOLD,
    Free,
    Held,
    Performance,
    Seat,
    SeatHistory,
    Sold,
)
from tests.histories.checker.violation import Violation
from tests.histories.record import Call, History

Span = tuple[float, float]


class Stretch(NamedTuple):
    """How a seat may have stood between two of its changes."""

    seats: Sequence[Seat]
    start: float
    """It began no earlier than then."""
    end: float
    """It ended no later than then."""
    position: float
    """A read that reflects this position has seen it begin."""


Stretches = Mapping[Performance, Mapping[int, Sequence[Stretch]]]


class Reading(NamedTuple):
    """What a map says of a seat."""

    status: str
    held_until: float | None = None


def violations(
    history: History, histories: Mapping[Performance, SeatHistory], clock: DatabaseClock
) -> Iterator[Violation]:
    """Look for the moment of each map and of each list of dates."""
    maps: dict[tuple[str, str], Any] = {}
    stretches = {
        performance: {number: _stretches(number, of_seats) for number in of_seats.orders}
        for performance, of_seats in histories.items()
        if all(order.found for order in of_seats.orders.values())
    }
    for call in history.calls:
        if call.kind == "seats" and call.status == 200 and call.etag is not None:
            maps[call.path, call.etag] = call.view
        if call.kind == "seats" and call.status in {200, 304}:
            view = maps.get((call.path, str(call.etag)))
            if view is not None:
                yield from _map_violations(call, view, stretches, clock)
        elif call.kind == "dates" and call.status == 200:
            for date in call.view["dates"]:
                if (call.code, date["date"], date["start_time"]) not in histories.keys() - stretches.keys():
                    yield from _date_violations(call, date, stretches, clock)


def _map_violations(call: Call, view: Any, stretches: Stretches, clock: DatabaseClock) -> Iterator[Violation]:
    of_seats = stretches.get((view["concert_code"], view["date"], view["start_time"]), {})
    moments: list[Span] = [(-math.inf, call.answered or math.inf)]
    for seat in view["seats"]:
        if (of_seat := of_seats.get(seat["seat_number"])) is not None:
            until = seat["held_until"] and seconds(seat["held_until"])
            reading = Reading(seat["status"], until)
            moments = _both(moments, _spans(of_seat, reading, call, clock))
            if not moments:
                what = f"seat {seat['seat_number']} never stood so beside those before it"
                yield Violation("API", f"a seat map of no moment: {what}", [call])
                return


def _date_violations(
    call: Call, date: Any, stretches: Stretches, clock: DatabaseClock
) -> Iterator[Violation]:
    """Some moment must allow all three counts."""
    counts = {name: date[f"seats_{name.lower()}"] for name in ("AVAILABLE", "HELD", "SOLD")}
    if sum(counts.values()) != date["seats_total"]:
        yield Violation("API", "the seats of a date do not add up", [call])
    of_seats = stretches.get((str(call.code), date["date"], date["start_time"]), {})
    untouched = date["seats_total"] - len(of_seats)
    spans = {
        (number, status): _spans(of_seat, Reading(status), call, clock)
        for number, of_seat in of_seats.items()
        for status in counts
    }
    moments = {start for found in spans.values() for start, _ in found}
    for moment in sorted(moments, reverse=True) or [0.0]:
        possible = [
            {status for status in counts if _covers(spans[number, status], moment)} for number in of_seats
        ]
        if all(possible) and all(
            sum(of_seat == {status} for of_seat in possible)
            <= count - (untouched if status == "AVAILABLE" else 0)
            <= sum(status in of_seat for of_seat in possible)
            for status, count in counts.items()
        ):
            return
    yield Violation("API", f"a date's seats stood so at no moment: {counts}", [call])


def _covers(spans: Iterable[Span], moment: float) -> bool:
    return any(start <= moment <= end for start, end in spans)


def _spans(stretches: Sequence[Stretch], reading: Reading, call: Call, clock: DatabaseClock) -> list[Span]:
    """When a seat may have stood as it was read."""
    reached, answered = call.position or 0, call.answered or math.inf
    first = max(index for index, stretch in enumerate(stretches) if stretch.position <= reached)
    spans = []
    for stretch in stretches[first:]:
        for seat in stretch.seats:
            start = _start(seat, reading, stretch.start, clock)
            if start is not None and start <= min(stretch.end, answered):
                spans.append((start, min(stretch.end, answered)))
    return spans


def _start(seat: Seat, reading: Reading, start: float, clock: DatabaseClock) -> float | None:
    """From when on the seat may be read so; None where it may not. A hold may be seen past its deadline."""
    match reading.status, seat:
        case ("AVAILABLE", Free()) | ("SOLD", Sold()):
            return start
        case "AVAILABLE", Held(until=until):
            return start if until is None else max(start, clock.earliest(until))
        case "HELD", Held(until=until) if None in {until, reading.held_until} or until == reading.held_until:
            return start
        case _:
            return None


def _both(some: Iterable[Span], others: Sequence[Span]) -> list[Span]:
    """The moments that are in both."""
    both = {(max(one[0], other[0]), min(one[1], other[1])) for one in some for other in others}
    return sorted(span for span in both if span[0] <= span[1])


def _stretches(number: int, history: SeatHistory) -> list[Stretch]:
    """How the seat stood, one after another, in the order that was found."""
    order = history.orders[number]
    ends = _ends([placed.end for placed in order.placed])
    stretches = [Stretch([FREE], -math.inf, math.inf, -math.inf)]
    now = -math.inf
    for (start, _, change), end, value in zip(order.placed, ends, order.values, strict=True):
        ((_, after),) = value
        now = max(now, start)
        if after != stretches[-1].seats[0]:
            may_stay = change.kind in MAY_END_A_HOLD and after == FREE
            before = list(stretches[-1].seats) if may_stay else []
            stretches[-1] = stretches[-1]._replace(end=end)
            position = change.operation.position if change.operation.is_known else math.inf
            stretches.append(Stretch([after, *before], now, math.inf, position))
    return [*stretches, *_unexplained(number, history)]


def _unexplained(number: int, history: SeatHistory) -> Iterator[Stretch]:
    """What nobody was told of may have happened, although the order does without it."""
    placed = {id(one.operation) for one in history.orders[number].placed}
    for start, end, change in history.changes:
        if end == math.inf and number in change.seat_numbers and id(change) not in placed:
            anything: list[Seat] = [FREE, Held(change.reservation_id, None), Sold(change.payment_id)]
            yield Stretch(anything, start, math.inf, math.inf)


def _ends(ends: Sequence[float]) -> list[float]:
    """By when each has happened: none later than any that comes after it."""
    least, found = math.inf, list[float]()
    for end in reversed(ends):
        least = min(least, end)
        found.append(least)
    return found[::-1]
