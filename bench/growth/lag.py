"""How late read models are, and how long a person waits for what the timer does, by recorded times.

Wallets are charged as fast as it goes, and then at 70 % of that. Meanwhile people join an empty line whose
gate is open, and others leave a sale at whose gate a line stands: each leaves a slot for the next in line.
"""

import threading
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import count
from typing import LiteralString, NamedTuple, Self

from aggregates.event import RecordedEvent
from aggregates.queue import QueueAdvanced, SlotsFreed
from aggregates.token import TokenActivated, TokenIssued
from bench.calls import Buyer
from bench.client import run
from bench.curve import Curve, Line
from bench.growth.figure import Figure, Growth, Tell, at_most, told
from bench.growth.history import History
from bench.growth.running import CONNECTIONS, catch_up, connect, settle
from bench.growth.sale import ALL_WAIT, OPEN_GATE, Sale, charges, user, users
from bench.service import embedded, service
from bench.steady import Due, percentile, steady
from infrastructure import codec

SECONDS, SHORT_SECONDS = 20.0, 4.0
SHARE = 0.7

CHARGING = 10_000
JOINING = 10_000
IN_LINE = 5_000
INSIDE = 100
"""Slots of the sale that people leave."""

ONE_IN = 100
"""Of so many requests one joins the empty line, and one leaves the other sale."""

PERCENTS = (50, 90, 99, 99.9, 100)
LAG_MS_MAX, PERSON_MS_MAX = 250, 500
LOOK_EVERY_S = 0.01

LOOK: LiteralString = "SELECT clock_timestamp(), min(position) FROM ticketing.projection_checkpoints"
LAST: LiteralString = "SELECT coalesce(max(notification_id), 0) FROM ticketing.ticketing_events"
EVENTS: LiteralString = """
    SELECT notification_id, originator_version, topic, state
    FROM ticketing.ticketing_events
    WHERE notification_id > %s
    ORDER BY notification_id
"""


class Delays(NamedTuple):
    """What was found under one load, each in ms and in order."""

    commands_per_s: float
    behind: Sequence[float]
    """From when an event was recorded until all read models showed it."""
    to_activation: Sequence[float]
    """From `token.issued` in an empty line to `token.activated`."""
    to_next: Sequence[float]
    """From `queue.slots_freed` to the next activation."""


class Load:
    """A service under load, with two sales."""

    def __init__(self, dsn: str, port: int) -> None:
        self._dsn = dsn
        self._port = port
        with connect(dsn) as connection:
            History(connection).open_wallets(users(1, CHARGING + JOINING + IN_LINE))
            catch_up(connection, lambda _: None)
            settle(connection)
        self._open = Sale(port, "OPEN", OPEN_GATE)
        self._full = Sale(port, "FULL", {**ALL_WAIT, "max_active": INSIDE})
        for sale in (self._open, self._full):
            sale.schedule(0, 1_000)
        joined = self._full.join(users(1 + CHARGING + JOINING, IN_LINE))
        self._requests = self._mixed(sorted(joined, key=lambda one: one.queue_number))

    def _mixed(self, inside: Sequence[Buyer]) -> Iterator[bytes]:
        charging = charges(user(1 + number % CHARGING) for number in count())
        joining = self._open.joins(users(1 + CHARGING, JOINING))
        leaving = (self._full.leave(one) for one in inside)
        for number in count():
            if number % ONE_IN == 0:
                yield next(joining)
            elif number % ONE_IN == ONE_IN // 2:
                yield next(leaving)
            else:
                yield next(charging)

    def full(self, seconds: float) -> Delays:
        """As fast as answers come."""
        with _Watch(self._dsn) as watch:
            result = run(self._port, self._requests, connections=CONNECTIONS, seconds=seconds)
            self._settle(set(result.statuses))
        return watch.found(result.rate)

    def steady(self, per_s: float, seconds: float) -> Delays:
        """At this rate."""
        with _Watch(self._dsn) as watch:
            due = (Due(prepared, "") for prepared in self._requests)
            answered = steady(self._port, due, rate=per_s, seconds=seconds, connections=CONNECTIONS)[""]
            self._settle(set(answered.statuses))
        return watch.found(len(answered.each) / seconds)

    def _settle(self, statuses: set[int]) -> None:
        if not statuses <= {201, 204}:
            raise RuntimeError(f"expected 201 and 204, got {statuses}")
        self._open.until(lambda stats: stats["waiting"] == 0)
        self._full.until(lambda stats: stats["active"] == INSIDE)


class _Watch:
    """Looks all the time how far the read models are, and in the end what was recorded meanwhile."""

    def __init__(self, dsn: str) -> None:
        self._connection = connect(dsn)
        self._stopped = threading.Event()
        self._looks: list[tuple[float, int]] = []
        ((self._after,),) = self._connection.execute(LAST).fetchall()
        self._thread = threading.Thread(target=self._look, args=[dsn], daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        catch_up(self._connection, lambda _: None)
        self._stopped.wait(10 * LOOK_EVERY_S)
        self._stopped.set()
        self._thread.join()

    def _look(self, dsn: str) -> None:
        with connect(dsn) as connection:
            while not self._stopped.wait(LOOK_EVERY_S):
                ((now, position),) = connection.execute(LOOK).fetchall()
                self._looks.append((now.timestamp(), position))

    def found(self, commands_per_s: float) -> Delays:
        """Hold what was recorded against when it was seen."""
        rows = self._connection.execute(EVENTS, [self._after], binary=True).fetchall()
        events = [codec.decode(*row) for row in rows]
        return Delays(
            commands_per_s,
            sorted(self._behind(events)),
            sorted(_to_activation(events)),
            sorted(_to_next(events)),
        )

    def _behind(self, events: Sequence[RecordedEvent]) -> Iterator[float]:
        reached = [position for _, position in self._looks]
        for event in events:
            look = bisect_left(reached, event.position)
            if look < len(reached):
                yield (self._looks[look][0] - event.recorded_at.timestamp()) * 1_000


def _to_activation(events: Sequence[RecordedEvent]) -> Iterator[float]:
    issued = {event.stream: event for event in events if isinstance(event.event, TokenIssued)}
    for event in events:
        if isinstance(event.event, TokenActivated) and event.stream in issued:
            yield _ms_between(issued[event.stream], event)


def _to_next(events: Sequence[RecordedEvent]) -> Iterator[float]:
    """Where nobody was let in after a slot became free, somebody was before it could count."""
    advanced = [event for event in events if isinstance(event.event, QueueAdvanced) and event.event.activated]
    for event in events:
        if isinstance(event.event, SlotsFreed):
            following = (one for one in advanced if one.stream == event.stream)
            if later := next((one for one in following if one.position > event.position), None):
                yield _ms_between(event, later)


def _ms_between(first: RecordedEvent, second: RecordedEvent) -> float:
    return (second.recorded_at - first.recorded_at).total_seconds() * 1_000


def measure(tell: Tell, *, short: bool) -> Growth:
    """Measure at full write load, and at 70 % of it."""
    seconds = SHORT_SECONDS if short else SECONDS
    with embedded() as (dsn, _), service(dsn) as port:
        load = Load(dsn, port)
        tell("as fast as it goes")
        full = load.full(seconds)
        tell(f"{SHARE:.0%} of {full.commands_per_s:,.0f}/s")
        some = load.steady(SHARE * full.commands_per_s, seconds)
    figures = [*_figures("full write load", full), *_figures(f"{SHARE:.0%} of it", some)]
    curve = Curve(
        f"Delays at {full.commands_per_s:,.0f} and at {some.commands_per_s:,.0f} commands/s",
        "percentile",
        [f"p{percent:g}" for percent in PERCENTS],
        "ms",
        [*_lines("full load", full), *_lines(f"{SHARE:.0%}", some)],
        limit=PERSON_MS_MAX,
    )
    return Growth(curve, figures)


def _figures(load: str, delays: Delays) -> Iterator[Figure]:
    yield told(f"commands, {load}", delays.commands_per_s, "1/s")
    for name, each, limit in (
        ("read models behind", delays.behind, LAG_MS_MAX),
        ("from joining an empty line to activation", delays.to_activation, PERSON_MS_MAX),
        ("from a free slot to the next activation", delays.to_next, PERSON_MS_MAX),
    ):
        yield told(f"{name}, {load}: p50 of {len(each):,}", percentile(each, 50), "ms")
        yield at_most(f"{name}, {load}: p99", percentile(each, 99), "ms", limit)


def _lines(load: str, delays: Delays) -> Iterator[Line]:
    for name, each in (
        ("read models behind", delays.behind),
        ("issued to activated", delays.to_activation),
        ("free slot to next", delays.to_next),
    ):
        yield Line(f"{name}, {load}", [percentile(each, percent) for percent in PERCENTS])
