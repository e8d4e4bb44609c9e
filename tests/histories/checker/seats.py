"""S1–S3, P1, P2, P4: every hold, sale, release, expiry and refund has one place in time.

A performance's seats are free, held until a deadline, or sold. What the answers say of them is one order of
changes and refusals, found by search: for each seat by itself, which shows what is wrong in few calls, and
for all seats of a performance together, since a reservation takes all of its seats or none.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, assert_never

from tests.histories.checker.clock import DatabaseClock, LogClock, decided_at, seconds
from tests.histories.checker.operations import Operation
from tests.histories.checker.search import Order, Placed, State, linearize
from tests.histories.checker.violation import Violation


class Free(NamedTuple):
    """Anyone may take it."""


class Held(NamedTuple):
    """Nobody else may take it before its deadline."""

    reservation_id: str
    until: float | None
    """By the database's clock; None where nobody was told: it may be over at any time."""


class Sold(NamedTuple):
    """It has an owner."""

    payment_id: str


Seat = Free | Held | Sold
Seats = tuple[tuple[int, Seat], ...]
"""Each seat of a performance, by its number."""

FREE = Free()

MAY_END_A_HOLD = frozenset({"fail", "maybe fail", "maybe paid"})
"""Payments that failed for want of money, or may have: the policy decides about the hold."""

Performance = tuple[str, str, str]
"""Concert, date, start time."""


class Change(NamedTuple):
    """What an operation says of some seats of one performance."""

    operation: Operation
    kind: str
    seat_numbers: frozenset[int]
    """Those that it is about."""
    reservation_id: str = ""
    payment_id: str = ""
    until: float | None = None
    blocked: frozenset[int] = frozenset()
    """Of a refusal: those that it names."""
    reservations: frozenset[str] = frozenset()
    """Of leaving: what that token may have held."""

    def concerns(self, reservation_id: str) -> bool:
        """Whether it is about this reservation, or about one that its user was not told of."""
        known = self.reservations or {self.reservation_id}
        return reservation_id in known or reservation_id == _unknown_of(self.operation)

    def pays(self, payment_id: str) -> bool:
        """Whether it is about this payment, or about one that its user was not told of."""
        return payment_id in {self.payment_id, _unknown_of(self.operation)}


class Opened(NamedTuple):
    """A reservation, as an answer told of it."""

    performance: Performance
    seat_numbers: frozenset[int]
    until: float | None
    token_id: str | None


class SeatHistory(NamedTuple):
    """The changes of one performance, and the order that was found for each seat."""

    changes: Sequence[Placed[Change]]
    orders: Mapping[int, Order[Seats, Change]]


def seat_histories(operations: Sequence[Operation], clock: DatabaseClock) -> dict[Performance, SeatHistory]:
    """Find an order for each seat that any operation is about."""
    found = {}
    for performance, changes in _changes(operations).items():
        placed = [Placed(*_window(change.operation, clock), change) for change in changes]
        numbers = sorted(set[int]().union(*(change.seat_numbers for change in changes)))
        orders = {number: _order_of_seat(number, placed, _Deadlines(clock)) for number in numbers}
        found[performance] = SeatHistory(placed, orders)
    return found


def violations(histories: Mapping[Performance, SeatHistory], clock: DatabaseClock) -> Iterator[Violation]:
    """Tell of each seat that has no order, or else of each performance that has none."""
    for performance, history in histories.items():
        stuck = {number: order for number, order in history.orders.items() if not order.found}
        for number, order in stuck.items():
            yield _violation(f"no order explains seat {number} of {'/'.join(performance)}", order)
        if not stuck:
            together = _order(history.orders, history.changes, _Deadlines(clock))
            if not together.found and not together.given_up:
                what = f"no order explains all seats of {'/'.join(performance)} together"
                yield _violation(what, together)


def position_violations(histories: Mapping[Performance, SeatHistory], clock: LogClock) -> Iterator[Violation]:
    """The same by Log-Position in place of time: what was answered at one position may be in any order."""
    for performance, history in histories.items():
        known = [
            Placed(float(change.operation.position), float(change.operation.position), change)
            for _, _, change in history.changes
            if change.operation.is_known
        ]
        if len(known) < len(history.changes):
            continue  # nobody knows where the others stand in the log
        for number in history.orders:
            order = _order_of_seat(number, known, _Deadlines(clock))
            if not order.found:
                what = f"no order by Log-Position explains seat {number} of {'/'.join(performance)}"
                yield _violation(what, order)


def _violation(what: str, order: Order[Seats, Change]) -> Violation:
    """Show the last that fit, and those of which none fits next."""
    last = [placed.operation.operation.call for placed in order.placed[-4:]]
    return Violation("S1", what, last + [placed.operation.operation.call for placed in order.stuck])


def _order_of_seat(
    number: int, changes: Iterable[Placed[Change]], deadlines: "_Deadlines"
) -> Order[Seats, Change]:
    of_seat = [placed for placed in changes if number in placed.operation.seat_numbers]
    return _order([number], of_seat, deadlines)


def _order(
    numbers: Iterable[int], changes: Iterable[Placed[Change]], deadlines: "_Deadlines"
) -> Order[Seats, Change]:
    def step(state: State[Seats], change: Change) -> Iterator[State[Seats]]:
        for ends_hold in (True, False) if change.kind in MAY_END_A_HOLD else (True,):
            now, seats = state.now, dict(state.value)
            for number in change.seat_numbers & seats.keys():
                after = _after(seats[number], number, change, now, deadlines, ends_hold=ends_hold)
                if after is None:
                    break
                seats[number], now = after
            else:
                yield State(tuple(seats.items()), now)

    return linearize(changes, tuple((number, FREE) for number in numbers), step)


class _Deadlines:
    """Judges whether a hold lives, by when a change was decided, or else by when it can have its place."""

    def __init__(self, clock: DatabaseClock | LogClock) -> None:
        self._clock = clock

    def lives(self, held: Held, change: Change, now: float) -> bool:
        """Whether the change can come before the deadline."""
        at = decided_at(change.operation)
        if held.until is None:
            return True
        if at is not None:
            return at < held.until
        return now < self._clock.latest(held.until)

    def over_from(self, held: Held, change: Change, now: float) -> float | None:
        """From when on the change comes after the deadline; None where it cannot."""
        at = decided_at(change.operation)
        if held.until is None:
            return now
        if at is not None:
            return now if held.until <= at else None
        return max(now, self._clock.earliest(held.until))


def _after(
    seat: Seat, number: int, change: Change, now: float, deadlines: _Deadlines, *, ends_hold: bool
) -> tuple[Seat, float] | None:
    """What becomes of a seat, and when at the earliest; None where the answer does not fit it."""
    match change.kind:
        case "take" | "held" | "sold":
            return _after_reserving(seat, number, change, now, deadlines)
        case "refund":
            returned = isinstance(seat, Sold) and change.pays(seat.payment_id)
            return (FREE, now) if returned else None
    if not (isinstance(seat, Held) and change.concerns(seat.reservation_id)):
        is_about_any = change.kind in {"leave", "not open", "maybe fail", "maybe paid"}
        return (seat, now) if is_about_any else None
    if change.kind == "not open":
        then = deadlines.over_from(seat, change, now)
        return None if then is None else (seat, then)
    if change.kind == "leave":
        return FREE, now
    if not deadlines.lives(seat, change, now):
        return (seat, now) if change.kind.startswith("maybe") else None
    if change.kind in {"pay", "maybe paid"} and ends_hold:
        return Sold(change.payment_id), now
    return (FREE if ends_hold or change.kind == "maybe paid" else seat), now


def _after_reserving(
    seat: Seat, number: int, change: Change, now: float, deadlines: _Deadlines
) -> tuple[Seat, float] | None:
    """Whoever takes a seat finds it free, or its hold over; a refusal names exactly those in the way."""
    is_blocked = number in change.blocked
    then: float | None = now
    match seat:
        case Sold():
            return (seat, now) if change.kind == "sold" and is_blocked else None
        case Held() if change.kind == "sold":
            return None if is_blocked else (seat, now)
        case Held() if is_blocked:
            return (seat, now) if deadlines.lives(seat, change, now) else None
        case Held():
            then = deadlines.over_from(seat, change, now)
        case Free():
            then = None if is_blocked else now
        case _:
            assert_never(seat)
    if then is None:
        return None
    taken = Held(change.reservation_id, change.until)
    return (taken if change.kind == "take" else seat), then


def _window(operation: Operation, clock: DatabaseClock) -> tuple[float, float]:
    """Between when it has its place: between call and answer, and when its answer says it was decided."""
    at = decided_at(operation)
    if at is None:
        return operation.sent, operation.answered
    start, end = max(operation.sent, clock.earliest(at)), min(operation.answered, clock.latest(at))
    return min(start, end), end


def _changes(operations: Sequence[Operation]) -> dict[Performance, list[Change]]:
    opened = dict(_opened(operations))
    by_token: defaultdict[str | None, set[str]] = defaultdict(set)
    for reservation_id, reservation in opened.items():
        by_token[reservation.token_id].add(reservation_id)
    paid = {
        operation.view["payment_id"]: operation.view
        for operation in operations
        if operation.kind == "pay" and operation.is_done
    }
    found: defaultdict[Performance, list[Change]] = defaultdict(list)
    for operation in operations:
        for performance, change in _of_operation(operation, opened, by_token, paid):
            found[performance].append(change)
    return dict(found)


def _opened(operations: Iterable[Operation]) -> Iterator[tuple[str, Opened]]:
    """All reservations that were told of, and those that nobody was told of, by a name of ours."""
    for operation in operations:
        if operation.kind != "reserve" or not (operation.is_done or not operation.is_known):
            continue
        call, view = operation.call, operation.view
        performance = (str(call.code), call.body["date"], call.body["start_time"])
        numbers = frozenset(call.body["seat_numbers"])
        until = seconds(view["hold_expires_at"]) if operation.is_done else None
        yield _reservation_id(operation), Opened(performance, numbers, until, call.token_id)


def _reservation_id(operation: Operation) -> str:
    reservation_id: str = operation.view["reservation_id"] if operation.is_done else _unknown_of(operation)
    return reservation_id


def _unknown_of(operation: Operation) -> str:
    """What to call a reservation or payment that its user was not told of."""
    return f"unknown of {operation.call.user_id}"


def _performance(view: Mapping[str, Any]) -> Performance:
    return view["concert_code"], view["date"], view["start_time"]


def _of_operation(
    operation: Operation,
    opened: Mapping[str, Opened],
    by_token: Mapping[str | None, set[str]],
    paid: Mapping[str, Any],
) -> Iterator[tuple[Performance, Change]]:
    match operation.kind:
        case "reserve":
            yield from _of_reserving(operation)
        case "release":
            yield from _of_releasing(operation, opened)
        case "leave" if operation.is_done or not operation.is_known:
            yield from _of_all("leave", operation, by_token.get(operation.call.token_id, set()), opened)
        case "pay" if not operation.is_known:
            yield from _of_all("maybe paid", operation, by_token.get(operation.call.token_id, set()), opened)
        case "pay":
            yield from _of_paying(operation, opened, by_token)
        case "refund" if operation.is_done or not operation.is_known:
            payment_id = operation.call.path.split("/")[-2]
            bought = operation.view if operation.is_done else paid.get(payment_id)
            if bought is not None:
                numbers = frozenset(bought["seat_numbers"])
                yield _performance(bought), Change(operation, "refund", numbers, payment_id=payment_id)
        case _:
            pass


def _of_reserving(operation: Operation) -> Iterator[tuple[Performance, Change]]:
    call = operation.call
    performance = (str(call.code), call.body["date"], call.body["start_time"])
    numbers = frozenset(call.body["seat_numbers"])
    if operation.is_done or not operation.is_known:
        until = seconds(operation.view["hold_expires_at"]) if operation.is_done else None
        yield performance, Change(operation, "take", numbers, _reservation_id(operation), until=until)
    elif operation.error in {"SEAT_ALREADY_HELD", "SEAT_ALREADY_SOLD"}:
        kind = "held" if operation.error == "SEAT_ALREADY_HELD" else "sold"
        blocked = frozenset(operation.view["seat_numbers"])
        yield performance, Change(operation, kind, numbers, blocked=blocked)


def _of_releasing(operation: Operation, opened: Mapping[str, Opened]) -> Iterator[tuple[Performance, Change]]:
    reservation_id = operation.call.path.rpartition("/")[2]
    reservation = opened.get(reservation_id)
    if reservation is None:
        return
    if operation.is_done or not operation.is_known:
        kind = "release"
    elif operation.error == "RESERVATION_NOT_OPEN":
        kind = "not open"
    else:
        return
    yield reservation.performance, Change(operation, kind, reservation.seat_numbers, reservation_id)


def _of_paying(
    operation: Operation, opened: Mapping[str, Opened], by_token: Mapping[str | None, set[str]]
) -> Iterator[tuple[Performance, Change]]:
    """A payment sells the seats; one that failed for want of money may, by the policy, have released them."""
    asked = str((operation.call.body or {}).get("reservation_id"))
    if operation.is_done:
        view, numbers = operation.view, frozenset(operation.view["seat_numbers"])
        yield (
            _performance(view),
            Change(operation, "pay", numbers, view["reservation_id"], view["payment_id"]),
        )
    elif operation.error == "INSUFFICIENT_BALANCE" and asked in opened:
        reservation = opened[asked]
        yield reservation.performance, Change(operation, "fail", reservation.seat_numbers, asked)
    elif operation.error == "INSUFFICIENT_BALANCE":
        held = by_token.get(operation.call.token_id, set())
        yield from _of_all("maybe fail", operation, held, opened)
    elif operation.error == "RESERVATION_NOT_OPEN" and asked in opened:
        reservation = opened[asked]
        yield reservation.performance, Change(operation, "not open", reservation.seat_numbers, asked)


def _of_all(
    kind: str, operation: Operation, reservation_ids: Iterable[str], opened: Mapping[str, Opened]
) -> Iterator[tuple[Performance, Change]]:
    """It is about whatever its token holds."""
    numbers: defaultdict[Performance, set[int]] = defaultdict(set)
    for reservation_id in reservation_ids:
        numbers[opened[reservation_id].performance] |= opened[reservation_id].seat_numbers
    for performance, of_performance in numbers.items():
        change = Change(
            operation,
            kind,
            frozenset(of_performance),
            payment_id=_unknown_of(operation),
            reservations=frozenset(reservation_ids),
        )
        yield performance, change
