"""What the audit remembers while it replays: each stream's version, and what is still open.

A stream is forgotten once nothing more may happen to it: a reservation that expired or was cancelled, a
payment that failed or was refunded, and, when a performance has begun and its last reservation is settled,
its seats, payments and reservations. So memory grows with wallets, with the users of each concert (a small
record each), and with what is on sale, not with the log.
"""

from bisect import bisect_left
from datetime import datetime, timedelta
from typing import Final

import msgspec

from audit.stored import Block, Policy

INTERVAL_MAX: Final = timedelta(hours=1)
"""The longest `admit_interval_s` of a policy: older admissions never matter again."""


class Stream(msgspec.Struct, kw_only=True, gc=False):
    """One aggregate's events so far."""

    name: str
    partition_key: str = ""
    version: int = 0


class Performance(msgspec.Struct, kw_only=True, gc=False):
    """One showing: its plan of seats, and what hangs on it."""

    name: str
    """`YYYY-MM-DDTHH:MM`, the venue's wall-clock."""
    starts_at: datetime | None = None
    """None for a performance that was never scheduled."""
    plan: tuple[Block, ...] = ()
    withdrawn: bool = False
    """The queue's stream has taken its unsold seats out of the count (rule L2)."""
    open_reservations: int = 0
    streams: set[str] = set()
    """The seats, payments and confirmed reservations to forget when it is over."""

    def seat_count(self) -> int:
        """How many seats the plan has."""
        return sum(block.last - block.first + 1 for block in self.plan)

    def price(self, number: int) -> int | None:
        """What the seat costs, in won; None where the plan has no such seat."""
        for block in self.plan:
            if block.first <= number <= block.last:
                return block.price
        return None


class Admissions:
    """How many tokens were activated when, over the last hour."""

    def __init__(self) -> None:
        """Start with none."""
        self._instants: list[datetime] = []
        self._totals: list[int] = []
        self._forgotten = 0

    def add(self, at: datetime, count: int) -> None:
        """Count `count` activations at one instant, not earlier than those before."""
        if self._instants and at - self._instants[0] > 2 * INTERVAL_MAX:
            self._forget(at - INTERVAL_MAX)
        self._instants.append(at)
        self._totals.append(self._total() + count)

    def since(self, start: datetime) -> int:
        """How many there were from `start` on, `start` included."""
        first = bisect_left(self._instants, start)
        return self._total() - (self._totals[first - 1] if first else self._forgotten)

    def _total(self) -> int:
        return self._totals[-1] if self._totals else self._forgotten

    def _forget(self, before: datetime) -> None:
        count = bisect_left(self._instants, before)
        self._forgotten = self._totals[count - 1]
        del self._instants[:count]
        del self._totals[:count]


class Queue(Stream, kw_only=True, gc=False):
    """The line of one concert, and the gate at its end."""

    opened: bool = False
    paused: bool = False
    issued: int = 0
    """The last number given out."""
    head: int = 0
    """The highest number that the gate has passed."""
    active: int = 0
    """Active tokens, as the tokens' own streams tell; what the queue's stream says is held against it."""
    unsold: dict[str, int] = {}
    """Seats not sold, of each performance that was not withdrawn."""
    left_early: set[int] = set()
    """Numbers ahead of the gate whose tokens have ended."""
    admissions: Admissions = msgspec.field(default_factory=Admissions)


class Concert(Stream, kw_only=True, gc=False):
    """A concert with its queue, and its totals."""

    queue: Queue
    announced: bool = False
    policy: Policy = Policy()
    sales_open: bool = False
    performances: dict[str, Performance] = {}
    activated: int = 0
    seats_sold: int = 0
    """Sold and not returned."""
    revenue: int = 0
    """Completed payments less refunds, in won."""


class Seat(Stream, kw_only=True, gc=False):
    """One seat: available, held by a reservation, or sold to a payment."""

    performance: Performance
    number: int
    reservation_id: str | None = None
    until: datetime | None = None
    payment_id: str | None = None
    position: int = 0
    """Of the event that last changed hands."""


class Reservation(Stream, kw_only=True, gc=False):
    """One user's claim on seats of one performance."""

    position: int = 0
    """Of `reservation.opened`; 0 before it."""
    token_id: str = ""
    user_id: str = ""
    performance: Performance | None = None
    seat_numbers: tuple[int, ...] = ()
    amount: int = 0
    until: datetime | None = None
    open: bool = False
    payment_id: str | None = None
    """The payment that confirmed it."""
    failures: int = 0

    @property
    def id(self) -> str:
        """Its id, which its stream is named after."""
        return self.name[len("reservation/") :]


class Token(msgspec.Struct, kw_only=True, gc=False):
    """A token whose end has not been recorded."""

    token_id: str
    number: int
    position: int
    """Of `token.issued`."""
    until: datetime | None = None
    """Its deadline once active; None while it waits."""
    reservation_id: str | None = None
    """The open reservation that it holds seats for."""
    seat_numbers: tuple[int, ...] = ()
    """These seats."""


class Tokens(Stream, kw_only=True, gc=False):
    """All tokens of one user for one concert: at most one is live (rule Q2)."""

    live: Token | None = None
    bought: dict[str, int] = {}
    """How many seats each payment bought that was not refunded (rule S4)."""


class Wallet(Stream, kw_only=True, gc=False):
    """A user's prepaid balance; the user id is its partition key."""

    opened: bool = False
    balance: int = 0
    charged: int = 0
    debited: int = 0
    refunded: int = 0
    suspended: dict[str, datetime] = {}
    """Until when each open reservation forbids charging (rule W3)."""


class Payment(Stream, kw_only=True, gc=False):
    """A payment that was completed and may still be refunded."""

    position: int = 0
    """Of its first event; 0 before it."""
    reservation: Reservation | None = None
    user_id: str = ""
    amount: int = 0
    balance: int = 0
    paid_at: datetime | None = None
    completed: bool = False

    @property
    def id(self) -> str:
        """Its id, which its stream is named after."""
        return self.name[len("payment/") :]
