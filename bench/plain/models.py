"""The shapes of bodies, as they travel."""

from datetime import date, datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, Field, field_validator

Sales = Literal["OPEN", "CLOSED"]
Time = Annotated[str, Field(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$")]


class NewUser(BaseModel):
    """Registers a user."""

    user_id: UUID | None = None
    name: Annotated[str, Field(min_length=1, max_length=100)] | None = None


class User(BaseModel):
    """A user, as registering answers."""

    user_id: UUID
    name: str | None
    balance: int


class Charge(BaseModel):
    """Adds won to a wallet."""

    amount: int


class Charged(BaseModel):
    """What was charged, and what the wallet then holds."""

    user_id: UUID
    amount: int
    balance: int


class Join(BaseModel):
    """Stands in line for a user."""

    user_id: UUID


class Token(BaseModel):
    """A place in line and, once active, the right to buy."""

    token: str
    token_id: UUID
    user_id: UUID
    concert_code: str
    queue_number: int
    status: str
    place: int | None
    ahead: int | None
    eta_seconds: int | None
    sales: Sales
    sold_out: bool
    poll_after_ms: int
    issued_at: datetime
    expires_at: datetime | None


class Date(BaseModel):
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


class DatesQuery(BaseModel):
    """Which dates: with an available seat, or all that have not begun."""

    all: bool = False


class Dates(BaseModel):
    """A concert's performances."""

    concert_code: str
    title: str
    dates: list[Date]


class Seat(BaseModel):
    """One seat of the map."""

    seat_number: int
    type: str
    price: int
    status: str
    held_until: datetime | None


class SeatMap(BaseModel):
    """The seats of one performance."""

    concert_code: str
    date: date
    start_time: str
    seats: list[Seat]


class Reserve(BaseModel):
    """Takes seats of one performance: all of them or none."""

    date: date
    start_time: Time | None = None
    seat_numbers: Annotated[list[int], Field(min_length=1, max_length=100)]

    @field_validator("seat_numbers")
    @classmethod
    def each_once(cls, seat_numbers: list[int]) -> list[int]:
        """Refuse a seat that is named twice."""
        if len(set(seat_numbers)) < len(seat_numbers):
            raise ValueError("name each seat once")
        return seat_numbers


class Reservation(BaseModel):
    """Holds on seats, with one deadline and one amount."""

    reservation_id: UUID
    user_id: UUID
    concert_code: str
    date: date
    start_time: str
    seat_numbers: list[int]
    amount: int
    status: str
    hold_expires_at: datetime
    payment_id: UUID | None
    created_at: datetime
    cancelled_at: datetime | None


class Pay(BaseModel):
    """Pays a reservation; by default the token's open one."""

    reservation_id: UUID | None = None
    amount: int | None = None


class Payment(BaseModel):
    """What was paid."""

    payment_id: UUID
    reservation_id: UUID
    user_id: UUID
    concert_code: str
    concert_title: str
    date: date
    start_time: str
    seat_numbers: list[int]
    amount: int
    status: str
    balance: int
    paid_at: datetime
    refunded_at: datetime | None


class Policy(BaseModel):
    """What of a sale policy is settable here."""

    max_active: int | None = 100
    admit_up_to_seats_left: bool = True
    max_waiting: int = 1_000_000
    active_ttl_s: int = 600
    hold_ttl_s: int = 300
    max_seats_per_user: int = 4
    charge_while_holding: bool = True


class NewConcert(BaseModel):
    """Announces a concert."""

    code: Annotated[str, Field(pattern=r"^[A-Z0-9][A-Z0-9-]{1,31}$")]
    title: str
    category: str
    venue: str
    description: str = ""
    time_zone: str = "Asia/Seoul"
    policy: Policy = Policy()


class SeatBlock(BaseModel):
    """Seats of one kind, by number."""

    first: int
    last: int
    type: str
    price: int


class NewPerformance(BaseModel):
    """Schedules a performance, by the venue's wall-clock."""

    date: date
    start_time: Time
    end_time: Time | None = None
    seats: list[SeatBlock] = [SeatBlock(first=1, last=50, type="STANDARD", price=100_000)]
