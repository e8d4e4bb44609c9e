"""Worked examples of the forms in stored_events.json: of each event, as it is written and as it once was."""

from datetime import UTC, date, datetime
from typing import Final
from uuid import UUID

from aggregates import concert, payment, queue, reservation, seat, token, wallet
from aggregates.concert import SeatBlock
from aggregates.event import Event
from aggregates.ids import ConcertCode, PaymentId, PerformanceName, ReservationId, StartTime, TokenId, UserId
from aggregates.policy import OnInsufficientBalance, Policy

CODE: Final = ConcertCode("IU-2026")
DAY: Final = date(2026, 3, 2)
EVENING: Final = StartTime("19:30")
TONIGHT: Final = PerformanceName("2026-03-02T19:30")
UNTIL: Final = datetime(2026, 3, 2, 12, 5, 0, 123456, tzinfo=UTC)
USER: Final = UserId(UUID("11111111-1111-4111-8111-111111111111"))
TOKEN: Final = TokenId(UUID("22222222-2222-4222-8222-222222222222"))
RESERVATION: Final = ReservationId(UUID("33333333-3333-4333-8333-333333333333"))
PAYMENT: Final = PaymentId(UUID("44444444-4444-4444-8444-444444444444"))
PLAN: Final = (SeatBlock(1, 20, "STANDARD", 100_000), SeatBlock(21, 24, "VIP", 250_000))
CAREFUL: Final = Policy(
    max_active=None,
    admit_per_interval=25,
    admit_interval_s=60,
    admit_up_to_seats_left=False,
    max_waiting=50_000,
    active_ttl_s=900,
    hold_ttl_s=420,
    max_seats_per_user=2,
    abandon_waiting_after_s=None,
    abandon_active_after_s=120,
    abandon_after_disconnect_s=0,
    on_insufficient_balance=OnInsufficientBalance.RELEASE_HOLD_AND_END_TOKEN,
    charge_while_holding=False,
    sales_open_at=datetime(2026, 3, 1, 1, tzinfo=UTC),
    sales_close_at=datetime(2026, 3, 2, 10, 30, tzinfo=UTC),
    refund_until_s=None,
)

EXAMPLES: Final[list[Event]] = [
    concert.ConcertAnnounced(CODE, "아이유", "One night", "CONCERT", "Olympic Hall", "Asia/Seoul", Policy()),
    concert.PerformanceScheduled(DAY, EVENING, "22:00", datetime(2026, 3, 2, 10, 30, tzinfo=UTC), PLAN),
    concert.PolicyChanged(CAREFUL),
    concert.SalesOpened(),
    concert.SalesClosed(),
    seat.SeatHeld(RESERVATION, TOKEN, USER, UNTIL),
    seat.SeatHoldExpired(RESERVATION),
    seat.SeatHoldReleased(RESERVATION, "released"),
    seat.SeatSold(RESERVATION, PAYMENT, USER),
    seat.SeatReturned(PAYMENT),
    reservation.ReservationOpened(TOKEN, USER, CODE, DAY, EVENING, (4, 3), 200_000, UNTIL),
    reservation.ReservationPaymentFailed(PAYMENT),
    reservation.ReservationConfirmed(PAYMENT),
    reservation.ReservationExpired(),
    reservation.ReservationCancelled("refunded"),
    wallet.WalletOpened(),
    wallet.WalletCharged(500_000),
    wallet.WalletDebited(200_000, PAYMENT),
    wallet.WalletRefunded(200_000, PAYMENT),
    wallet.WalletChargingSuspended(RESERVATION, UNTIL),
    wallet.WalletChargingResumed(RESERVATION),
    payment.PaymentCompleted(RESERVATION, USER, CODE, DAY, EVENING, (4, 3), 200_000, 300_000),
    payment.PaymentFailed(RESERVATION, USER, CODE, 200_000, "insufficient_balance", 1_000),
    payment.PaymentRefunded(200_000, 500_000),
    queue.QueueOpened(),
    queue.NumbersIssued(1, 40),
    queue.QueueAdvanced(12, 10),
    queue.SeatsSold(2, {TONIGHT: 2}),
    queue.SlotsFreed(3),
    queue.SeatsReturned(2, {TONIGHT: 2}),
    queue.SeatsAdded(24, {TONIGHT: 24}),
    queue.SeatsWithdrawn(DAY, EVENING, 7),
    queue.QueuePaused(),
    queue.QueueResumed(),
    token.TokenIssued(TOKEN, USER, CODE, 7),
    token.TokenActivated(UNTIL),
    token.TokenSeatsHeld(RESERVATION, (4, 3), UNTIL),
    token.TokenSeatsReleased(RESERVATION, (4, 3), "expired"),
    token.TokenCompleted(PAYMENT),
    token.TokenSeatsReturned(PAYMENT, (4, 3)),
    token.TokenExpiredRecorded(),
    token.TokenCancelled("left"),
]
