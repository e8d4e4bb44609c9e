"""How fast an audit replays an ever longer log, and in how much memory."""

from bench.audit import Speed, whole_audit
from bench.curve import Curve, Line
from bench.growth import sales_log
from bench.growth.figure import Growth, Tell, at_least, told
from bench.service import database
from tests.audit.database import project

SIZES, SHORT_SIZES = (100_000, 300_000, 1_000_000, 2_000_000), (20_000, 60_000)
EVENTS_PER_S_MIN = 100_000


def measure(tell: Tell, *, short: bool) -> Growth:
    """Audit one log as it grows, by itself and with its read models."""
    sizes = SHORT_SIZES if short else SIZES
    alone: list[Speed] = []
    compared: list[Speed] = []
    events = 0
    with database() as dsn:
        for size in sizes:
            tell(f"{size:,} events")
            events = sales_log.grow(dsn, events, size)
            project(dsn)
            alone.append(whole_audit(dsn, compare=False))
            compared.append(whole_audit(dsn, compare=True))
    figures = [
        at_least("audit, per core", alone[-1].events_per_core_s, "events/s", EVENTS_PER_S_MIN),
        told("audit", alone[-1].events_per_s, "events/s"),
        told("audit with read models, per core", compared[-1].events_per_core_s, "events/s"),
        *(told(f"memory of an audit of {one.events:,} events", one.memory_mib, "MiB") for one in alone),
        told(
            f"memory of an audit of {compared[-1].events:,} with read models", compared[-1].memory_mib, "MiB"
        ),
    ]
    curve = Curve(
        "Auditing as the log grows",
        "events in the log",
        [f"{size:,}" for size in sizes],
        "events/s per core",
        [
            Line("audit", [one.events_per_core_s for one in alone]),
            Line("with read models", [one.events_per_core_s for one in compared]),
        ],
        limit=EVENTS_PER_S_MIN,
    )
    return Growth(curve, figures)
