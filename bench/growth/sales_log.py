"""A log of whole sales, with all that happens in them, that grows in steps."""

from itertools import islice

from bench.audit import log
from tests.audit.database import store


def grow(dsn: str, before: int, size: int) -> int:
    """Have so many events in the log, of which some are there, to the end of an append; return how many."""
    rows = list(islice(log(size), before, None))
    store(dsn, rows)
    return before + len(rows)
