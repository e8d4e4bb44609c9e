"""One example of each event, for the AsyncAPI document: what one user does at one concert."""

from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Any, Final
from uuid import UUID

from aggregates import concert, payment, queue, reservation, seat, token, wallet
from aggregates.concert import SeatBlock
from aggregates.event import Event
from aggregates.ids import (
    ConcertCode,
    PaymentId,
    ReservationId,
    StartTime,
    TokenId,
    UserId,
    performance_name,
)
from aggregates.policy import Policy
from aggregates.stream import Stream
from infrastructure.codec import StoredForm

CODE: Final = ConcertCode("SPRING-27")
DAY: Final = date(2027, 3, 1)
START: Final = StartTime("19:30")
SHOW: Final = performance_name(DAY, START)
SEATS: Final = (4, 5)
AMOUNT: Final = 200_000
USER_ID: Final = UserId(UUID("2ca587d1-670e-4066-a42e-cac8f6bc4a1a"))
TOKEN_ID: Final = TokenId(UUID("0b7b6dc1-5b5c-4b0e-9e0e-4f6d2f6f8a55"))
RESERVATION_ID: Final = ReservationId(UUID("5e3c0b1a-54cf-4f1a-8f2e-0d3f6f2f3a11"))
PAYMENT_ID: Final = PaymentId(UUID("c0a1f3f0-9d0a-4c0b-9d56-0c1fd3f1b0b2"))
COMMAND_ID: Final = UUID("7d0a52b6-93f4-4c34-a2a5-1f9c35a3f6c1")
REQUEST_ID: Final = UUID("e4b1c9d2-0f6a-4a57-8d3b-6a1de2c47f90")
RECORDED_AT: Final = datetime(2027, 1, 4, 11, 0, 7, 250_000, tzinfo=UTC)
UNTIL: Final = datetime(2027, 1, 4, 11, 5, 7, 250_000, tzinfo=UTC)
PLAN: Final = (SeatBlock(1, 40, "STANDARD", 100_000), SeatBlock(41, 50, "VIP", 250_000))

STREAMS: Final[Mapping[str, Stream[Any]]] = {
    "concert": concert.stream(CODE),
    "seat": seat.stream(CODE, DAY, START, SEATS[0]),
    "reservation": reservation.stream(RESERVATION_ID),
    "wallet": wallet.stream(USER_ID),
    "payment": payment.stream(PAYMENT_ID),
    "queue": queue.stream(CODE),
    "token": token.stream(CODE, USER_ID),
}
"""By the first word of the topic."""

EXAMPLES: Final[tuple[Event, ...]] = (
    concert.ConcertAnnounced(
        CODE, "Spring Night", "An evening of songs", "CONCERT", "Olympic Hall", "Asia/Seoul", Policy()
    ),
    concert.PerformanceScheduled(DAY, START, "22:00", datetime(2027, 3, 1, 10, 30, tzinfo=UTC), PLAN),
    concert.PolicyChanged(Policy(max_active=500, admit_per_interval=25)),
    concert.SalesOpened(),
    concert.SalesClosed(),
    seat.SeatHeld(RESERVATION_ID, TOKEN_ID, USER_ID, UNTIL),
    seat.SeatHoldExpired(RESERVATION_ID),
    seat.SeatHoldReleased(RESERVATION_ID, "released"),
    seat.SeatSold(RESERVATION_ID, PAYMENT_ID, USER_ID),
    seat.SeatReturned(PAYMENT_ID),
    reservation.ReservationOpened(TOKEN_ID, USER_ID, CODE, DAY, START, SEATS, AMOUNT, UNTIL),
    reservation.ReservationPaymentFailed(PAYMENT_ID),
    reservation.ReservationConfirmed(PAYMENT_ID),
    reservation.ReservationExpired(),
    reservation.ReservationCancelled("refunded"),
    wallet.WalletOpened(),
    wallet.WalletCharged(500_000),
    wallet.WalletDebited(AMOUNT, PAYMENT_ID),
    wallet.WalletRefunded(AMOUNT, PAYMENT_ID),
    wallet.WalletChargingSuspended(RESERVATION_ID, UNTIL),
    wallet.WalletChargingResumed(RESERVATION_ID),
    payment.PaymentCompleted(RESERVATION_ID, USER_ID, CODE, DAY, START, SEATS, AMOUNT, 300_000),
    payment.PaymentFailed(RESERVATION_ID, USER_ID, CODE, AMOUNT, "insufficient_balance", 1_000),
    payment.PaymentRefunded(AMOUNT, 500_000),
    queue.QueueOpened(),
    queue.NumbersIssued(1, 40),
    queue.QueueAdvanced(12, 10),
    queue.SeatsSold(len(SEATS), {SHOW: len(SEATS)}),
    queue.SlotsFreed(3),
    queue.SeatsReturned(len(SEATS), {SHOW: len(SEATS)}),
    queue.SeatsAdded(50, {SHOW: 50}),
    queue.SeatsWithdrawn(DAY, START, 7),
    queue.QueuePaused(),
    queue.QueueResumed(),
    token.TokenIssued(TOKEN_ID, USER_ID, CODE, 7),
    token.TokenActivated(UNTIL),
    token.TokenSeatsHeld(RESERVATION_ID, SEATS, UNTIL),
    token.TokenSeatsReleased(RESERVATION_ID, SEATS, "expired"),
    token.TokenCompleted(PAYMENT_ID),
    token.TokenSeatsReturned(PAYMENT_ID, SEATS),
    token.TokenExpiredRecorded(),
    token.TokenCancelled("left"),
)


def stored(event: Event) -> StoredForm:
    """Return an example as it would be stored, in a stream of its kind."""
    stream = STREAMS[event.topic.partition(".")[0]]
    return StoredForm(
        stream.name, stream.partition_key or CODE, RECORDED_AT, COMMAND_ID, TOKEN_ID, REQUEST_ID, event
    )
