"""How fast read models follow the log, and how fast they are made anew, as the log grows."""

import time
from collections.abc import Iterable
from typing import NamedTuple

from bench.curve import Curve, Line
from bench.growth import sales_log
from bench.growth.figure import Figure, Growth, Tell, at_least
from bench.growth.running import connect, settle
from bench.rebuild import seconds_of
from bench.service import database
from infrastructure.collector import IN_BATCHES, collect_rarely
from projections.registry import PROJECTIONS
from tests.audit.database import project

SIZES, SHORT_SIZES = (100_000, 300_000, 1_000_000), (20_000, 60_000)
EVENTS_PER_S_MIN = 20_000


class Following(NamedTuple):
    """What was found with so many events in the log."""

    events: int
    project_per_s: float
    """The events added last, by one projector with all read models."""
    rebuild_per_s: float
    """All events, all read models at once."""


def measure(tell: Tell, *, short: bool) -> Growth:
    """Let one log grow; at its end, rebuild each read model by itself, too."""
    collect_rarely(IN_BATCHES)  # as `ticketing project` does
    sizes = SHORT_SIZES if short else SIZES
    found: list[Following] = []
    events = 0
    with database() as dsn:
        for size in sizes:
            tell(f"{size:,} events")
            before, events = events, sales_log.grow(dsn, events, size)
            began = time.perf_counter()
            project(dsn)
            project_per_s = (events - before) / (time.perf_counter() - began)
            with connect(dsn) as connection:
                settle(connection)
            tell(f"{size:,} events: rebuilding")
            found.append(Following(size, project_per_s, events / seconds_of(dsn, PROJECTIONS)))
        by_itself = [
            at_least(f"rebuild {one.name}", events / seconds_of(dsn, [one]), "events/s", EVENTS_PER_S_MIN)
            for one in PROJECTIONS
        ]
    return _growth(found, by_itself)


def _growth(found: list[Following], by_itself: Iterable[Figure]) -> Growth:
    last = found[-1]
    figures = [
        at_least("project all read models", last.project_per_s, "events/s", EVENTS_PER_S_MIN),
        at_least("rebuild all read models", last.rebuild_per_s, "events/s", EVENTS_PER_S_MIN),
        *by_itself,
    ]
    curve = Curve(
        "Following the log, and making read models anew",
        "events in the log",
        [f"{one.events:,}" for one in found],
        "events/s",
        [
            Line("project all", [one.project_per_s for one in found]),
            Line("rebuild all", [one.rebuild_per_s for one in found]),
        ],
        limit=EVENTS_PER_S_MIN,
    )
    return Growth(curve, figures)
