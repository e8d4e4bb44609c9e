"""What `queue` must show: each line with its counts, its admissions, and every token where it stands."""

from collections.abc import Mapping
from datetime import datetime

import msgspec

from audit.read_models.table import Emit, Expectation, Follow, Table
from audit.stored import (
    Nothing,
    NumbersIssued,
    OfPayment,
    QueueAdvanced,
    SeatsMoved,
    SeatsWithdrawn,
    SlotsFreed,
    Stored,
    TokenActivated,
    TokenIssued,
    TokenSeatsHeld,
    TokenSeatsReleased,
)


class Line(msgspec.Struct):
    """A row of `queues`."""

    code: str
    issued: int = 0
    head: int = 0
    active: int = 0
    paused: bool = False
    completed: int = 0
    expired: int = 0
    cancelled: int = 0
    changed_position: int = 0


class Performance(msgspec.Struct):
    """A row of `performances`."""

    code: str
    performance: str
    unsold: int = 0
    withdrawn: bool = False


class Admission(msgspec.Struct):
    """A row of `admissions`."""

    code: str
    admitted_at: datetime
    activated: int


class Token(msgspec.Struct, gc=False):
    """A row of `tokens`."""

    token_id: str
    code: str
    queue_number: int
    user_id: str
    status: str
    issued_at: datetime
    activated_at: datetime | None
    active_until: datetime | None
    reservation_id: str | None
    reservation_until: datetime | None
    ended_at: datetime | None
    changed_position: int


QUEUES = Table("queue", "queues", Line)
PERFORMANCES = Table("queue", "performances", Performance, key_length=2)
ADMISSIONS = Table("queue", "admissions", Admission, key_length=2)
TOKENS = Table("queue", "tokens", Token, as_text=("token_id", "user_id", "reservation_id"))


class Queue(Expectation):
    """Follows the queues' and the tokens' streams."""

    def __init__(self, emit: Emit) -> None:
        """Start before the first event."""
        super().__init__(emit)
        self._lines: dict[str, Line] = {}
        self._performances: dict[tuple[str, str], Performance] = {}
        self._tokens: dict[str, Token] = {}
        """Live tokens, by their stream."""

    def follows(self) -> Mapping[str, Follow]:
        """All events of queues, and of tokens but for seats that were returned after their end."""
        return {
            "queue.opened": self._opened,
            "queue.numbers_issued": self._numbers_issued,
            "queue.advanced": self._advanced,
            "queue.seats_sold": self._seats_sold,
            "queue.slots_freed": self._slots_freed,
            "queue.seats_returned": self._seats_came,
            "queue.seats_added": self._seats_came,
            "queue.seats_withdrawn": self._seats_withdrawn,
            "queue.paused": self._paused,
            "queue.resumed": self._resumed,
            "token.issued": self._issued,
            "token.activated": self._activated,
            "token.seats_held": self._seats_held,
            "token.seats_released": self._seats_released,
            "token.completed": self._completed,
            "token.expired": self._expired,
            "token.cancelled": self._cancelled,
        }

    def finish(self) -> None:
        """Emit the lines, and the tokens that have not ended."""
        for line in self._lines.values():
            self.emit(QUEUES, line)
        for performance in self._performances.values():
            self.emit(PERFORMANCES, performance)
        for token in self._tokens.values():
            self.emit(TOKENS, token)

    def _opened(self, stored: Stored[Nothing], position: int) -> None:
        self._line(stored.partition_key, position)

    def _numbers_issued(self, stored: Stored[NumbersIssued], position: int) -> None:
        self._line(stored.partition_key, position).issued = stored.payload.last

    def _advanced(self, stored: Stored[QueueAdvanced], position: int) -> None:
        line, event = self._line(stored.partition_key, position), stored.payload
        line.head = event.head
        line.active += event.activated
        if event.activated:
            self.emit(ADMISSIONS, Admission(line.code, stored.recorded_at, event.activated))

    def _slots_freed(self, stored: Stored[SlotsFreed], position: int) -> None:
        self._line(stored.partition_key, position).active -= stored.payload.count

    def _seats_sold(self, stored: Stored[SeatsMoved], position: int) -> None:
        for name, count in stored.payload.by_performance.items():
            self._performance(stored.partition_key, name).unsold -= count
        self._line(stored.partition_key, position)

    def _seats_came(self, stored: Stored[SeatsMoved], position: int) -> None:
        for name, count in stored.payload.by_performance.items():
            self._performance(stored.partition_key, name).unsold += count
        self._line(stored.partition_key, position)

    def _seats_withdrawn(self, stored: Stored[SeatsWithdrawn], position: int) -> None:
        name = f"{stored.payload.date}T{stored.payload.start_time}"
        self._performance(stored.partition_key, name).withdrawn = True
        self._line(stored.partition_key, position)

    def _paused(self, stored: Stored[Nothing], position: int) -> None:
        self._line(stored.partition_key, position).paused = True

    def _resumed(self, stored: Stored[Nothing], position: int) -> None:
        self._line(stored.partition_key, position).paused = False

    def _line(self, code: str, position: int) -> Line:
        line = self._lines.get(code)
        if line is None:
            line = self._lines[code] = Line(code)
        line.changed_position = position
        return line

    def _performance(self, code: str, name: str) -> Performance:
        performance = self._performances.get((code, name))
        if performance is None:
            performance = self._performances[code, name] = Performance(code, name)
        return performance

    def _issued(self, stored: Stored[TokenIssued], position: int) -> None:
        event = stored.payload
        self._tokens[stored.stream] = Token(
            token_id=event.token_id,
            code=event.code,
            queue_number=event.queue_number,
            user_id=event.user_id,
            status="WAITING",
            issued_at=stored.recorded_at,
            activated_at=None,
            active_until=None,
            reservation_id=None,
            reservation_until=None,
            ended_at=None,
            changed_position=position,
        )

    def _activated(self, stored: Stored[TokenActivated], position: int) -> None:
        token = self._changed(stored.stream, position)
        if token is not None:
            token.status = "ACTIVE"
            token.activated_at, token.active_until = stored.recorded_at, stored.payload.until

    def _seats_held(self, stored: Stored[TokenSeatsHeld], position: int) -> None:
        token, event = self._changed(stored.stream, position), stored.payload
        if token is not None:
            token.reservation_id, token.reservation_until = event.reservation_id, event.until

    def _seats_released(self, stored: Stored[TokenSeatsReleased], position: int) -> None:
        token = self._changed(stored.stream, position)
        if token is not None:
            token.reservation_id = token.reservation_until = None

    def _completed(self, stored: Stored[OfPayment], position: int) -> None:
        self._end(stored, "COMPLETED", position).completed += 1

    def _expired(self, stored: Stored[Nothing], position: int) -> None:
        self._end(stored, "EXPIRED", position).expired += 1

    def _cancelled(self, stored: Stored[Nothing], position: int) -> None:
        self._end(stored, "CANCELLED", position).cancelled += 1

    def _end(self, stored: Stored[OfPayment] | Stored[Nothing], status: str, position: int) -> Line:
        token = self._changed(stored.stream, position)
        if token is not None:
            token.status, token.ended_at = status, stored.recorded_at
            token.reservation_id = token.reservation_until = None
            self.emit(TOKENS, token)
            del self._tokens[stored.stream]
        return self._line(stored.partition_key, position)

    def _changed(self, stream: str, position: int) -> Token | None:
        token = self._tokens.get(stream)
        if token is not None:
            token.changed_position = position
        return token
