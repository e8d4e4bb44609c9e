"""What a buyer of the crowd wants, where they are, and what became of them."""

from enum import StrEnum
from typing import NamedTuple
from uuid import UUID

from cli.crowd.answers import Payment


class Wish(NamedTuple):
    """What each buyer of a crowd wants, and how they go about it."""

    concert: str
    seats: int
    charge: int
    """Won that the wallet is charged with beforehand."""
    patience_s: float
    """From coming to the queue until giving up."""
    poll_every_ms: int | None
    """None: as the service says."""


class Stage(StrEnum):
    """Where a buyer is."""

    PREPARING = "preparing"
    AWAY = "not there yet"
    JOINING = "joining"
    WAITING = "waiting"
    CHOOSING = "choosing seats"
    PAYING = "paying"


class End(StrEnum):
    """How a visit ended."""

    BOUGHT = "bought"
    SOLD_OUT = "sold out"
    SALES_CLOSED = "sales closed"
    OUT_OF_TIME = "token expired"
    TOKEN_ENDED = "token ended"
    IMPATIENT = "gave up waiting"
    REFUSED = "refused"
    FAILED = "failed"


class Visit(NamedTuple):
    """What became of one buyer."""

    user_id: UUID
    end: End
    reason: str
    """The code of the refusal, or what went wrong; else empty."""
    queue_number: int | None
    in_line_s: float | None
    """From coming to the queue until told the place in line."""
    waited_s: float | None
    """From coming to the queue until let in."""
    seconds: float
    """From coming to the queue until the end."""
    races_lost: int
    payment: Payment | None
    amount_seen: int
    """What the seats that were reserved last cost by the map, in won."""
