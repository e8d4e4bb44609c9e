"""When the buyers of a rush come to the queue: all at once, evenly, or as a recorded file says."""

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

FILE_BYTES_MAX: Final = 64 * 1024 * 1024
"""A million arrivals, written at length."""

BURST: Final = "burst"
EVEN: Final = "even"


class WrongArrivals(Exception):
    """What is wrong with the arrivals asked for, in one line."""


def arrivals(kind: str, buyers: int, over_s: float | None) -> Sequence[float]:
    """Return when each buyer comes, in seconds from the start, in order.

    `kind` is burst, even, or the path of a file whose lines begin with a number of seconds or an RFC 3339
    time; of a file the first `buyers` arrivals are taken, and `over_s`, if given, is the span they are
    stretched to. Raises WrongArrivals.
    """
    match kind:
        case "burst":
            return [0.0] * buyers
        case "even":
            return [index * (over_s or 0.0) / buyers for index in range(buyers)]
        case path:
            return _stretched(_recorded(Path(path), buyers), over_s)


def _recorded(path: Path, buyers: int) -> Sequence[float]:
    try:
        if path.stat().st_size > FILE_BYTES_MAX:
            raise WrongArrivals(f"{path}: is larger than {FILE_BYTES_MAX:,} bytes")
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise WrongArrivals(f"{path}: {(error.strerror or str(error)).lower()}") from error
    except UnicodeError as error:
        raise WrongArrivals(f"{path}: is not UTF-8 text") from error
    moments = sorted(
        _moment(line.split(",")[0].strip(), f"{path}: line {number}")
        for number, line in enumerate(lines, start=1)
        if line.strip() and not line.startswith("#")
    )
    if len(moments) < buyers:
        raise WrongArrivals(f"{path}: has {len(moments)} arrivals, fewer than the {buyers} buyers")
    return [moment - moments[0] for moment in moments[:buyers]]


def _moment(text: str, place: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        return _timestamp(text, place)
    if not math.isfinite(seconds):
        raise WrongArrivals(f"{place}: {text} is not a number of seconds")
    return seconds


def _timestamp(text: str, place: str) -> float:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise WrongArrivals(
            f"{place}: begins neither with a number of seconds nor with an RFC 3339 time"
        ) from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _stretched(offsets: Sequence[float], over_s: float | None) -> Sequence[float]:
    span = offsets[-1]
    if over_s is None or span == 0:
        return offsets
    return [offset * over_s / span for offset in offsets]
