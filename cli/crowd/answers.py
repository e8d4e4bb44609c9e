"""What a buyer reads of the service's answers: only what they need to decide what to do next."""

from typing import TypeVar
from uuid import UUID

import msgspec

T = TypeVar("T")


class Token(msgspec.Struct, frozen=True):
    """A place in line."""

    token: str
    queue_number: int
    status: str
    sales: str
    sold_out: bool
    poll_after_ms: int


class Showing(msgspec.Struct, frozen=True):
    """A performance that has free seats."""

    date: str
    start_time: str
    seats_available: int


class Dates(msgspec.Struct, frozen=True):
    """A concert's performances."""

    dates: list[Showing]


class Seat(msgspec.Struct, frozen=True):
    """A seat of the map."""

    seat_number: int
    price: int
    status: str


class SeatMap(msgspec.Struct, frozen=True):
    """The seats of one performance."""

    seats: list[Seat]


class Reservation(msgspec.Struct, frozen=True):
    """Held seats."""

    reservation_id: UUID
    amount: int


class Payment(msgspec.Struct, frozen=True):
    """A paid reservation."""

    payment_id: UUID
    date: str
    start_time: str
    seat_numbers: list[int]
    amount: int
    status: str


class Concert(msgspec.Struct, frozen=True):
    """What is on sale."""

    code: str
    sales: str

    @classmethod
    def of(cls, body: bytes) -> "Concert | None":
        """Read it, None where the body is something else."""
        return _read(body, cls)


class Concerts(msgspec.Struct, frozen=True):
    """All that there is, or the beginning of it."""

    items: list[Concert]

    @classmethod
    def of(cls, body: bytes) -> "Concerts | None":
        """Read them, None where the body is something else."""
        return _read(body, cls)


def _read(body: bytes, shape: type[T]) -> T | None:
    try:
        return msgspec.json.decode(body, type=shape)
    except msgspec.DecodeError:
        return None
