"""What one operation came to at one contestant in one round, and what its ceiling is to be measured with."""

import itertools
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Final, NamedTuple

from bench.client import Result, run

WARM_SHARE: Final = 0.1
"""Of its time comes on top of each measurement, at the beginning, and does not count."""


class UnexpectedAnswer(Exception):
    """A figure made of wrong answers is worth nothing."""


class Like(NamedTuple):
    """A request as it was sent, and how it was answered."""

    method: str
    request: bytes
    status: int
    body_bytes: int
    """The mean."""


class Measured(NamedTuple):
    """One operation at one contestant in one round."""

    result: Result
    likes: Sequence[Like]
    """Its requests: one, or those of a whole visit."""
    remark: str = ""


def measured(result: Result, asked: bytes, expected: int) -> Measured:
    """See that all answers are what they should be, and that some count. Raises UnexpectedAnswer."""
    if set(result.statuses) != {expected}:
        call = asked.partition(b" HTTP")[0].decode()
        raise UnexpectedAnswer(f"{call}: expected {expected}, got {dict(result.statuses) or 'no answer'}")
    if not result.answers:
        raise UnexpectedAnswer("all had been answered before it was warm")
    method = asked.partition(b" ")[0].decode()
    return Measured(result, [Like(method, asked, expected, result.body_bytes_mean)])


def measure_ceiling(
    serve: Callable[..., AbstractContextManager[int]],
    likes: Sequence[Like],
    *,
    connections: int,
    seconds: float,
) -> Result:
    """Send the same requests to bare routes, which answer as much. Raises UnexpectedAnswer."""
    routes = [f"{like.method}:/{place}:{like.status}:{like.body_bytes}" for place, like in enumerate(likes)]
    requests = [_to(f"/{place}", like.request) for place, like in enumerate(likes)]
    with serve(*routes) as port:
        result = run(
            port,
            itertools.cycle(requests),
            connections=connections,
            seconds=seconds,
            warm_s=seconds * WARM_SHARE,
        )
    if set(result.statuses) != {like.status for like in likes}:
        raise UnexpectedAnswer(f"at the ceiling: {dict(result.statuses)}")
    return result


def _to(path: str, asked: bytes) -> bytes:
    """The same request for another path."""
    method, _, rest = asked.split(b" ", 2)
    return b" ".join((method, path.encode(), rest))
