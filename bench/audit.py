"""Measures the audit: how fast it replays a log, alone and with its read models, and in how much memory.

`python -m bench.audit` writes a log of a million events into a database of its own; `--events N` another.
"""

import argparse
import multiprocessing
import resource
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import Any, NamedTuple

import audit
from audit.replay import Replay
from bench.service import database
from tests.audit.crowd import Crowd
from tests.audit.database import project, store
from tests.audit.log_builder import LogBuilder, StoredRow

BUYERS = 5_000
"""Of each concert; they record some 36,000 events, and are over with when its doors close."""

IN_MEMORY_EVENTS_MAX = 200_000
"""Enough to measure the replay alone; the whole log need not fit."""


class Speed(NamedTuple):
    """What one audit took."""

    what: str
    events: int
    seconds: float
    cpu_seconds: float
    """Of the auditing process: what one core of it can do."""
    memory_mib: float
    """The auditing process at its largest."""

    @property
    def events_per_s(self) -> float:
        """By the clock on the wall."""
        return self.events / self.seconds

    @property
    def events_per_core_s(self) -> float:
        """By what the auditing process worked."""
        return self.events / self.cpu_seconds


def log(events: int) -> Iterator[StoredRow]:
    """A valid log of at least so many events: one concert after another, with all that happens in a sale."""
    written = Crowd(LogBuilder(), buyers=BUYERS).concerts(1 + events // BUYERS)
    count = 0
    for batch in written:
        yield from (event.row() for event in batch)
        count += len(batch)
        if count >= events:
            return


def replay_alone(events: int) -> Speed:
    """Replay a log that is in memory already."""
    return _in_a_process_of_its_own(_replay_alone, events)


def _replay_alone(events: int) -> Speed:
    rows = list(log(events))
    replay = Replay()
    started, worked = time.perf_counter(), time.process_time()
    replay.apply_all(rows)
    replay.close()
    return _speed("replay alone", replay.events, started, worked)


def whole_audit(dsn: str, *, compare: bool) -> Speed:
    """Audit a database."""
    return _in_a_process_of_its_own(_whole_audit, dsn, compare=compare)


def _whole_audit(dsn: str, *, compare: bool) -> Speed:
    started, worked = time.perf_counter(), time.process_time()
    report = audit.run(dsn, compare=compare)
    if not report.ok:
        raise AssertionError(report.breaches[:3], report.read_models)
    what = "audit with read models" if compare else "audit"
    return _speed(what, report.events, started, worked)


def _speed(what: str, events: int, started: float, worked: float) -> Speed:
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - worked
    memory_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return Speed(what, events, seconds, cpu_seconds, memory_kib / 1024)


def _in_a_process_of_its_own(measure: Callable[..., Speed], *arguments: Any, **options: Any) -> Speed:
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max_workers=1, mp_context=spawn) as pool:
        return pool.submit(measure, *arguments, **options).result()


def measure(dsn: str, events: int) -> Iterator[Speed]:
    """Fill an empty, migrated database with a log of so many events, and audit it."""
    yield replay_alone(min(events, IN_MEMORY_EVENTS_MAX))
    store(dsn, log(events))
    yield whole_audit(dsn, compare=False)
    project(dsn)
    yield whole_audit(dsn, compare=True)


def main() -> None:
    """Measure, and print one line each."""
    parser = argparse.ArgumentParser(prog="bench.audit", description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000, help="how long the log is (1000000)")
    options = parser.parse_args()
    with database() as dsn:
        for speed in measure(dsn, options.events):
            print(
                f"{speed.what:24} {speed.events:>10,} events  {speed.events_per_s:>9,.0f}/s  "
                f"{speed.events_per_core_s:>9,.0f}/s per core  {speed.memory_mib:>6,.0f} MiB",
                flush=True,
            )


if __name__ == "__main__":
    main()
