"""Measures rebuilds: of each read model, and of all at once.

`python -m bench.rebuild` writes a log of a million events into a database of its own; `--events N` another.
"""

import argparse
import time
from collections.abc import Sequence
from typing import Any

from bench.audit import log
from bench.service import database
from cli.rebuild import rebuild
from projections.projection import Projection
from projections.registry import PROJECTIONS
from tests.audit.database import project, store


def seconds_of(dsn: str, projections: Sequence[Projection[Any]]) -> float:
    """Rebuild these, and return how long it took: building, comparing, switching and removing."""
    started = time.perf_counter()
    done = rebuild(dsn, projections, lambda *_: None)
    seconds = time.perf_counter() - started
    if not all(one.position is not None and one.removed for one in done):
        raise RuntimeError("a rebuilt read model was not put in place")
    return seconds


def main() -> None:
    """Print how many events a second each rebuild took in."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000)
    events = parser.parse_args().events
    with database() as dsn:
        store(dsn, log(events))
        project(dsn)
        for projections in (*((one,) for one in PROJECTIONS), PROJECTIONS):
            seconds = seconds_of(dsn, projections)
            name = projections[0].name if len(projections) == 1 else "all"
            print(f"{name:16} {seconds:8.1f} s {events / seconds:10,.0f} events/s", flush=True)


if __name__ == "__main__":
    main()
