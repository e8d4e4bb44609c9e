"""Writes logs in their stored form, by itself: no command, no aggregate and no code of the audit is asked.

The builder knows what each use case records, and keeps just enough state to write it down. It forbids
nothing: a seat reserved twice, a payment after its deadline or an admission too many are written as they
are told, so that a test can say in plain words which breach it forges. What cannot be told that way is done
to the events afterwards: `log.events` may be changed, dropped and added to at will.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid5

import msgspec

NAMESPACE = UUID("7c1d9a52-3b0e-5f64-9a77-1f2f0c8e4b10")
START = datetime(2026, 3, 1, 9, 0, tzinfo=UTC)
SHOW = "2026-05-01T19:30"
SHOW_STARTS_AT = datetime(2026, 5, 1, 10, 30, tzinfo=UTC)
DEFAULT_PLAN: Sequence[tuple[int, int, str, int]] = ((1, 50, "STANDARD", 100_000),)
"""First seat, last seat, type, price."""

StoredRow = tuple[int, bytes, int, str, bytes]

_encode = msgspec.json.Encoder().encode


class StoredEvent(msgspec.Struct):
    """One event of the log, before it is bytes."""

    position: int
    stream: str
    version: int
    topic: str
    recorded_at: datetime
    partition_key: str
    payload: dict[str, Any]
    correlation_id: str = ""
    """The token's, within a visit."""
    state: bytes | None = None
    """What to store in place of the JSON of all this."""
    stream_id: bytes | None = None
    """What to store in place of the id of its stream's name."""

    def row(self) -> StoredRow:
        """The columns of the log's table."""
        command_id = id_of("command", self.position)
        state = self.state or _encode(
            {
                "stream": self.stream,
                "partition_key": self.partition_key,
                "recorded_at": self.recorded_at,
                "command_id": command_id,
                "correlation_id": self.correlation_id or command_id,
                "causation_id": command_id,
                "payload": self.payload,
            }
        )
        id_ = self.stream_id or uuid5(NAMESPACE, self.stream).bytes
        return self.position, id_, self.version, self.topic, state


def id_of(kind: str, number: int) -> str:
    """An id in the form of a UUID, the same each time for the same thing."""
    return f"{sum(map(ord, kind)):08x}-0000-4000-8000-{number:012x}"


class Sale(msgspec.Struct):
    """What the builder remembers of a concert."""

    policy: dict[str, Any]
    issued: int = 0
    head: int = 0
    unsold: dict[str, int] = {}
    prices: dict[str, Sequence[tuple[int, int, str, int]]] = {}
    line: dict[int, str] = {}
    """Who waits with which number."""
    gone: set[int] = set()
    """Numbers that have ended before the gate passed them."""


class Visit(msgspec.Struct):
    """What the builder remembers of a live token."""

    token_id: str
    number: int
    active: bool = False
    reservation_id: str | None = None


class Booking(msgspec.Struct):
    """What the builder remembers of a reservation."""

    code: str
    user_id: str
    token_id: str
    show: str
    seat_numbers: tuple[int, ...]
    amount: int
    until: datetime
    suspended: bool
    payment_id: str | None = None


class Merged(msgspec.Struct):
    """What an append adds to the stream of one queue."""

    first: int = 0
    last: int = 0
    activated: int = 0
    head: int = 0
    sold: dict[str, int] = {}
    freed: int = 0
    returned: dict[str, int] = {}
    added: dict[str, int] = {}
    withdrawn: list[str] = []
    opened: bool = False
    paused: bool = False
    resumed: bool = False


class LogBuilder:
    """A log that grows by use cases; each is an append of its own unless several share one."""

    def __init__(self, start: datetime = START) -> None:
        self.events: list[StoredEvent] = []
        self.now = start
        self.position = 0
        self.sales: dict[str, Sale] = {}
        self.visits: dict[tuple[str, str], Visit] = {}
        self.bookings: dict[str, Booking] = {}
        self.balances: dict[str, int] = {}
        self.holders: dict[tuple[str, str, int], str] = {}
        """Which reservation holds a seat."""
        self._versions: dict[str, int] = {}
        self._merged: dict[str, Merged] = {}
        self._depth = 0
        self._ids = 0

    def rows(self) -> list[StoredRow]:
        """The log as it is stored."""
        return [event.row() for event in self.events]

    def new_id(self, kind: str) -> str:
        """An id that was not given out before."""
        self._ids += 1
        return id_of(kind, self._ids)

    def record(self, stream: str, topic: str, partition_key: str, **payload: Any) -> StoredEvent:
        """Write down one event, as the next of its stream, in the append that is being written."""
        self.position += 1
        version = self._versions[stream] = self._versions.get(stream, 0) + 1
        visit = self.visits.get((partition_key, stream.rpartition("/")[2]))
        event = StoredEvent(self.position, stream, version, topic, self.now, partition_key, payload)
        if visit is not None:
            event.correlation_id = visit.token_id
        self.events.append(event)
        return event

    def last(self, topic: str, nth: int = 1) -> StoredEvent:
        """The last event of that topic, or the nth from the end."""
        return [event for event in self.events if event.topic == topic][-nth]

    def omit(self, *events: StoredEvent) -> None:
        """Take events out as if they had never been recorded: later versions move up."""
        for omitted in events:
            self.events.remove(omitted)
            self._versions[omitted.stream] -= 1
            for event in self.events:
                if event.stream == omitted.stream and event.version > omitted.version:
                    event.version -= 1

    def move_to_an_append_of_their_own(self, *events: StoredEvent) -> None:
        """Let the log's last events be recorded a moment after the others of their append."""
        for event in events:
            event.recorded_at += timedelta(microseconds=500)
        self.events.sort(key=lambda event: event.recorded_at)
        for position, event in enumerate(self.events, start=1):
            event.position = position

    @contextmanager
    def append(self) -> Iterator[None]:
        """Write all that is told inside as one append; its merged events come last."""
        self._depth += 1
        before = self.position
        yield
        self._depth -= 1
        if self._depth == 0:
            for code, merged in self._merged.items():
                self._record_merged(code, merged)
            self._merged.clear()
            if self.position > before:
                self.now += timedelta(milliseconds=1)

    def pass_time(self, seconds: float) -> None:
        """Let time go by."""
        self.now += timedelta(seconds=seconds)

    def forget_streams(self, *parts: str) -> None:
        """Forget the versions of streams that have any of `parts` in their name and end here."""
        self._versions = {
            name: version
            for name, version in self._versions.items()
            if not any(part in name for part in parts)
        }

    def _record_merged(self, code: str, merged: Merged) -> None:
        stream = f"queue/{code}"
        if merged.opened:
            self.record(stream, "queue.opened", code)
        if merged.last:
            self.record(stream, "queue.numbers_issued", code, first=merged.first, last=merged.last)
        if merged.head:
            self.record(stream, "queue.advanced", code, head=merged.head, activated=merged.activated)
        self._record_seats(code, "queue.seats_sold", merged.sold)
        if merged.freed:
            self.record(stream, "queue.slots_freed", code, count=merged.freed)
        self._record_seats(code, "queue.seats_returned", merged.returned)
        self._record_seats(code, "queue.seats_added", merged.added)
        for show in merged.withdrawn:
            date, _, start_time = show.partition("T")
            count = self.sales[code].unsold.pop(show, 0)
            self.record(stream, "queue.seats_withdrawn", code, date=date, start_time=start_time, count=count)
        if merged.paused:
            self.record(stream, "queue.paused", code)
        if merged.resumed:
            self.record(stream, "queue.resumed", code)

    def _record_seats(self, code: str, topic: str, shows: dict[str, int]) -> None:
        if shows:
            count = sum(shows.values())
            self.record(f"queue/{code}", topic, code, count=count, by_performance=dict(shows))

    def _queue(self, code: str) -> Merged:
        return self._merged.setdefault(code, Merged())

    def announce(self, code: str, **policy: Any) -> None:
        """Announce a concert; its queue opens with it."""
        with self.append():
            self.sales[code] = Sale(policy=policy)
            self.record(
                f"concert/{code}",
                "concert.announced",
                code,
                code=code,
                title=f"The {code}",
                description="",
                category="CONCERT",
                venue="Hall",
                time_zone="Asia/Seoul",
                policy=policy,
            )
            self._queue(code).opened = True

    def schedule(
        self,
        code: str,
        show: str = SHOW,
        starts_at: datetime = SHOW_STARTS_AT,
        plan: Sequence[tuple[int, int, str, int]] = DEFAULT_PLAN,
    ) -> None:
        """Add a performance."""
        with self.append():
            date, _, start_time = show.partition("T")
            self.record(
                f"concert/{code}",
                "concert.performance_scheduled",
                code,
                date=date,
                start_time=start_time,
                end_time=None,
                starts_at=starts_at,
                seats=[dict(zip(("first", "last", "type", "price"), block, strict=True)) for block in plan],
            )
            count = sum(last - first + 1 for first, last, _, _ in plan)
            self.sales[code].prices[show] = plan
            self.sales[code].unsold[show] = count
            self._queue(code).added[show] = count

    def open_sales(self, code: str) -> None:
        """Open the sale."""
        with self.append():
            self.record(f"concert/{code}", "concert.sales_opened", code)

    def close_sales(self, code: str) -> None:
        """Close the sale."""
        with self.append():
            self.record(f"concert/{code}", "concert.sales_closed", code)

    def change_policy(self, code: str, **policy: Any) -> None:
        """Set the policy anew."""
        with self.append():
            self.sales[code].policy = policy
            self.record(f"concert/{code}", "concert.policy_changed", code, policy=policy)

    def pause(self, code: str) -> None:
        """Stop letting in."""
        with self.append():
            self._queue(code).paused = True

    def resume(self, code: str) -> None:
        """Let in again."""
        with self.append():
            self._queue(code).resumed = True

    def withdraw(self, code: str, show: str = SHOW) -> None:
        """Take the unsold seats of a performance that began out of the count."""
        with self.append():
            self._queue(code).withdrawn.append(show)

    def open_wallet(self, user_id: str) -> None:
        """Open a wallet."""
        with self.append():
            self.balances[user_id] = 0
            self.record(f"wallet/{user_id}", "wallet.opened", user_id)

    def charge(self, user_id: str, amount: int) -> None:
        """Charge a wallet."""
        with self.append():
            self.balances[user_id] += amount
            self.record(f"wallet/{user_id}", "wallet.charged", user_id, amount=amount)

    def join(self, code: str, user_id: str) -> Visit:
        """Give the user a token."""
        with self.append():
            sale = self.sales[code]
            sale.issued += 1
            visit = Visit(self.new_id("token"), sale.issued)
            self.visits[code, user_id] = visit
            self.record(
                f"token/{code}/{user_id}",
                "token.issued",
                code,
                token_id=visit.token_id,
                user_id=user_id,
                code=code,
                queue_number=visit.number,
            )
            sale.line[visit.number] = user_id
            queue = self._queue(code)
            queue.first = queue.first or visit.number
            queue.last = visit.number
        return visit

    def let_in(self, code: str, count: int = 1) -> None:
        """Let in the next `count` who wait, passing those who left."""
        with self.append():
            sale = self.sales[code]
            until = self.now + timedelta(seconds=sale.policy.get("active_ttl_s", 600))
            queue = self._queue(code)
            for _ in range(count):
                number = self._pass_gone(sale)
                user_id = sale.line.pop(number)
                self.visits[code, user_id].active = True
                self.record(f"token/{code}/{user_id}", "token.activated", code, until=until)
                sale.head = number
                queue.activated += 1
            self._pass_gone(sale)
            queue.head = sale.head

    def _pass_gone(self, sale: Sale) -> int:
        while sale.head + 1 in sale.gone:
            sale.head += 1
            sale.gone.remove(sale.head)
        return sale.head + 1

    def leave(self, code: str, user_id: str) -> None:
        """Cancel the user's token, releasing what it holds."""
        with self.append():
            visit = self.visits[code, user_id]
            if visit.reservation_id is not None:
                self.release(visit.reservation_id, reason="left")
            self.record(f"token/{code}/{user_id}", "token.cancelled", code, reason="left")
            self._end(code, user_id)

    def expire_token(self, code: str, user_id: str) -> None:
        """Record the end of an active token."""
        with self.append():
            self.record(f"token/{code}/{user_id}", "token.expired", code)
            self._end(code, user_id)

    def _end(self, code: str, user_id: str) -> None:
        visit = self.visits.pop((code, user_id))
        if visit.active:
            self._queue(code).freed += 1
        else:
            self.sales[code].gone.add(visit.number)
            self.sales[code].line.pop(visit.number, None)

    def reserve(self, code: str, user_id: str, *seat_numbers: int, show: str = SHOW) -> str:
        """Hold seats; lapsed holds on them give way."""
        with self.append():
            sale, visit = self.sales[code], self.visits[code, user_id]
            until = self.now + timedelta(seconds=sale.policy.get("hold_ttl_s", 300))
            suspended = not sale.policy.get("charge_while_holding", True)
            amount = sum(self._price(code, show, number) for number in seat_numbers)
            reservation_id = self.new_id("reservation")
            self.bookings[reservation_id] = Booking(
                code, user_id, visit.token_id, show, seat_numbers, amount, until, suspended
            )
            for number in seat_numbers:
                self._hold(code, show, number, reservation_id)
            date, _, start_time = show.partition("T")
            self.record(
                f"reservation/{reservation_id}",
                "reservation.opened",
                code,
                token_id=visit.token_id,
                user_id=user_id,
                code=code,
                date=date,
                start_time=start_time,
                seat_numbers=seat_numbers,
                amount=amount,
                until=until,
            )
            self.record(
                f"token/{code}/{user_id}",
                "token.seats_held",
                code,
                reservation_id=reservation_id,
                seat_numbers=seat_numbers,
                until=until,
            )
            visit.reservation_id = reservation_id
            if suspended:
                self.record(
                    f"wallet/{user_id}",
                    "wallet.charging_suspended",
                    user_id,
                    reservation_id=reservation_id,
                    until=until,
                )
        return reservation_id

    def _price(self, code: str, show: str, number: int) -> int:
        plan = self.sales[code].prices.get(show, ())
        return next((price for first, last, _, price in plan if first <= number <= last), 0)

    def _hold(self, code: str, show: str, number: int, reservation_id: str) -> None:
        stream = f"seat/{code}/{show}/{number}"
        booking = self.bookings[reservation_id]
        lapsed = self.holders.get((code, show, number))
        if lapsed is not None and self.bookings[lapsed].until <= self.now:
            self.record(stream, "seat.hold_expired", code, reservation_id=lapsed)
        self.holders[code, show, number] = reservation_id
        self.record(
            stream,
            "seat.held",
            code,
            reservation_id=reservation_id,
            token_id=booking.token_id,
            user_id=booking.user_id,
            until=booking.until,
        )

    def release(self, reservation_id: str, reason: str = "released") -> None:
        """Give up a reservation."""
        with self.append():
            self._settle_seats(reservation_id, "seat.hold_released", reason=reason)
            booking = self.bookings[reservation_id]
            stream = f"reservation/{reservation_id}"
            self.record(stream, "reservation.cancelled", booking.code, reason=reason)
            self._settle_token_and_wallet(reservation_id, reason)

    def expire_hold(self, reservation_id: str) -> None:
        """Record that a reservation's deadline passed."""
        with self.append():
            self._settle_seats(reservation_id, "seat.hold_expired")
            stream = f"reservation/{reservation_id}"
            self.record(stream, "reservation.expired", self.bookings[reservation_id].code)
            self._settle_token_and_wallet(reservation_id, "expired")

    def _settle_seats(self, reservation_id: str, topic: str, **payload: Any) -> None:
        booking = self.bookings[reservation_id]
        for number in booking.seat_numbers:
            if self.holders.get((booking.code, booking.show, number)) == reservation_id:
                del self.holders[booking.code, booking.show, number]
                stream = f"seat/{booking.code}/{booking.show}/{number}"
                self.record(stream, topic, booking.code, reservation_id=reservation_id, **payload)

    def _settle_token_and_wallet(self, reservation_id: str, reason: str) -> None:
        booking = self.bookings[reservation_id]
        self.record(
            f"token/{booking.code}/{booking.user_id}",
            "token.seats_released",
            booking.code,
            reservation_id=reservation_id,
            seat_numbers=booking.seat_numbers,
            reason=reason,
        )
        self.visits[booking.code, booking.user_id].reservation_id = None
        self._resume_charging(reservation_id)

    def _resume_charging(self, reservation_id: str) -> None:
        booking = self.bookings[reservation_id]
        if booking.suspended:
            stream = f"wallet/{booking.user_id}"
            self.record(stream, "wallet.charging_resumed", booking.user_id, reservation_id=reservation_id)

    def pay(self, reservation_id: str) -> str:
        """Pay for a reservation."""
        with self.append():
            booking = self.bookings[reservation_id]
            code, user_id = booking.code, booking.user_id
            payment_id = self.new_id("payment")
            booking.payment_id = payment_id
            self.balances[user_id] -= booking.amount
            self.record(
                f"wallet/{user_id}",
                "wallet.debited",
                user_id,
                amount=booking.amount,
                payment_id=payment_id,
            )
            self._resume_charging(reservation_id)
            date, _, start_time = booking.show.partition("T")
            self.record(
                f"payment/{payment_id}",
                "payment.completed",
                code,
                reservation_id=reservation_id,
                user_id=user_id,
                code=code,
                date=date,
                start_time=start_time,
                seat_numbers=booking.seat_numbers,
                amount=booking.amount,
                balance=self.balances[user_id],
            )
            self.record(f"reservation/{reservation_id}", "reservation.confirmed", code, payment_id=payment_id)
            self._sell_seats(reservation_id, payment_id)
            self.record(f"token/{code}/{user_id}", "token.completed", code, payment_id=payment_id)
            self._end(code, user_id)
        return payment_id

    def _sell_seats(self, reservation_id: str, payment_id: str) -> None:
        booking = self.bookings[reservation_id]
        sold = self._queue(booking.code).sold
        unsold = self.sales[booking.code].unsold
        for number in booking.seat_numbers:
            self.record(
                f"seat/{booking.code}/{booking.show}/{number}",
                "seat.sold",
                booking.code,
                reservation_id=reservation_id,
                payment_id=payment_id,
                user_id=booking.user_id,
            )
            self.holders.pop((booking.code, booking.show, number), None)
            sold[booking.show] = sold.get(booking.show, 0) + 1
            if booking.show in unsold:
                unsold[booking.show] -= 1

    def fail_payment(self, reservation_id: str) -> str:
        """Attempt to pay with too little money; what the policy lets go of is told besides."""
        with self.append():
            booking = self.bookings[reservation_id]
            payment_id = self.new_id("payment")
            self.record(
                f"payment/{payment_id}",
                "payment.failed",
                booking.code,
                reservation_id=reservation_id,
                user_id=booking.user_id,
                code=booking.code,
                amount=booking.amount,
                reason="insufficient_balance",
                balance=self.balances[booking.user_id],
            )
            self.record(
                f"reservation/{reservation_id}",
                "reservation.payment_failed",
                booking.code,
                payment_id=payment_id,
            )
        return payment_id

    def refund(self, reservation_id: str) -> None:
        """Give a reservation's payment back."""
        with self.append():
            booking = self.bookings[reservation_id]
            code, user_id, payment_id = booking.code, booking.user_id, booking.payment_id
            self.balances[user_id] += booking.amount
            self.record(
                f"wallet/{user_id}",
                "wallet.refunded",
                user_id,
                amount=booking.amount,
                payment_id=payment_id,
            )
            self.record(
                f"payment/{payment_id}",
                "payment.refunded",
                code,
                amount=booking.amount,
                balance=self.balances[user_id],
            )
            self.record(f"reservation/{reservation_id}", "reservation.cancelled", code, reason="refunded")
            returned = self._queue(code).returned
            for number in booking.seat_numbers:
                stream = f"seat/{code}/{booking.show}/{number}"
                self.record(stream, "seat.returned", code, payment_id=payment_id)
                returned[booking.show] = returned.get(booking.show, 0) + 1
            unsold = self.sales[code].unsold
            if booking.show in unsold:
                unsold[booking.show] += len(booking.seat_numbers)
            self.record(
                f"token/{code}/{user_id}",
                "token.seats_returned",
                code,
                payment_id=payment_id,
                seat_numbers=booking.seat_numbers,
            )
