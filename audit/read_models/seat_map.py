"""What `seat_map` must show: each performance with its counts, and each seat that was ever taken."""

from collections.abc import Mapping
from datetime import datetime

import msgspec

from audit.read_models.table import Emit, Expectation, Follow, Table, json_text
from audit.stored import (
    OfPayment,
    OfReservation,
    PerformanceScheduled,
    SeatHeld,
    SeatSold,
    SeatsWithdrawn,
    Stored,
    is_seat_number,
)


class Performance(msgspec.Struct):
    """A row of `performances`."""

    code: str
    performance: str
    date: str
    start_time: str
    end_time: str | None
    starts_at: datetime
    plan: str
    seats_total: int
    seats_held: int
    seats_sold: int
    changed_position: int


class Seat(msgspec.Struct, gc=False):
    """A row of `seats`."""

    code: str
    performance: str
    seat_number: int
    status: str
    held_until: datetime | None
    changed_position: int


PERFORMANCES = Table("seat_map", "performances", Performance, key_length=2, as_text=("date",))
SEATS = Table("seat_map", "seats", Seat, key_length=3)


class Showing(msgspec.Struct):
    """A performance with its seats, until it is over: withdrawn, and without a hold."""

    row: Performance
    seats: dict[int, Seat] = {}
    withdrawn: bool = False


class SeatMap(Expectation):
    """Follows the seats' streams, and what begins and ends a performance."""

    def __init__(self, emit: Emit) -> None:
        """Start before the first event."""
        super().__init__(emit)
        self._showings: dict[str, Showing] = {}
        """By code and performance, as the names of seats' streams have them."""

    def follows(self) -> Mapping[str, Follow]:
        """All events of seats; the first and the last of a performance."""
        return {
            "concert.performance_scheduled": self._performance_scheduled,
            "queue.seats_withdrawn": self._seats_withdrawn,
            "seat.held": self._held,
            "seat.hold_expired": self._hold_ended,
            "seat.hold_released": self._hold_ended,
            "seat.sold": self._sold,
            "seat.returned": self._returned,
        }

    def finish(self) -> None:
        """Emit the performances that are not over, and their seats."""
        for showing in self._showings.values():
            self._emit(showing)

    def _emit(self, showing: Showing) -> None:
        self.emit(PERFORMANCES, showing.row)
        for seat in showing.seats.values():
            self.emit(SEATS, seat)

    def _performance_scheduled(self, stored: Stored[PerformanceScheduled], position: int) -> None:
        event = stored.payload
        name = f"{event.date}T{event.start_time}"
        row = Performance(
            code=stored.partition_key,
            performance=name,
            date=event.date,
            start_time=event.start_time,
            end_time=event.end_time,
            starts_at=event.starts_at,
            plan=json_text(event.seats),
            seats_total=sum(block.last - block.first + 1 for block in event.seats),
            seats_held=0,
            seats_sold=0,
            changed_position=position,
        )
        self._showings[f"{stored.partition_key}/{name}"] = Showing(row)

    def _seats_withdrawn(self, stored: Stored[SeatsWithdrawn], _position: int) -> None:
        event = stored.payload
        name = f"{stored.partition_key}/{event.date}T{event.start_time}"
        showing = self._showings.get(name)
        if showing is not None:
            showing.withdrawn = True
            self._emit_if_over(name, showing)

    def _emit_if_over(self, name: str, showing: Showing) -> None:
        if showing.withdrawn and not showing.row.seats_held:
            self._emit(showing)
            del self._showings[name]

    def _held(self, stored: Stored[SeatHeld], position: int) -> None:
        self._become(stored.stream, "HELD", stored.payload.until, position)

    def _hold_ended(self, stored: Stored[OfReservation], position: int) -> None:
        self._become(stored.stream, "AVAILABLE", None, position)

    def _sold(self, stored: Stored[SeatSold], position: int) -> None:
        self._become(stored.stream, "SOLD", None, position)

    def _returned(self, stored: Stored[OfPayment], position: int) -> None:
        self._become(stored.stream, "AVAILABLE", None, position)

    def _become(self, stream: str, status: str, held_until: datetime | None, position: int) -> None:
        name, _, number = stream.removeprefix("seat/").rpartition("/")
        showing = self._showings.get(name)
        if showing is None or not is_seat_number(number):
            return
        row = showing.row
        seat = showing.seats.get(int(number))
        if seat is None:
            seat = Seat(row.code, row.performance, int(number), "AVAILABLE", None, position)
            showing.seats[seat.seat_number] = seat
        row.seats_held += (status == "HELD") - (seat.status == "HELD")
        row.seats_sold += (status == "SOLD") - (seat.status == "SOLD")
        row.changed_position = position
        seat.status, seat.held_until, seat.changed_position = status, held_until, position
        self._emit_if_over(name, showing)
