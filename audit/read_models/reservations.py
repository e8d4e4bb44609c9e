"""What `reservations` must show: what each user reserved, and how it ended."""

from collections.abc import Mapping
from datetime import datetime

import msgspec

from audit.read_models.table import Emit, Expectation, Follow, Table
from audit.stored import Nothing, OfPayment, ReservationOpened, SeatsWithdrawn, Stored


class Reservation(msgspec.Struct, gc=False):
    """A row of `reservations`."""

    reservation_id: str
    position: int
    token_id: str
    user_id: str
    code: str
    date: str
    start_time: str
    seat_numbers: list[int]
    amount: int
    status: str
    hold_expires_at: datetime
    payment_id: str | None
    created_at: datetime
    cancelled_at: datetime | None


RESERVATIONS = Table(
    "reservations",
    "reservations",
    Reservation,
    as_text=("reservation_id", "token_id", "user_id", "date", "payment_id"),
)


class Reservations(Expectation):
    """Follows the reservations' streams; from its performance's beginning on a paid one stays as it is."""

    def __init__(self, emit: Emit) -> None:
        """Start before the first event."""
        super().__init__(emit)
        self._open: dict[str, Reservation] = {}
        """By stream, until they expire or are cancelled."""
        self._paid: dict[str, set[str]] = {}
        """Streams of those that were paid, by code and performance."""

    def follows(self) -> Mapping[str, Follow]:
        """What begins and ends a reservation, and the end of refunds."""
        return {
            "reservation.opened": self._opened,
            "reservation.confirmed": self._confirmed,
            "reservation.expired": self._expired,
            "reservation.cancelled": self._cancelled,
            "queue.seats_withdrawn": self._seats_withdrawn,
        }

    def finish(self) -> None:
        """Emit those that may still be paid, or refunded."""
        for reservation in self._open.values():
            self.emit(RESERVATIONS, reservation)

    def _opened(self, stored: Stored[ReservationOpened], position: int) -> None:
        event = stored.payload
        self._open[stored.stream] = Reservation(
            reservation_id=stored.stream.removeprefix("reservation/"),
            position=position,
            token_id=event.token_id,
            user_id=event.user_id,
            code=event.code,
            date=event.date,
            start_time=event.start_time,
            seat_numbers=list(event.seat_numbers),
            amount=event.amount,
            status="OPEN",
            hold_expires_at=event.until,
            payment_id=None,
            created_at=stored.recorded_at,
            cancelled_at=None,
        )

    def _confirmed(self, stored: Stored[OfPayment], _position: int) -> None:
        reservation = self._open.get(stored.stream)
        if reservation is not None:
            reservation.status, reservation.payment_id = "CONFIRMED", stored.payload.payment_id
            self._paid.setdefault(_performance(reservation), set()).add(stored.stream)

    def _expired(self, stored: Stored[Nothing], _position: int) -> None:
        reservation = self._ended(stored.stream)
        if reservation is not None:
            reservation.status = "EXPIRED"
            self.emit(RESERVATIONS, reservation)

    def _cancelled(self, stored: Stored[Nothing], _position: int) -> None:
        reservation = self._ended(stored.stream)
        if reservation is not None:
            reservation.status, reservation.cancelled_at = "CANCELLED", stored.recorded_at
            self.emit(RESERVATIONS, reservation)

    def _ended(self, stream: str) -> Reservation | None:
        reservation = self._open.pop(stream, None)
        if reservation is not None:
            self._paid.get(_performance(reservation), set()).discard(stream)
        return reservation

    def _seats_withdrawn(self, stored: Stored[SeatsWithdrawn], _position: int) -> None:
        """P4: no refund from here on."""
        performance = f"{stored.partition_key}/{stored.payload.date}T{stored.payload.start_time}"
        for stream in self._paid.pop(performance, ()):
            self.emit(RESERVATIONS, self._open.pop(stream))


def _performance(reservation: Reservation) -> str:
    return f"{reservation.code}/{reservation.date}T{reservation.start_time}"
