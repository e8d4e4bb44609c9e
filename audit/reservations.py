"""Reservations: one user's claim on seats of one performance (rules L1, L2, S1, S2, S3, P3, W3).

- L1, L2: none is opened while the sale is closed, nor from its performance's start on.
- S1: its seats are in the performance's plan. P1: its amount is what they cost there.
- S2: its deadline is its opening plus the policy's `hold_ttl_s`, and it does not expire before.
- S3: all or none: in the append that opens it, each of its seats, and its token, are held for it, with its
  deadline; in the append that ends it, each of them is let go, skipping those that others took since.
- P3: no more than five payments fail for it, each while it is open.
- W3: under `charge_while_holding: false` opening suspends charging until that deadline, in the same append,
  and whatever ends it resumes it.
"""

from collections.abc import Iterator
from datetime import timedelta

from audit.append import Ending, Opening
from audit.books import Books
from audit.breaches import Rule
from audit.state import Performance, Reservation, Seat
from audit.stored import Nothing, OfPayment, ReservationOpened
from audit.topics import Topics

FAILURES_MAX = 5
"""P3: after so many, an attempt that would fail again leaves no event."""


def opened(books: Books, reservation: Reservation, event: ReservationOpened, position: int) -> None:
    """L1, L2, S1, S2 and P1: it may be opened, with seats that exist, their price and the right deadline."""
    if reservation.position:
        books.breach("A1", reservation.name, [position], "the reservation is opened a second time")
        return
    concert = books.concert(event.code)
    name = f"{event.date}T{event.start_time}"
    performance = concert.performances.get(name) or Performance(name=name)
    reservation.partition_key = concert.partition_key
    reservation.position = position
    reservation.token_id = event.token_id
    reservation.user_id = event.user_id
    reservation.performance = performance
    reservation.seat_numbers = event.seat_numbers
    reservation.amount = event.amount
    reservation.until = event.until
    reservation.open = True
    performance.open_reservations += 1
    opening = books.append.openings.at(reservation.id, position)
    opening.reservation = reservation
    opening.suspends_charging = not concert.policy.charge_while_holding
    if not concert.sales_open:
        books.breach("L1", reservation.name, [position], "seats are reserved while the sale is closed")
    if performance.starts_at is not None and performance.starts_at <= books.now:
        books.breach("L2", reservation.name, [position], "seats are reserved after the performance began")
    if event.until != books.now + timedelta(seconds=concert.policy.hold_ttl_s):
        detail = f"the hold's deadline is not {concert.policy.hold_ttl_s} s after its opening"
        books.breach("S2", reservation.name, [position], detail)
    _judge_seats(books, reservation, performance, position)


def _judge_seats(books: Books, reservation: Reservation, performance: Performance, position: int) -> None:
    numbers = reservation.seat_numbers
    if not numbers or len(set(numbers)) != len(numbers):
        detail = f"the seats {numbers} are not one or more different ones"
        books.breach("S3", reservation.name, [position], detail)
    prices = [performance.price(number) for number in numbers]
    if None in prices:
        detail = f"the plan of {performance.name} lacks some of the seats {numbers}"
        books.breach("S1", reservation.name, [position], detail)
        return
    cost = sum(price for price in prices if price is not None)
    if cost != reservation.amount:
        detail = f"the amount is {reservation.amount}, but the seats cost {cost}"
        books.breach("P1", reservation.name, [position], detail)


def payment_failed(books: Books, reservation: Reservation, event: OfPayment, position: int) -> None:
    """P3: an open reservation fails to be paid, five times at most."""
    reservation.failures += 1
    if not reservation.open:
        books.breach("P3", reservation.name, [position], "a payment fails for a reservation that is not open")
    elif reservation.failures > FAILURES_MAX:
        detail = f"{reservation.failures} payments failed, of at most {FAILURES_MAX}"
        books.breach("P3", reservation.name, [position], detail)
    failure = books.append.failures.at(event.payment_id, position)
    if failure.reservation is not None:
        books.breach("P3", reservation.name, [position], "one payment fails twice")
    failure.reservation = reservation
    failure.policy = books.concert(reservation.partition_key).policy


def confirmed(books: Books, reservation: Reservation, event: OfPayment, position: int) -> None:
    """P1: paying settles a reservation that is open."""
    books.append.sales.at(event.payment_id, position).confirmed = reservation
    _end(books, reservation, "P1", position)
    reservation.payment_id = event.payment_id


def expired(books: Books, reservation: Reservation, _event: Nothing, position: int) -> None:
    """S2: an open reservation expires from its deadline on."""
    if reservation.until is not None and books.now < reservation.until:
        books.breach("S2", reservation.name, [position], "the reservation expires before its deadline")
    _end(books, reservation, "S3", position)


def cancelled(books: Books, reservation: Reservation, _event: Nothing, position: int) -> None:
    """S3: an open reservation is given up, or P4: a confirmed one is refunded."""
    if reservation.payment_id is not None:
        books.append.refunds.at(reservation.payment_id, position).cancelled = reservation
        reservation.payment_id = None
    else:
        _end(books, reservation, "S3", position)


def _end(books: Books, reservation: Reservation, rule: Rule, position: int) -> None:
    if not reservation.open:
        books.breach(rule, reservation.name, [position], "a reservation ends that is not open")
        return
    reservation.open = False
    books.append.endings.at(reservation.id, position).reservation = reservation


def judge_opening(books: Books, reservation_id: str, opening: Opening) -> None:
    """S3 and W3: the append that opens a reservation holds all of it, and nothing else for it."""
    name = f"reservation/{reservation_id}"
    if opening.reservation is None:
        detail = "seats are held, or charging is suspended, for a reservation that does not open"
        books.breach("S3", name, opening.positions, detail)
        return
    for detail in _lacks(opening, opening.reservation):
        books.breach("S3", name, opening.positions, detail)
    wanted = opening.reservation.until if opening.suspends_charging else None
    suspended = opening.suspended[1] if opening.suspended else None
    if suspended != wanted:
        detail = f"charging is suspended until {suspended}, where the policy says {wanted}"
        books.breach("W3", name, opening.positions, detail)


def _lacks(opening: Opening, reservation: Reservation) -> Iterator[str]:
    numbers = tuple(sorted(reservation.seat_numbers))
    performance = _performance(reservation)
    held = tuple(sorted(seat.number for seat, _ in opening.seats))
    if held != numbers or any(seat.performance.name != performance for seat, _ in opening.seats):
        yield f"the seats {numbers} of {performance} are reserved, but {held} are held"
    claim = (reservation.token_id, reservation.user_id, reservation.until)
    if any((event.token_id, event.user_id, event.until) != claim for _, event in opening.seats):
        yield "a seat is held for another token or user, or until another time"
    if opening.token is None:
        yield "the token's stream does not tell of it"
        return
    tokens, token_id, event = opening.token
    if tokens.name != f"token/{reservation.partition_key}/{reservation.user_id}":
        yield f"it is told by {tokens.name}"
    elif token_id != reservation.token_id:
        yield f"it names another token than the live one, {token_id}"
    if tuple(sorted(event.seat_numbers)) != numbers or event.until != reservation.until:
        yield "the token's stream tells of other seats or another deadline"


def _performance(reservation: Reservation) -> str:
    return reservation.performance.name if reservation.performance else ""


def judge_ending(books: Books, reservation_id: str, ending: Ending) -> None:
    """S3 and W3: what ends a reservation settles all of it, and nothing of it is given up before it ends."""
    name = f"reservation/{reservation_id}"
    reservation = ending.reservation
    if reservation is None:
        still_open = books.reservation(reservation_id)
        if still_open is not None and still_open.open:
            detail = "a part of the reservation is settled while it stays open"
            books.breach("S3", name, [*ending.positions, still_open.position], detail)
        return
    held = list(_seats_still_held(books, reservation))
    if held:
        books.breach("S3", name, ending.positions, f"the reservation ends, but its seats {held} stay held")
    tokens = books.tokens(reservation.partition_key, reservation.user_id)
    if tokens is not None and tokens.live is not None and tokens.live.reservation_id == reservation_id:
        books.breach("S3", name, ending.positions, "the reservation ends, but its token still holds it")
    wallet = books.wallet(reservation.user_id)
    if wallet is not None and reservation_id in wallet.suspended:
        books.breach("W3", name, ending.positions, "the reservation ends, but charging stays suspended")


def _seats_still_held(books: Books, reservation: Reservation) -> Iterator[int]:
    for number in reservation.seat_numbers:
        seat_name = f"seat/{reservation.partition_key}/{_performance(reservation)}/{number}"
        seat = books.streams.get(seat_name)
        if isinstance(seat, Seat) and seat.reservation_id == reservation.id:
            yield number


def forget_ended(books: Books, ending: Ending) -> None:
    """Keep a confirmed reservation for its refund, and drop any other that has ended."""
    reservation = ending.reservation
    if reservation is None or reservation.performance is None:
        return
    if reservation.payment_id is None:
        books.forget(reservation.name)
    else:
        reservation.performance.streams.add(reservation.name)
    reservation.performance.open_reservations -= 1
    books.forget_if_over(reservation.performance)


TOPICS: Topics = {
    "reservation.opened": (ReservationOpened, opened),
    "reservation.payment_failed": (OfPayment, payment_failed),
    "reservation.confirmed": (OfPayment, confirmed),
    "reservation.expired": (Nothing, expired),
    "reservation.cancelled": (Nothing, cancelled),
}
