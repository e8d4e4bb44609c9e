"""Payment: a reservation paid from a wallet, an attempt that failed, or a payment that was refunded."""

from datetime import date, datetime
from typing import ClassVar

import msgspec

from aggregates.errors import PaymentNotFound, RefundNotAllowed
from aggregates.event import Event
from aggregates.ids import ConcertCode, PaymentId, ReservationId, StartTime, UserId
from aggregates.stream import Aggregate, Stream, remembered
from aggregates.stream import stream as named_stream

INSUFFICIENT_BALANCE = "insufficient_balance"
"""The one reason for which an attempt to pay is recorded as failed (rule P3)."""


class PaymentCompleted(Event, frozen=True):
    topic: ClassVar[str] = "payment.completed"
    reservation_id: ReservationId
    user_id: UserId
    code: ConcertCode
    date: date
    start_time: StartTime
    seat_numbers: tuple[int, ...]
    amount: int
    balance: int


class PaymentFailed(Event, frozen=True):
    topic: ClassVar[str] = "payment.failed"
    reservation_id: ReservationId
    user_id: UserId
    code: ConcertCode
    amount: int
    reason: str
    balance: int


class PaymentRefunded(Event, frozen=True):
    topic: ClassVar[str] = "payment.refunded"
    amount: int
    balance: int


PaymentEvent = PaymentCompleted | PaymentFailed | PaymentRefunded


class Payment(msgspec.Struct, frozen=True):
    """A payment as its stream tells it; without `attempt` before its first event."""

    attempt: PaymentCompleted | PaymentFailed | None = None
    paid_at: datetime | None = None
    refunded: bool = False


def evolve(payment: Payment, event: PaymentEvent, at: datetime) -> Payment:
    """Return the payment after `event`, which was recorded `at`."""
    match event:
        case PaymentCompleted():
            return Payment(attempt=event, paid_at=at)
        case PaymentFailed():
            return Payment(attempt=event)
        case PaymentRefunded():
            return msgspec.structs.replace(payment, refunded=True)


PAYMENT = Aggregate("payment", Payment(), evolve)


@remembered
def stream(payment_id: PaymentId) -> Stream[Payment]:
    """The stream `payment/{id}`."""
    return named_stream(PAYMENT, str(payment_id))


def owned(payment: Payment, user_id: UserId) -> PaymentCompleted | PaymentFailed:
    """Return the attempt, if this user made it. Raises PaymentNotFound, also where it is another's."""
    if payment.attempt is None or payment.attempt.user_id != user_id:
        raise PaymentNotFound
    return payment.attempt


def refundable(payment: Payment, attempt: PaymentCompleted | PaymentFailed) -> PaymentCompleted:
    """P4: return the payment to give back. Raises RefundNotAllowed if it failed or was refunded already."""
    if isinstance(attempt, PaymentFailed):
        raise RefundNotAllowed("This payment failed; no money was taken.")
    if payment.refunded:
        raise RefundNotAllowed("This payment has been refunded already.")
    return attempt


def refund(completed: PaymentCompleted, balance: int, until: datetime, now: datetime) -> list[PaymentEvent]:
    """P4: give back the whole amount, to a wallet that then holds `balance`.

    Raises RefundNotAllowed from `until` on.
    """
    if until <= now:
        raise RefundNotAllowed("It is too late to refund this payment.")
    return [PaymentRefunded(completed.amount, balance)]
