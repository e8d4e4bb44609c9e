"""What `deadlines` must show: what the timer has still to do, and when."""

from collections.abc import Mapping
from datetime import datetime

import msgspec

from audit.read_models.table import Emit, Expectation, Follow, Table
from audit.stored import (
    ConcertAnnounced,
    Nothing,
    OfPayment,
    PerformanceScheduled,
    PolicyChanged,
    ReservationOpened,
    SeatsWithdrawn,
    Stored,
    TokenActivated,
    TokenIssued,
    TokenSeatsHeld,
    TokenSeatsReleased,
)


class Hold(msgspec.Struct, gc=False):
    """A row of `holds`: an open reservation."""

    reservation_id: str
    code: str
    token_id: str
    user_id: str
    due_at: datetime


class Token(msgspec.Struct, gc=False):
    """A row of `tokens`: an active one, due when it and its open reservation are over."""

    token_id: str
    code: str
    user_id: str
    active_until: datetime
    due_at: datetime


class Sale(msgspec.Struct):
    """A row of `sales`."""

    code: str
    opens_at: datetime | None = None
    closes_at: datetime | None = None
    is_open: bool = False
    changed_at: datetime | None = None


class Performance(msgspec.Struct):
    """A row of `performances`: one that was not withdrawn yet."""

    code: str
    date: str
    start_time: str
    due_at: datetime


HOLDS = Table("deadlines", "holds", Hold, as_text=("reservation_id", "token_id", "user_id"))
TOKENS = Table("deadlines", "tokens", Token, as_text=("token_id", "user_id"))
SALES = Table("deadlines", "sales", Sale)
PERFORMANCES = Table("deadlines", "performances", Performance, key_length=3, as_text=("date",))


class Deadlines(Expectation):
    """Follows all that has a deadline; rows go when it is met, so those that are left are the table."""

    def __init__(self, emit: Emit) -> None:
        """Start before the first event."""
        super().__init__(emit)
        self._holds: dict[str, Hold] = {}
        self._issued: dict[str, TokenIssued] = {}
        """Live tokens, by stream."""
        self._active: dict[str, Token] = {}
        """Of these the active ones."""
        self._sales: dict[str, Sale] = {}
        self._performances: dict[tuple[str, str, str], Performance] = {}

    def follows(self) -> Mapping[str, Follow]:
        """What begins and ends a hold, a token, a sale and a performance."""
        return {
            "reservation.opened": self._reservation_opened,
            "reservation.confirmed": self._reservation_ended,
            "reservation.expired": self._reservation_ended,
            "reservation.cancelled": self._reservation_ended,
            "token.issued": self._token_issued,
            "token.activated": self._token_activated,
            "token.seats_held": self._seats_held,
            "token.seats_released": self._seats_released,
            "token.completed": self._token_ended,
            "token.expired": self._token_ended,
            "token.cancelled": self._token_ended,
            "concert.announced": self._policy_set,
            "concert.policy_changed": self._policy_set,
            "concert.sales_opened": self._sales_opened,
            "concert.sales_closed": self._sales_closed,
            "concert.performance_scheduled": self._performance_scheduled,
            "queue.seats_withdrawn": self._seats_withdrawn,
        }

    def finish(self) -> None:
        """Emit all that is still due."""
        for hold in self._holds.values():
            self.emit(HOLDS, hold)
        for token in self._active.values():
            self.emit(TOKENS, token)
        for sale in self._sales.values():
            self.emit(SALES, sale)
        for performance in self._performances.values():
            self.emit(PERFORMANCES, performance)

    def _reservation_opened(self, stored: Stored[ReservationOpened], _position: int) -> None:
        event = stored.payload
        reservation_id = stored.stream.removeprefix("reservation/")
        self._holds[stored.stream] = Hold(
            reservation_id, event.code, event.token_id, event.user_id, event.until
        )

    def _reservation_ended(self, stored: Stored[OfPayment] | Stored[Nothing], _position: int) -> None:
        self._holds.pop(stored.stream, None)

    def _token_issued(self, stored: Stored[TokenIssued], _position: int) -> None:
        self._issued[stored.stream] = stored.payload

    def _token_activated(self, stored: Stored[TokenActivated], _position: int) -> None:
        issued, until = self._issued.get(stored.stream), stored.payload.until
        if issued is not None:
            self._active[stored.stream] = Token(
                issued.token_id, issued.code, issued.user_id, until, due_at=until
            )

    def _seats_held(self, stored: Stored[TokenSeatsHeld], _position: int) -> None:
        self._extend(stored.stream, stored.payload.until)

    def _seats_released(self, stored: Stored[TokenSeatsReleased], _position: int) -> None:
        self._extend(stored.stream, None)

    def _extend(self, stream: str, held_until: datetime | None) -> None:
        token = self._active.get(stream)
        if token is not None:
            token.due_at = max(token.active_until, held_until or token.active_until)

    def _token_ended(self, stored: Stored[OfPayment] | Stored[Nothing], _position: int) -> None:
        self._issued.pop(stored.stream, None)
        self._active.pop(stored.stream, None)

    def _policy_set(self, stored: Stored[ConcertAnnounced] | Stored[PolicyChanged], _position: int) -> None:
        sale, policy = self._sale(stored.partition_key), stored.payload.policy
        sale.opens_at, sale.closes_at = policy.sales_open_at, policy.sales_close_at

    def _sales_opened(self, stored: Stored[Nothing], _position: int) -> None:
        sale = self._sale(stored.partition_key)
        sale.is_open, sale.changed_at = True, stored.recorded_at

    def _sales_closed(self, stored: Stored[Nothing], _position: int) -> None:
        sale = self._sale(stored.partition_key)
        sale.is_open, sale.changed_at = False, stored.recorded_at

    def _sale(self, code: str) -> Sale:
        sale = self._sales.get(code)
        if sale is None:
            sale = self._sales[code] = Sale(code)
        return sale

    def _performance_scheduled(self, stored: Stored[PerformanceScheduled], _position: int) -> None:
        code, event = stored.partition_key, stored.payload
        key = (code, event.date, event.start_time)
        self._performances[key] = Performance(*key, due_at=event.starts_at)

    def _seats_withdrawn(self, stored: Stored[SeatsWithdrawn], _position: int) -> None:
        event = stored.payload
        self._performances.pop((stored.partition_key, event.date, event.start_time), None)
