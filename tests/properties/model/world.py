"""What there is: plain records that the model changes as the rules say. On record means: in the log."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from enum import StrEnum
from typing import Any, NamedTuple
from uuid import UUID


class Status(StrEnum):
    """Of tokens, reservations and payments, as on record."""

    WAITING = "WAITING"
    ACTIVE = "ACTIVE"
    OPEN = "OPEN"
    CONFIRMED = "CONFIRMED"
    COMPLETED = "COMPLETED"
    EXPIRED = "EXPIRED"
    CANCELLED = "CANCELLED"
    FAILED = "FAILED"
    REFUNDED = "REFUNDED"


class Block(NamedTuple):
    """The seats `first` to `last` of a plan."""

    first: int
    last: int
    type: str
    price: int


@dataclass(eq=False)
class Wallet:
    """Every entry with its sign, and the reservations that forbid charging, with their deadlines."""

    entries: list[int] = field(default_factory=list)
    suspended: dict[UUID, datetime] = field(default_factory=dict)

    @property
    def balance(self) -> int:
        """W1: charges − debits + refunds."""
        return sum(self.entries)


@dataclass(eq=False)
class Show:
    """A performance: who holds and who owns which of its seats."""

    day: date
    start_time: str
    starts_at: datetime
    plan: tuple[Block, ...]
    holds: dict[int, "Reservation"] = field(default_factory=dict)
    """Those on record, lapsed or not."""
    owners: dict[int, "Payment"] = field(default_factory=dict)
    withdrawn: bool = False

    @property
    def name(self) -> str:
        """As the queue's events have it."""
        return f"{self.day.isoformat()}T{self.start_time}"

    @property
    def unsold(self) -> int:
        """Seats without an owner."""
        return self.plan[-1].last - len(self.owners)

    def price(self, number: int) -> int | None:
        """Of one seat, if there is such a seat."""
        return next((block.price for block in self.plan if block.first <= number <= block.last), None)


@dataclass(eq=False)
class Token:
    """One user's place in a line, and their way through the sale."""

    id: UUID
    user_id: UUID
    code: str
    number: int
    issued_at: datetime
    status: Status = Status.WAITING
    activated_at: datetime | None = None
    until: datetime | None = None
    open: "Reservation | None" = None
    """The reservation that is open on record."""
    last: "Reservation | None" = None

    @property
    def live(self) -> bool:
        """Whether no end of it is on record."""
        return self.status in (Status.WAITING, Status.ACTIVE)

    @property
    def ends_at(self) -> datetime | None:
        """Q5: its deadline, or that of its open reservation where that is later."""
        if self.until is None or self.open is None:
            return self.until
        return max(self.until, self.open.until)

    def out_of_time(self, now: datetime) -> bool:
        """Q5: whether its time has run out, on record or not."""
        return self.live and self.ends_at is not None and self.ends_at <= now


@dataclass(eq=False)
class Reservation:
    """One user's holds."""

    id: UUID
    token: Token
    show: Show
    seat_numbers: tuple[int, ...]
    amount: int
    until: datetime
    status: Status = Status.OPEN
    failures: int = 0


@dataclass(eq=False)
class Payment:
    """A reservation paid, or an attempt at it."""

    id: UUID
    reservation: Reservation
    amount: int
    status: Status
    paid_at: datetime


@dataclass(eq=False)
class Concert:
    """A concert, its sale and its line."""

    code: str
    title: str
    time_zone: str
    policy: Mapping[str, Any]
    open: bool = False
    changed_at: datetime | None = None
    """When its sale was last opened or closed."""
    paused: bool = False
    shows: dict[str, Show] = field(default_factory=dict)
    line: list[Token] = field(default_factory=list)
    """Everyone who ever stood in it, by number."""
    head: int = 0
    activations: list[datetime] = field(default_factory=list)

    def live_token_of(self, user_id: UUID) -> Token | None:
        """Q2: the one whose end is not on record."""
        return next((token for token in self.line if token.live and token.user_id == user_id), None)

    @property
    def active(self) -> int:
        """How many tokens are active on record."""
        return sum(token.status is Status.ACTIVE for token in self.line)


@dataclass(eq=False)
class Rules:
    """The settings of the whole service."""

    smallest_charge: int
    largest_charge: int
    largest_balance: int
    wallet_needs_token: bool


@dataclass(eq=False)
class World:
    """All of it."""

    rules: Rules
    wallets: dict[UUID, Wallet] = field(default_factory=dict)
    names: dict[UUID, str | None] = field(default_factory=dict)
    concerts: dict[str, Concert] = field(default_factory=dict)
    tokens: dict[UUID, Token] = field(default_factory=dict)
    reservations: dict[UUID, Reservation] = field(default_factory=dict)
    payments: dict[UUID, Payment] = field(default_factory=dict)
    listening_since: datetime | None = None
    heard: dict[UUID, datetime] = field(default_factory=dict)
    """When each token was last heard from."""
