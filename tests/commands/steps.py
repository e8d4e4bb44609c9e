"""What people do in a sale, as commands: `on_sale()`, `inside(ANN)`, `reserve(ANN, 7, 8)`, `pay(ANN)`.

There is one concert with one performance on a spring evening in Seoul, and everyone's ids follow from their
names: the token of their first visit, the reservation and the payment that they make with it.
"""

from datetime import date, datetime
from typing import Any
from uuid import UUID, uuid5

from aggregates import seat
from aggregates.concert import SeatBlock
from aggregates.ids import ReservationId, StartTime, UserId, performance_name
from aggregates.policy import Policy
from aggregates.seat import Seat
from aggregates.stream import Stream
from commands.abandon_token import AbandonToken
from commands.announce_concert import AnnounceConcert
from commands.charge_wallet import ChargeWallet
from commands.command import Command
from commands.join_queue import JoinQueue
from commands.leave_queue import LeaveQueue
from commands.let_in import LetIn, Suggestion
from commands.open_wallet import OpenWallet
from commands.pay import Pay
from commands.record_expiry import RecordExpiry
from commands.refund import Refund
from commands.release_reservation import ReleaseReservation
from commands.reserve import Reserve
from commands.run_sale import ChangePolicy, OpenSales
from commands.schedule_performance import SchedulePerformance
from commands.unit_of_work import Visit
from commands.withdraw_seats import WithdrawSeats
from tests.aggregates.given import CODE, payment_of, reservation_of, token_of

CAT = UserId(uuid5(UUID(int=0), "Cat"))

SHOW_DAY = date(2026, 4, 1)
SHOW_TIME = StartTime("19:30")
SHOW = performance_name(SHOW_DAY, SHOW_TIME)
SHOW_STARTS_AT = datetime.fromisoformat("2026-04-01T10:30:00+00:00")
"""When it is half past seven in Seoul."""

PRICE = 100_000


def on_sale(*, seats: int = 50, **policy: Any) -> list[Command]:
    """Announce the concert under this policy, schedule its performance, open the sale."""
    return [announce(**policy), schedule(seats=seats), OpenSales(CODE)]


def announce(**policy: Any) -> AnnounceConcert:
    """Announce the concert."""
    return AnnounceConcert(
        CODE, "An Evening", "With songs.", "CONCERT", "The Hall", "Asia/Seoul", Policy(**policy)
    )


def schedule(*, seats: int = 50, day: date = SHOW_DAY, start_time: str = SHOW_TIME) -> SchedulePerformance:
    """Schedule a performance of so many seats at one price."""
    plan = (SeatBlock(1, seats, "STANDARD", PRICE),)
    return SchedulePerformance(CODE, day, StartTime(start_time), None, plan, None)


def change_policy(**changes: Any) -> ChangePolicy:
    """Set these fields of the policy."""
    return ChangePolicy(CODE, changes)


def withdraw() -> WithdrawSeats:
    """Withdraw the performance's seats from the gate."""
    return WithdrawSeats(CODE, SHOW_DAY, SHOW_TIME)


def registered(user_id: UserId, *, balance: int = 0) -> list[Command]:
    """Register a user, and charge the wallet."""
    charged = [ChargeWallet(user_id, balance)] if balance else []
    return [OpenWallet(user_id, None), *charged]


def join(user_id: UserId, *, visit: int = 1) -> JoinQueue:
    """Stand in line, for the first time or again."""
    return JoinQueue(CODE, user_id, token_of(user_id, visit))


def waiting(user_id: UserId, *, balance: int = 0) -> list[Command]:
    """Register, charge, and join."""
    return [*registered(user_id, balance=balance), join(user_id)]


def let_in(*line: tuple[int, UserId]) -> LetIn:
    """Suggest to let in these numbers of these users."""
    return LetIn(CODE, tuple(Suggestion(number, user_id) for number, user_id in line))


def inside(user_id: UserId, number: int = 1, *, balance: int = 0) -> list[Command]:
    """Register, charge, join and be let in, as this number of the line."""
    return [*waiting(user_id, balance=balance), let_in((number, user_id))]


def visit_of(user_id: UserId, visit: int = 1) -> Visit:
    """A user's first visit, or a later one."""
    return Visit(CODE, token_of(user_id, visit))


def reserve(
    user_id: UserId,
    *seat_numbers: int,
    visit: int = 1,
    nth: int = 1,
    day: date = SHOW_DAY,
    start_time: StartTime | None = SHOW_TIME,
) -> Reserve:
    """Take seats; `nth` tells a user's reservations apart."""
    reservation_id = reservation_of(user_id, nth)
    return Reserve(visit_of(user_id, visit), user_id, reservation_id, day, start_time, seat_numbers)


def pay(
    user_id: UserId,
    *,
    visit: int = 1,
    nth: int = 1,
    reservation_id: ReservationId | None = None,
    amount: int | None = None,
) -> Pay:
    """Pay for what is open; `nth` tells a user's payments apart."""
    return Pay(visit_of(user_id, visit), user_id, payment_of(user_id, nth), reservation_id, amount)


def release(user_id: UserId, *, visit: int = 1, nth: int = 1) -> ReleaseReservation:
    """Give up a reservation."""
    return ReleaseReservation(visit_of(user_id, visit), user_id, reservation_of(user_id, nth))


def leave(user_id: UserId, *, visit: int = 1) -> LeaveQueue:
    """Leave the line, or the sale."""
    return LeaveQueue(visit_of(user_id, visit), user_id)


def refund(user_id: UserId, *, nth: int = 1) -> Refund:
    """Give a payment back."""
    return Refund(payment_of(user_id, nth), user_id)


def expire(user_id: UserId, *, visit: int = 1) -> RecordExpiry:
    """The timer comes by to record what has run out."""
    return RecordExpiry(visit_of(user_id, visit), user_id)


def abandon(user_id: UserId, *, visit: int = 1) -> AbandonToken:
    """The timer thinks that this user has been silent for too long."""
    return AbandonToken(visit_of(user_id, visit), user_id)


def seat_stream(number: int, *, day: date = SHOW_DAY, start_time: StartTime = SHOW_TIME) -> Stream[Seat]:
    """The stream of a seat."""
    return seat.stream(CODE, day, start_time, number)
