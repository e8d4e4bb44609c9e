"""The shapes of the API's bodies, as they travel. Times are UTC, amounts whole won."""

from datetime import date, datetime
from typing import Annotated, Any, Final, Generic, Literal, TypeVar, get_args
from uuid import UUID

import msgspec
from msgspec import Meta

from aggregates.concert import SeatBlock
from aggregates.errors import ValidationFailed
from aggregates.policy import Policy
from aggregates.reservation import ReservationStatus
from aggregates.token import TokenStatus
from audit import Report

Item = TypeVar("Item")

END = r"(?!\n)$"
"""The end of a text in a pattern; `$` alone would let Python pass over a last line feed."""

ONE_LINE = r"^[^\x00-\x1f\x7f]*" + END

INTEGER_MAX = 2**53 - 1
"""The largest integer that every JSON reader takes exactly (RFC 8259, 6)."""

Text = Annotated[str, Meta(min_length=1, max_length=200, pattern=ONE_LINE)]
"""One line that people read."""

LongText = Annotated[str, Meta(max_length=4_000, pattern=r"^[^\x00-\x08\x0b-\x1f\x7f]*" + END)]
Code = Annotated[str, Meta(pattern=r"^[A-Z0-9][A-Z0-9-]{1,31}" + END)]
Time = Annotated[str, Meta(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]" + END)]
Integer = Annotated[int, Meta(ge=-INTEGER_MAX, le=INTEGER_MAX)]
"""Whatever a client may mean by a number; the rules say which are good."""

Won = Integer
SeatNumbers = Annotated[
    tuple[Integer, ...], Meta(min_length=1, max_length=100, extra_json_schema={"uniqueItems": True})
]
Moment = Annotated[datetime, Meta(tz=True)]
PolicyChanges = dict[str, bool | Integer | str | None]
"""Fields of a sale policy; which there are, and what they take, the policy says."""

Sales = Literal["OPEN", "CLOSED"]

Limit = Annotated[int, Meta(ge=1, le=200)]
"""How many items a page has at most."""

Place = Annotated[str, Meta(pattern=r"^[0-9]{1,18}" + END)]
"""A position or version of the log."""


def _pattern(annotated: Any) -> str:
    constraint: Meta = get_args(annotated)[1]
    return constraint.pattern or ""


PATTERNS_IN_WORDS: Final = {
    _pattern(Code): "a code is 2 to 32 of A–Z, 0–9 and -, and does not begin with -",
    _pattern(Time): 'a time is written "HH:MM", from "00:00" to "23:59"',
    _pattern(Text): "this is one line, without control characters",
    _pattern(LongText): "this must not contain control characters",
    _pattern(Place): "send the `next` of an earlier page",
    _pattern(
        SeatBlock.__annotations__["type"]
    ): "a type is up to 32 of A–Z, 0–9 and _, beginning with a letter",
}
"""What a person is told in place of a regular expression."""

_IN_WORDS: Final = {
    f"Expected `str` matching regex {pattern!r}": words for pattern, words in PATTERNS_IN_WORDS.items()
}


def not_valid(error: msgspec.ValidationError) -> ValidationFailed:
    """Say of input what msgspec found wrong with it, and that of a pattern in words."""
    return ValidationFailed.of(error, _IN_WORDS)


class NewUser(msgspec.Struct, frozen=True):
    """Registers a user; the gateway may choose the id."""

    user_id: UUID | None = None
    name: Annotated[str, Meta(min_length=1, max_length=100, pattern=ONE_LINE)] | None = None


class UserView(msgspec.Struct, frozen=True):
    """A user, as registering answers."""

    user_id: UUID
    name: str | None
    balance: int


class WalletView(msgspec.Struct, frozen=True):
    """What a wallet holds."""

    user_id: UUID
    balance: int


class Charge(msgspec.Struct, frozen=True):
    """Adds won to a wallet."""

    amount: Won


class ChargeView(msgspec.Struct, frozen=True):
    """What was charged, and what the wallet then holds."""

    user_id: UUID
    amount: int
    balance: int


class WalletEntryView(msgspec.Struct, frozen=True):
    """One movement of a wallet."""

    position: int
    type: Literal["CHARGED", "DEBITED", "REFUNDED"]
    amount: int
    balance: int
    payment_id: UUID | None
    recorded_at: datetime


class ConcertView(msgspec.Struct, frozen=True):
    """A concert, as buyers see it."""

    code: str
    title: str
    description: str
    category: str
    venue: str
    time_zone: str
    sales: Sales
    sales_open_at: datetime | None
    sales_close_at: datetime | None
    first_date: date | None
    last_date: date | None


class JoinRequest(msgspec.Struct, frozen=True):
    """Stands in line for a user."""

    user_id: UUID


class TokenView(msgspec.Struct, frozen=True):
    """TOKEN: a place in line and, once active, the right to buy."""

    token: str
    token_id: UUID
    user_id: UUID
    concert_code: str
    queue_number: int
    status: TokenStatus
    place: int | None
    ahead: int | None
    eta_seconds: int | None
    sales: Sales
    sold_out: bool
    poll_after_ms: int
    issued_at: datetime
    expires_at: datetime | None


class DateView(msgspec.Struct, frozen=True):
    """One performance, and how many of its seats are free."""

    date: date
    start_time: str
    end_time: str | None
    seats_total: int
    seats_available: int
    seats_held: int
    seats_sold: int
    min_price: int
    max_price: int


class DatesView(msgspec.Struct, frozen=True):
    """A concert's performances."""

    concert_code: str
    title: str
    dates: list[DateView]


class SeatView(msgspec.Struct, frozen=True):
    """One seat of the map."""

    seat_number: int
    type: str
    price: int
    status: Literal["AVAILABLE", "HELD", "SOLD"]
    held_until: datetime | None


class SeatsView(msgspec.Struct, frozen=True):
    """The seat map of one performance."""

    concert_code: str
    date: date
    start_time: str
    seats: list[SeatView]


class ReserveRequest(msgspec.Struct, frozen=True):
    """Takes seats of one performance: all of them or none."""

    date: date
    seat_numbers: SeatNumbers
    start_time: Time | None = None

    def __post_init__(self) -> None:
        """Raise ValidationFailed for a seat that is named twice."""
        if len(set(self.seat_numbers)) < len(self.seat_numbers):
            raise ValidationFailed("name each seat once", "seat_numbers")


class ReservationView(msgspec.Struct, frozen=True):
    """RESERVATION: holds on seats, with one deadline and one amount."""

    reservation_id: UUID
    user_id: UUID
    concert_code: str
    date: date
    start_time: str
    seat_numbers: tuple[int, ...]
    amount: int
    status: ReservationStatus
    hold_expires_at: datetime
    payment_id: UUID | None
    created_at: datetime
    cancelled_at: datetime | None


class PayRequest(msgspec.Struct, frozen=True):
    """Pays a reservation; by default the token's open one."""

    reservation_id: UUID | None = None
    amount: Won | None = None


class PaymentView(msgspec.Struct, frozen=True):
    """PAYMENT: what was paid, tried or given back."""

    payment_id: UUID
    reservation_id: UUID
    user_id: UUID
    concert_code: str
    concert_title: str
    date: date
    start_time: str
    seat_numbers: tuple[int, ...]
    amount: int
    status: Literal["COMPLETED", "FAILED", "REFUNDED"]
    balance: int
    paid_at: datetime | None
    refunded_at: datetime | None


class RefundRequest(msgspec.Struct, frozen=True):
    """Gives a payment back to its user."""

    user_id: UUID


class NewPolicy(Policy, frozen=True, forbid_unknown_fields=True):
    """The policy that a concert is announced with; a field that policies do not have is a mistake."""


class NewConcert(msgspec.Struct, frozen=True):
    """Announces a concert."""

    code: Code
    title: Text
    category: Text
    venue: Text
    description: LongText = ""
    time_zone: Text = "Asia/Seoul"
    policy: NewPolicy = NewPolicy()


class PerformanceRef(msgspec.Struct, frozen=True):
    """Names a performance of the same concert."""

    date: date
    start_time: Time


class NewPerformance(msgspec.Struct, frozen=True):
    """Schedules a performance, by the venue's wall-clock."""

    date: date
    start_time: Time
    end_time: Time | None = None
    seats: Annotated[tuple[SeatBlock, ...], Meta(min_length=1, max_length=500)] | None = None
    seats_from: PerformanceRef | None = None


class PerformanceView(msgspec.Struct, frozen=True):
    """A performance, as scheduling answers."""

    concert_code: str
    date: date
    start_time: str
    end_time: str | None
    starts_at: datetime
    seats: tuple[SeatBlock, ...]


class SaleStateView(msgspec.Struct, frozen=True):
    """What an operator's switch was set to."""

    code: str
    sales: Sales | None = None
    queue: Literal["PAUSED", "RUNNING"] | None = None


class SeatCounts(msgspec.Struct, frozen=True):
    """How the seats of a concert stand."""

    available: int
    held: int
    sold: int


class StatsView(msgspec.Struct, frozen=True):
    """How a sale stands."""

    waiting: int
    active: int
    completed: int
    expired: int
    cancelled: int
    head: int
    issued: int
    seats: SeatCounts
    revenue: int


class StreamEventView(msgspec.Struct, frozen=True):
    """One event of a stream."""

    position: int
    version: int
    topic: str
    recorded_at: datetime | None
    """Null, and so the ids, for what is no event: the payload is then all that is stored, as text."""
    command_id: UUID | None
    correlation_id: UUID | None
    payload: Any


class Page(msgspec.Struct, Generic[Item], frozen=True):
    """A part of a list, and what to send as `after` for the next; null at its end."""

    items: list[Item]
    next: str | None


class PageQuery(msgspec.Struct, frozen=True):
    """Which part of a list: what comes `after` a position or version of the log."""

    limit: Limit = 50
    after: Place | None = None


class NewAudit(msgspec.Struct, frozen=True):
    """Asks for an audit of the whole log, or of the log as it was `at` a moment."""

    at: Moment | None = None


class AuditView(msgspec.Struct, frozen=True):
    """An audit, and how far it has come (0 to 1)."""

    audit_id: UUID
    status: Literal["RUNNING", "DONE", "FAILED"]
    progress: float
    report: Report | None


class AuditStarted(msgspec.Struct, frozen=True):
    """The audit that is running."""

    audit_id: UUID


class HistoryQuery(msgspec.Struct, frozen=True):
    """Whose history: one wallet's, or one payment's."""

    user_id: UUID | None = None
    payment_id: UUID | None = None
    at: Moment | None = None


class Health(msgspec.Struct, frozen=True):
    """The process answers."""

    status: str


class BehindView(msgspec.Struct, frozen=True):
    """How much of the log is not there yet."""

    events: int
    seconds: float
    """How old the first of these events is."""


class TopicView(msgspec.Struct, frozen=True):
    """How much of the log is on the topic."""

    name: str
    position: int
    behind: BehindView


class Ready(msgspec.Struct, frozen=True):
    """Calls can be served."""

    position: int
    """Of the last event in the log."""
    read_models: dict[str, int]
    """Up to where each has come."""
    parked: dict[str, int] = {}
    """How many events each has passed over that has, since it could not apply them."""
    behind: dict[str, BehindView] = {}
    """How far behind the log each read model is."""
    topic: TopicView | None = None
    """The topic over which they are kept up to date; null where there is none. It may lag: they do not."""
