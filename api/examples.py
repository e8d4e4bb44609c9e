"""Examples for the OpenAPI document: one of each answer, and one of each error."""

from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Any, Final
from uuid import UUID

from aggregates import errors
from aggregates.concert import SeatBlock
from aggregates.errors import DomainError
from aggregates.policy import Policy
from aggregates.reservation import ReservationStatus
from aggregates.token import TokenStatus
from api import problems
from api.views import (
    AuditStarted,
    AuditView,
    BehindView,
    ChargeView,
    ConcertView,
    DatesView,
    DateView,
    Health,
    NewConcert,
    Page,
    PaymentView,
    PerformanceView,
    Ready,
    ReservationView,
    SaleStateView,
    SeatCounts,
    SeatsView,
    SeatView,
    StatsView,
    StreamEventView,
    TokenView,
    TopicView,
    UserView,
    WalletEntryView,
    WalletView,
)
from audit import Compared, ConcertTotals, History, Item, PaymentTotals, Report, WalletTotals
from commands.errors import IdempotencyKeyReused, Overloaded, StoreUnavailable, TryAgain
from projections.registry import PROJECTIONS

USER_ID = UUID("2ca587d1-670e-4066-a42e-cac8f6bc4a1a")
TOKEN_ID = UUID("0b7b6dc1-5b5c-4b0e-9e0e-4f6d2f6f8a55")
RESERVATION_ID = UUID("5e3c0b1a-54cf-4f1a-8f2e-0d3f6f2f3a11")
PAYMENT_ID = UUID("c0a1f3f0-9d0a-4c0b-9d56-0c1fd3f1b0b2")
AUDIT_ID = UUID("f1d7bb7e-6a5e-4a0f-8a3c-0d1b8f8c9d10")
CODE = "SPRING-27"
TITLE = "Spring Night"
SHOW_DAY = date(2027, 3, 1)
PRICE = 100_000
POSITION = 41_207


def _at(minute: int) -> datetime:
    return datetime(2027, 1, 4, 11, minute, 7, 250_000, tzinfo=UTC)


_SEATS = (SeatBlock(1, 50, "STANDARD", PRICE),)
_BOOKS = History(
    items=[
        Item(
            position=POSITION,
            recorded_at=_at(3),
            topic="wallet.charged",
            stream=f"wallet/{USER_ID}",
            amount=5 * PRICE,
            balance=5 * PRICE,
            payment_id=None,
            reservation_id=None,
            seat_numbers=None,
        )
    ],
    ok=True,
    breaches=[],
)
_ENTRY = WalletEntryView(POSITION, "CHARGED", 5 * PRICE, 5 * PRICE, None, _at(3))
_CONCERT = ConcertView(
    CODE, TITLE, "With songs.", "CONCERT", "Olympic Hall, Seoul", "Asia/Seoul", "OPEN", None, None,
    SHOW_DAY, SHOW_DAY,
)  # fmt: skip
_RESERVATION = ReservationView(
    reservation_id=RESERVATION_ID,
    user_id=USER_ID,
    concert_code=CODE,
    date=SHOW_DAY,
    start_time="19:00",
    seat_numbers=(7, 8),
    amount=2 * PRICE,
    status=ReservationStatus.OPEN,
    hold_expires_at=_at(10),
    payment_id=None,
    created_at=_at(5),
    cancelled_at=None,
)
_PAYMENT = PaymentView(
    payment_id=PAYMENT_ID,
    reservation_id=RESERVATION_ID,
    user_id=USER_ID,
    concert_code=CODE,
    concert_title=TITLE,
    date=SHOW_DAY,
    start_time="19:00",
    seat_numbers=(7, 8),
    amount=2 * PRICE,
    status="COMPLETED",
    balance=3 * PRICE,
    paid_at=_at(6),
    refunded_at=None,
)
_EVENT = StreamEventView(POSITION, 1, "wallet.charged", _at(3), AUDIT_ID, AUDIT_ID, {"amount": 5 * PRICE})
_REPORT = Report(
    position=POSITION,
    events=POSITION,
    at=None,
    ok=True,
    breaches=[],
    wallets=WalletTotals(count=1, charged=5 * PRICE, debited=2 * PRICE, refunded=0, balance=3 * PRICE),
    payments=PaymentTotals(completed=1, failed=0, refunded=0, amount_completed=2 * PRICE, amount_refunded=0),
    concerts=[ConcertTotals(CODE, numbers_issued=1, activated=1, seats_sold=2, revenue=2 * PRICE)],
    read_models=Compared(compared=61, different=0),
)

ANSWERS: Final[Mapping[Any, Any]] = {
    TokenView: TokenView(
        token="eyJhbGciOiJIUzI1NiIsImtpZCI6IjFhMmIzYzRkIiwidHlwIjoiSldUIn0.eyJzdWIiOiIyY2E1ODdkMSJ9.c2ln",
        token_id=TOKEN_ID,
        user_id=USER_ID,
        concert_code=CODE,
        queue_number=4_211,
        status=TokenStatus.WAITING,
        place=311,
        ahead=310,
        eta_seconds=62,
        sales="OPEN",
        sold_out=False,
        poll_after_ms=3_100,
        issued_at=_at(2),
        expires_at=None,
    ),
    ConcertView: _CONCERT,
    Page[ConcertView]: Page([_CONCERT], CODE),
    DatesView: DatesView(
        CODE, TITLE, [DateView(SHOW_DAY, "19:00", "21:30", 50, 44, 2, 4, min_price=PRICE, max_price=PRICE)]
    ),
    SeatsView: SeatsView(
        CODE,
        SHOW_DAY,
        "19:00",
        [
            SeatView(1, "STANDARD", PRICE, "AVAILABLE", None),
            SeatView(7, "STANDARD", PRICE, "HELD", _at(10)),
        ],
    ),
    ReservationView: _RESERVATION,
    Page[ReservationView]: Page([_RESERVATION], None),
    PaymentView: _PAYMENT,
    Page[PaymentView]: Page([_PAYMENT], None),
    WalletView: WalletView(USER_ID, 5 * PRICE),
    ChargeView: ChargeView(USER_ID, 5 * PRICE, 5 * PRICE),
    Page[WalletEntryView]: Page([_ENTRY], str(POSITION)),
    UserView: UserView(USER_ID, "Kim Minji", 0),
    NewConcert: NewConcert(CODE, TITLE, "CONCERT", "Olympic Hall, Seoul"),
    PerformanceView: PerformanceView(CODE, SHOW_DAY, "19:00", "21:30", _at(0), _SEATS),
    Policy: Policy(max_active=200),
    SaleStateView: SaleStateView(CODE, sales="OPEN"),
    StatsView: StatsView(
        waiting=310,
        active=100,
        completed=3_700,
        expired=90,
        cancelled=11,
        head=3_900,
        issued=4_211,
        seats=SeatCounts(available=44, held=2, sold=4),
        revenue=4 * PRICE,
    ),
    Page[StreamEventView]: Page([_EVENT], None),
    AuditStarted: AuditStarted(AUDIT_ID),
    AuditView: AuditView(AUDIT_ID, "DONE", 1.0, _REPORT),
    History: _BOOKS,
    Health: Health("alive"),
    Ready: Ready(
        POSITION,
        {projection.name: POSITION for projection in PROJECTIONS},
        behind={projection.name: BehindView(0, 0.0) for projection in PROJECTIONS},
        topic=TopicView("ticketing.events", POSITION - 2, BehindView(2, 0.015)),
    ),
    str: 'ticketing_queue_depth{concert="SPRING-27"} 310.0\n',
}
"""By the type of the answer."""

ERRORS: Final[Mapping[str, DomainError]] = {
    error.code: error
    for error in (
        problems.BadRequest(),
        errors.TokenMissing(),
        errors.TokenInvalid(),
        errors.TokenLost(_at(0)),
        errors.TokenExpired(),
        errors.TokenEnded(TokenStatus.COMPLETED),
        problems.AdminKeyRequired(),
        errors.InsufficientBalance(PRICE, 2 * PRICE, PAYMENT_ID),
        errors.TokenNotActive(place=311, retry_after_s=4),
        errors.TokenMismatch(),
        errors.UserNotFound(),
        errors.ConcertNotFound(),
        errors.PerformanceNotFound(),
        errors.SeatNotFound([51]),
        errors.ReservationNotFound(),
        errors.PaymentNotFound(),
        problems.StreamNotFound(),
        problems.AuditNotFound(),
        problems.NotFound(),
        problems.MethodNotAllowed("GET"),
        errors.SeatAlreadyHeld([7]),
        errors.SeatAlreadySold([7]),
        errors.SeatLimitExceeded(4),
        errors.ReservationAlreadyOpen(RESERVATION_ID),
        errors.HoldExpired(),
        errors.ReservationNotOpen(),
        errors.SalesNotOpen(),
        errors.PerformanceStarted(),
        errors.AmountMismatch(2 * PRICE),
        errors.BalanceLimitExceeded(100_000_000),
        errors.ChargeNotAllowedWhileHolding(),
        errors.RefundNotAllowed("It is too late to refund this payment."),
        errors.ConcertAlreadyExists(),
        errors.PerformanceAlreadyExists(),
        problems.PositionNotInLog(POSITION),
        problems.BodyTooLarge(65_536),
        errors.ValidationFailed("Expected `int`, got `str`", "seat_numbers[0]"),
        errors.AmountOutOfRange(1, 10_000_000),
        errors.PerformanceAmbiguous(["14:00", "19:00"]),
        IdempotencyKeyReused(),
        errors.RateLimited(retry_after_s=5),
        problems.InternalError(str(AUDIT_ID)),
        errors.QueueFull(retry_after_s=200),
        Overloaded(),
        TryAgain(),
        StoreUnavailable("NONE"),
        problems.ReadModelBehind(),
    )
}
"""By code."""
