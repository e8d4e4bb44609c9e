"""Streams: the events of one aggregate, under a readable name from which anyone can compute the id."""

from collections.abc import Callable
from datetime import datetime
from functools import lru_cache
from hashlib import sha1
from typing import Any, Generic, NamedTuple, ParamSpec, TypeVar, cast
from uuid import UUID

import msgspec

NAMESPACE = UUID("7c1d9a52-3b0e-5f64-9a77-1f2f0c8e4b10")
"""Stream ids are UUIDv5 of the stream's name under this namespace. It never changes."""

STREAM_IDS_MAX = 65_536
"""Ids remembered for those who know a stream by its name: 20 MiB at most."""

STREAMS_MAX = 16_384
"""Remembered of each kind, because a command names each of its streams several times: 10 MiB at most."""

State = TypeVar("State")
Key = ParamSpec("Key")


class Aggregate(NamedTuple, Generic[State]):
    """How the streams of one kind are read: where they begin, and what each event makes of the state."""

    kind: str
    initial: State
    evolve: Callable[[State, Any, datetime], State]
    """`evolve(state, event, recorded_at)`: total, and never fails on a recorded event."""
    shape: Any = None
    """The type under which a long stream's state is snapshotted; None where streams stay short."""
    revision: int = 1
    """Raised when `evolve` makes another state of the same events; earlier snapshots are then passed over."""


class Stream(msgspec.Struct, Generic[State], frozen=True):
    """The place of one aggregate's events in the log."""

    name: str
    aggregate: Aggregate[State]
    partition_key: str
    """By which its events are spread: the concert's code, or the user id for a wallet.

    Reservations and payments are known by their id alone; they take the key of the visit they belong to.
    """
    id: UUID


def stream(aggregate: Aggregate[State], key: str, partition_key: str = "") -> Stream[State]:
    """Name the stream of the aggregate that is known by `key` among its kind."""
    name = f"{aggregate.kind}/{key}"
    return Stream(name, aggregate, partition_key, stream_id(name))


def remembered(named: Callable[Key, Stream[State]]) -> Callable[Key, Stream[State]]:
    """Remember the streams that were named last: an id is a SHA-1 of the name, and never changes."""
    return cast("Callable[Key, Stream[State]]", lru_cache(maxsize=STREAMS_MAX)(named))


@lru_cache(maxsize=STREAM_IDS_MAX)
def stream_id(name: str) -> UUID:
    """Compute the id of the stream called `name`: a UUIDv5 (RFC 9562), in half of `uuid.uuid5`'s time."""
    digest = bytearray(sha1(NAMESPACE.bytes + name.encode(), usedforsecurity=False).digest()[:16])
    digest[6] = digest[6] & 0x0F | 0x50
    digest[8] = digest[8] & 0x3F | 0x80
    return msgspec.convert(bytes(digest), UUID)
