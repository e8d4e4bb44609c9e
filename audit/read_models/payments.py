"""What `payments` must show: what was paid, failed and given back, and what each concert earned."""

from collections.abc import Mapping
from datetime import datetime

import msgspec

from audit.read_models.table import Emit, Expectation, Follow, Table
from audit.stored import (
    ConcertAnnounced,
    PaymentCompleted,
    PaymentFailed,
    PaymentRefunded,
    ReservationOpened,
    SeatsWithdrawn,
    Stored,
)


class Concert(msgspec.Struct):
    """A row of `concerts`."""

    code: str
    title: str
    revenue: int


class Reservation(msgspec.Struct):
    """A row of `reservations`."""

    reservation_id: str
    date: str
    start_time: str
    seat_numbers: list[int]


class Payment(msgspec.Struct, gc=False):
    """A row of `payments`."""

    payment_id: str
    position: int
    reservation_id: str
    user_id: str
    code: str
    amount: int
    status: str
    balance: int
    paid_at: datetime | None
    refunded_at: datetime | None


CONCERTS = Table("payments", "concerts", Concert)
RESERVATIONS = Table("payments", "reservations", Reservation, as_text=("reservation_id", "date"))
PAYMENTS = Table("payments", "payments", Payment, as_text=("payment_id", "reservation_id", "user_id"))


class Payments(Expectation):
    """Follows the payments' streams; from its performance's beginning on a payment stays as it is."""

    def __init__(self, emit: Emit) -> None:
        """Start before the first event."""
        super().__init__(emit)
        self._concerts: dict[str, Concert] = {}
        self._refundable: dict[str, dict[str, Payment]] = {}
        """By code and performance, then by stream."""
        self._performances: dict[str, str] = {}
        """Code and performance of each refundable payment, by stream."""

    def follows(self) -> Mapping[str, Follow]:
        """All events of payments, what they are of, and the end of refunds."""
        return {
            "concert.announced": self._announced,
            "reservation.opened": self._opened,
            "payment.completed": self._completed,
            "payment.failed": self._failed,
            "payment.refunded": self._refunded,
            "queue.seats_withdrawn": self._seats_withdrawn,
        }

    def finish(self) -> None:
        """Emit the concerts, and the payments that may still be refunded."""
        for concert in self._concerts.values():
            self.emit(CONCERTS, concert)
        for payments in self._refundable.values():
            for payment in payments.values():
                self.emit(PAYMENTS, payment)

    def _announced(self, stored: Stored[ConcertAnnounced], _position: int) -> None:
        event = stored.payload
        self._concerts[event.code] = Concert(event.code, event.title, revenue=0)

    def _opened(self, stored: Stored[ReservationOpened], _position: int) -> None:
        event = stored.payload
        reservation_id = stored.stream.removeprefix("reservation/")
        row = Reservation(reservation_id, event.date, event.start_time, list(event.seat_numbers))
        self.emit(RESERVATIONS, row)

    def _completed(self, stored: Stored[PaymentCompleted], position: int) -> None:
        event = stored.payload
        payment = _attempt(stored, position, "COMPLETED", paid_at=stored.recorded_at)
        performance = f"{event.code}/{event.date}T{event.start_time}"
        self._refundable.setdefault(performance, {})[stored.stream] = payment
        self._performances[stored.stream] = performance
        self._earn(event.code, event.amount)

    def _failed(self, stored: Stored[PaymentFailed], position: int) -> None:
        self.emit(PAYMENTS, _attempt(stored, position, "FAILED", paid_at=None))

    def _refunded(self, stored: Stored[PaymentRefunded], _position: int) -> None:
        self._earn(stored.partition_key, -stored.payload.amount)
        performance = self._performances.pop(stored.stream, "")
        payment = self._refundable.get(performance, {}).pop(stored.stream, None)
        if payment is not None:
            payment.status, payment.refunded_at = "REFUNDED", stored.recorded_at
            payment.balance = stored.payload.balance
            self.emit(PAYMENTS, payment)

    def _seats_withdrawn(self, stored: Stored[SeatsWithdrawn], _position: int) -> None:
        """P4: no refund from here on."""
        performance = f"{stored.partition_key}/{stored.payload.date}T{stored.payload.start_time}"
        for stream, payment in self._refundable.pop(performance, {}).items():
            del self._performances[stream]
            self.emit(PAYMENTS, payment)

    def _earn(self, code: str, amount: int) -> None:
        concert = self._concerts.get(code)
        if concert is not None:
            concert.revenue += amount


def _attempt(
    stored: Stored[PaymentCompleted] | Stored[PaymentFailed],
    position: int,
    status: str,
    paid_at: datetime | None,
) -> Payment:
    event = stored.payload
    return Payment(
        payment_id=stored.stream.removeprefix("payment/"),
        position=position,
        reservation_id=event.reservation_id,
        user_id=event.user_id,
        code=event.code,
        amount=event.amount,
        status=status,
        balance=event.balance,
        paid_at=paid_at,
        refunded_at=None,
    )
