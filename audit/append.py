"""One append: all events that share a recorded time, and what they must show together.

Many rules say what belongs into one append (paying is one append or nothing, rule P1). So while an append
is read, what its events say about each reservation, payment and queue is laid side by side, and when it is
complete, each of these is held against its rule. The order of the events within a command does not matter.
"""

from datetime import datetime
from typing import Generic, TypeVar

import msgspec

from audit.breaches import Rule
from audit.state import Concert, Payment, Performance, Reservation, Seat, Tokens, Wallet
from audit.stored import (
    PaymentCompleted,
    PaymentFailed,
    PaymentRefunded,
    Policy,
    SeatHeld,
    SeatSold,
    TokenSeatsHeld,
)


class Shown(msgspec.Struct):
    """What the append shows of one thing, and where."""

    positions: list[int] = []


class Opening(Shown):
    """What the append shows of one reservation that begins."""

    reservation: Reservation | None = None
    suspends_charging: bool = False
    """Whether the policy of that moment forbids charging while holding (rule W3)."""
    seats: list[tuple[Seat, SeatHeld]] = []
    token: tuple[Tokens, str, TokenSeatsHeld] | None = None
    """With the id of the token that was live."""
    suspended: tuple[Wallet, datetime] | None = None


class Ending(Shown):
    """What the append shows of one reservation that ends, or of a hold that is given up alone."""

    reservation: Reservation | None = None
    """The reservation, where its own stream tells its end."""


class Sale(Shown):
    """What the append shows of one payment that was completed (rule P1)."""

    completed: PaymentCompleted | None = None
    payment: Payment | None = None
    reservation: Reservation | None = None
    """The reservation that the payment names."""
    debits: list[tuple[Wallet, int, int]] = []
    """The wallet, the amount, and the balance after it."""
    confirmed: Reservation | None = None
    seats: list[tuple[Seat, SeatSold]] = []
    token: tuple[Tokens, str | None] | None = None
    """With the reservation that it held."""


class Failure(Shown):
    """What the append shows of one payment that failed (rule P3)."""

    failed: PaymentFailed | None = None
    payment: Payment | None = None
    reservation: Reservation | None = None
    """The reservation whose stream tells of it."""
    policy: Policy | None = None
    """The policy of that moment."""


class Refund(Shown):
    """What the append shows of one payment that was given back (rule P4)."""

    refunded: PaymentRefunded | None = None
    payment: Payment | None = None
    credits: list[tuple[Wallet, int, int]] = []
    """The wallet, the amount, and the balance after it."""
    cancelled: Reservation | None = None
    seats: list[Seat] = []
    tokens: tuple[Tokens, tuple[int, ...]] | None = None


class Tally(msgspec.Struct):
    """What the append's individual events count up to, for one queue."""

    concert: Concert
    next_number: int
    """The number that the next token must get (rule Q1)."""
    seats_left: int
    """Seats not sold, less those that the append sells (rule Q4)."""
    admitted_before: int | None = None
    """Activations within the policy's interval before this append, once they were counted."""
    max_waiting: int = 0
    """The policy's, when the last number was issued."""
    numbers: list[int] = []
    issued_at: list[int] = []
    activated: dict[int, int] = {}
    """Queue number and position of each activation."""
    freed_at: list[int] = []
    sold: dict[str, int] = {}
    sold_at: list[int] = []
    returned: dict[str, int] = {}
    returned_at: list[int] = []
    added: dict[str, int] = {}
    added_at: list[int] = []
    announced_at: list[int] = []
    withdrawn: list[Performance] = []
    told: set[str] = set()
    """Topics of the queue's own events that were read."""


ShownKind = TypeVar("ShownKind", bound=Shown)


class ById(dict[str, ShownKind], Generic[ShownKind]):
    """What the append shows of each reservation or payment, by its id."""

    __slots__ = ("_kind",)

    def __init__(self, kind: type[ShownKind]) -> None:
        """Start with none; `kind` is what is kept of each."""
        self._kind = kind

    def __missing__(self, id_: str) -> ShownKind:
        """Begin with an id that this append has not named before."""
        shown = self[id_] = self._kind()
        return shown

    def at(self, id_: str, position: int) -> ShownKind:
        """What is shown of this id, to which the event at `position` adds."""
        shown = self[id_]
        shown.positions.append(position)
        return shown


class Append:
    """The append that is being read."""

    __slots__ = (
        "endings",
        "failures",
        "holding_at_end",
        "lapses",
        "merged_at",
        "openings",
        "refunds",
        "sales",
        "tallies",
    )

    def __init__(self) -> None:
        """Nothing has been read yet."""
        self.openings = ById(Opening)
        self.endings = ById(Ending)
        self.sales = ById(Sale)
        self.failures = ById(Failure)
        self.refunds = ById(Refund)
        self.tallies: dict[str, Tally] = {}
        self.lapses: dict[str, tuple[str, int]] = {}
        """Seats whose hold expired and that nobody has taken yet: by whose reservation, told where."""
        self.holding_at_end: dict[str, tuple[str, Rule, int]] = {}
        """Token streams whose token ended with seats held: which reservation, rule and place."""
        self.merged_at = 0
        """Position of the last event of a queue; individual events do not come after it."""
