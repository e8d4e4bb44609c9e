"""The log as it is stored, read by the audit with types of its own.

One JSON object per event: what every event carries, around its payload. Only the members that a rule or a
read model needs are read. Ids stay text, which is compact and quick to compare; dates and start times are
the venue's wall-clock and stay text as well.
"""

from datetime import datetime
from hashlib import sha1
from typing import Annotated, Generic, TypeVar
from uuid import UUID

import msgspec
from msgspec import Meta

NAMESPACE = UUID("7c1d9a52-3b0e-5f64-9a77-1f2f0c8e4b10").bytes
"""A stream's id is the UUIDv5 of its name under this namespace, which never changes."""

Id = Annotated[str, Meta(min_length=36, max_length=36)]
Day = Annotated[str, Meta(min_length=10, max_length=10)]
Clock = Annotated[str, Meta(min_length=5, max_length=5)]
Instant = Annotated[datetime, Meta(tz=True)]

LARGEST = 2**53 - 1
"""No honest number is larger, and every reader of JSON can tell those up to it apart (RFC 8259, 6)."""

Won = Annotated[int, Meta(ge=0, le=LARGEST)]
Balance = Annotated[int, Meta(ge=-LARGEST, le=LARGEST)]
Count = Annotated[int, Meta(ge=0, le=LARGEST)]
Number = Annotated[int, Meta(ge=1, le=LARGEST)]
Numbers = tuple[Number, ...]

SEAT_DIGITS_MAX = 9

Payload = TypeVar("Payload")


class Stored(msgspec.Struct, Generic[Payload], frozen=True, gc=False):
    """The `state` column of one event."""

    stream: str
    partition_key: str
    recorded_at: Instant
    payload: Payload


def stream_id(name: str) -> bytes:
    """Compute the id of the stream called `name`: its UUIDv5 (RFC 9562, 5.5), as 16 bytes."""
    digest = bytearray(sha1(NAMESPACE + name.encode(), usedforsecurity=False).digest()[:16])
    digest[6] = digest[6] & 0x0F | 0x50
    digest[8] = digest[8] & 0x3F | 0x80
    return bytes(digest)


def is_seat_number(text: str) -> bool:
    """Whether a seat's stream may end in this: a plain number, of no more digits than any hall needs."""
    return text.isascii() and text.isdecimal() and len(text) <= SEAT_DIGITS_MAX


class Nothing(msgspec.Struct, frozen=True, gc=False):
    """The payload of an event that says all by its topic."""


class Policy(msgspec.Struct, frozen=True, gc=False):
    """A sale policy; the defaults are the domain's."""

    max_active: int | None = 100
    admit_per_interval: int | None = None
    admit_interval_s: int = 10
    admit_up_to_seats_left: bool = True
    max_waiting: int = 1_000_000
    active_ttl_s: int = 600
    hold_ttl_s: int = 300
    max_seats_per_user: int = 4
    abandon_waiting_after_s: int | None = 600
    abandon_active_after_s: int | None = None
    abandon_after_disconnect_s: int | None = None
    on_insufficient_balance: str = "keep_hold"
    charge_while_holding: bool = True
    sales_open_at: Instant | None = None
    sales_close_at: Instant | None = None
    refund_until_s: int | None = 86_400


class Block(msgspec.Struct, frozen=True, gc=False):
    """The seats `first` to `last` of a plan, of one type and at one price."""

    first: Number
    last: Number
    type: str
    price: Won


class ConcertAnnounced(msgspec.Struct, frozen=True, gc=False):
    """`concert.announced`."""

    code: str
    title: str
    description: str
    category: str
    venue: str
    time_zone: str
    policy: Policy


class PerformanceScheduled(msgspec.Struct, frozen=True, gc=False):
    """`concert.performance_scheduled`."""

    date: Day
    start_time: Clock
    end_time: Clock | None
    starts_at: Instant
    seats: tuple[Block, ...]


class PolicyChanged(msgspec.Struct, frozen=True, gc=False):
    """`concert.policy_changed`."""

    policy: Policy


class SeatHeld(msgspec.Struct, frozen=True, gc=False):
    """`seat.held`."""

    reservation_id: Id
    token_id: Id
    user_id: Id
    until: Instant


class OfReservation(msgspec.Struct, frozen=True, gc=False):
    """`seat.hold_expired`, `seat.hold_released` and `wallet.charging_resumed`."""

    reservation_id: Id


class SeatSold(msgspec.Struct, frozen=True, gc=False):
    """`seat.sold`."""

    reservation_id: Id
    payment_id: Id
    user_id: Id


class OfPayment(msgspec.Struct, frozen=True, gc=False):
    """`seat.returned`, `token.completed`, `reservation.payment_failed` and `reservation.confirmed`."""

    payment_id: Id


class ReservationOpened(msgspec.Struct, frozen=True, gc=False):
    """`reservation.opened`."""

    token_id: Id
    user_id: Id
    code: str
    date: Day
    start_time: Clock
    seat_numbers: Numbers
    amount: Won
    until: Instant


class WalletCharged(msgspec.Struct, frozen=True, gc=False):
    """`wallet.charged`."""

    amount: Won


class WalletMoved(msgspec.Struct, frozen=True, gc=False):
    """`wallet.debited` and `wallet.refunded`."""

    amount: Won
    payment_id: Id


class ChargingSuspended(msgspec.Struct, frozen=True, gc=False):
    """`wallet.charging_suspended`."""

    reservation_id: Id
    until: Instant


class PaymentCompleted(msgspec.Struct, frozen=True, gc=False):
    """`payment.completed`."""

    reservation_id: Id
    user_id: Id
    code: str
    date: Day
    start_time: Clock
    seat_numbers: Numbers
    amount: Won
    balance: Balance


class PaymentFailed(msgspec.Struct, frozen=True, gc=False):
    """`payment.failed`."""

    reservation_id: Id
    user_id: Id
    code: str
    amount: Won
    reason: str
    balance: Balance


class PaymentRefunded(msgspec.Struct, frozen=True, gc=False):
    """`payment.refunded`."""

    amount: Won
    balance: Balance


class NumbersIssued(msgspec.Struct, frozen=True, gc=False):
    """`queue.numbers_issued`."""

    first: Number
    last: Number


class QueueAdvanced(msgspec.Struct, frozen=True, gc=False):
    """`queue.advanced`."""

    head: Number
    activated: Count


class SeatsMoved(msgspec.Struct, frozen=True, gc=False):
    """`queue.seats_sold`, `queue.seats_returned` and `queue.seats_added`."""

    count: Count
    by_performance: dict[str, Count] = {}


class SlotsFreed(msgspec.Struct, frozen=True, gc=False):
    """`queue.slots_freed`."""

    count: Count


class SeatsWithdrawn(msgspec.Struct, frozen=True, gc=False):
    """`queue.seats_withdrawn`."""

    date: Day
    start_time: Clock
    count: Count


class TokenIssued(msgspec.Struct, frozen=True, gc=False):
    """`token.issued`."""

    token_id: Id
    user_id: Id
    code: str
    queue_number: Number


class TokenActivated(msgspec.Struct, frozen=True, gc=False):
    """`token.activated`."""

    until: Instant


class TokenSeatsHeld(msgspec.Struct, frozen=True, gc=False):
    """`token.seats_held`."""

    reservation_id: Id
    seat_numbers: Numbers
    until: Instant


class TokenSeatsReleased(msgspec.Struct, frozen=True, gc=False):
    """`token.seats_released`."""

    reservation_id: Id
    seat_numbers: Numbers


class TokenSeatsReturned(msgspec.Struct, frozen=True, gc=False):
    """`token.seats_returned`."""

    payment_id: Id
    seat_numbers: Numbers
