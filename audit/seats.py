"""Seats: each has at most one live hold or one owner (rules S1, S2, S3).

- S1: a seat is held only while it is neither sold nor under a live hold, and only if the performance's plan
  has it; it is sold only to the reservation that holds it.
- S2: a hold expires from its deadline on, not before; whoever takes a seat whose hold has lapsed has that
  recorded first.
- S3: a hold expires or is released only for the reservation that holds the seat, and only when that
  reservation ends, but for a lapsed one that gives way to another hold in the same append.
- P4: a seat is returned only by the payment that bought it.
"""

from audit.books import Books
from audit.state import Seat
from audit.stored import OfPayment, OfReservation, SeatHeld, SeatSold
from audit.topics import Topics


def held(books: Books, seat: Seat, event: SeatHeld, position: int) -> None:
    """S1 and S2: the seat exists and is free; a hold that had lapsed was recorded as expired before."""
    if seat.performance.price(seat.number) is None:
        books.breach("S1", seat.name, [position], "a seat is held that the performance's plan lacks")
    if seat.payment_id is not None:
        detail = f"a seat is held that was sold with the payment {seat.payment_id}"
        books.breach("S1", seat.name, [seat.position, position], detail)
    elif seat.reservation_id is not None and seat.until is not None:
        if books.now < seat.until:
            detail = f"a seat is held that the reservation {seat.reservation_id} holds"
            books.breach("S1", seat.name, [seat.position, position], detail)
        else:
            detail = f"the lapsed hold of the reservation {seat.reservation_id} was not recorded as expired"
            books.breach("S2", seat.name, [seat.position, position], detail)
    books.append.lapses.pop(seat.name, None)
    books.append.openings.at(event.reservation_id, position).seats.append((seat, event))
    seat.reservation_id = event.reservation_id
    seat.until = event.until
    seat.payment_id = None
    seat.position = position


def hold_expired(books: Books, seat: Seat, event: OfReservation, position: int) -> None:
    """S2: the hold is past its deadline. S3: it gives way to another, or its reservation ends."""
    if seat.until is not None and seat.reservation_id == event.reservation_id and books.now < seat.until:
        books.breach("S2", seat.name, [seat.position, position], "a hold expires before its deadline")
    books.append.lapses[seat.name] = (event.reservation_id, position)
    _let_go(books, seat, event.reservation_id, position)


def hold_released(books: Books, seat: Seat, event: OfReservation, position: int) -> None:
    """S3: the reservation that holds the seat gives it up, and ends."""
    books.append.endings.at(event.reservation_id, position)
    _let_go(books, seat, event.reservation_id, position)


def _let_go(books: Books, seat: Seat, reservation_id: str, position: int) -> None:
    if seat.reservation_id != reservation_id:
        detail = f"a hold ends that the reservation {reservation_id} does not have"
        books.breach("S3", seat.name, [seat.position, position], detail)
        return
    seat.reservation_id = None
    seat.until = None
    seat.position = position


def sold(books: Books, seat: Seat, event: SeatSold, position: int) -> None:
    """S1: a seat is sold once, to the reservation that holds it. P1 is judged with the payment."""
    if seat.payment_id is not None:
        detail = f"a seat is sold that was sold with the payment {seat.payment_id}"
        books.breach("S1", seat.name, [seat.position, position], detail)
    elif seat.reservation_id != event.reservation_id:
        detail = f"a seat is sold that the reservation {event.reservation_id} does not hold"
        books.breach("S1", seat.name, [seat.position, position], detail)
    books.append.sales.at(event.payment_id, position).seats.append((seat, event))
    concert = books.concert(seat.partition_key)
    tally = books.tally(concert)
    name = seat.performance.name
    tally.sold[name] = tally.sold.get(name, 0) + 1
    tally.sold_at.append(position)
    if name in concert.queue.unsold:
        tally.seats_left -= 1
    concert.seats_sold += 1
    seat.reservation_id = None
    seat.until = None
    seat.payment_id = event.payment_id
    seat.position = position


def returned(books: Books, seat: Seat, event: OfPayment, position: int) -> None:
    """P4: a refund returns a seat that its payment bought."""
    books.append.refunds.at(event.payment_id, position).seats.append(seat)
    if seat.payment_id != event.payment_id:
        detail = f"a seat is returned that the payment {event.payment_id} does not own"
        books.breach("P4", seat.name, [seat.position, position], detail)
        return
    concert = books.concert(seat.partition_key)
    tally = books.tally(concert)
    name = seat.performance.name
    tally.returned[name] = tally.returned.get(name, 0) + 1
    tally.returned_at.append(position)
    concert.seats_sold -= 1
    seat.payment_id = None
    seat.position = position


def judge_append(books: Books) -> None:
    """S3: a hold that expired, and gave way to none, settles a reservation that ends."""
    for reservation_id, position in books.append.lapses.values():
        books.append.endings.at(reservation_id, position)


TOPICS: Topics = {
    "seat.held": (SeatHeld, held),
    "seat.hold_expired": (OfReservation, hold_expired),
    "seat.hold_released": (OfReservation, hold_released),
    "seat.sold": (SeatSold, sold),
    "seat.returned": (OfPayment, returned),
}
