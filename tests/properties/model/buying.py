"""Reserving, releasing, paying and giving back: L1, L2, S1 to S5, P1 to P4."""

from datetime import date, timedelta
from typing import Any
from uuid import UUID

from tests.properties.model import holds, tokens, wallets
from tests.properties.model.append import Append, refuse
from tests.properties.model.holds import seat_stream
from tests.properties.model.tokens import concert_of, require_active
from tests.properties.model.wallets import Results
from tests.properties.model.world import Concert, Payment, Reservation, Show, Status, Token

FAILURES_MAX = 5
TOO_LITTLE = "insufficient_balance"


def reserve(
    append: Append,
    visit: Any,
    user_id: UUID,
    reservation_id: UUID,
    date: date,
    start_time: str | None,
    seat_numbers: tuple[int, ...],
) -> Results:
    """S1 to S5, in the order of checks."""
    if not seat_numbers or len(set(seat_numbers)) < len(seat_numbers):
        refuse("VALIDATION_FAILED")
    concert = concert_of(append, visit.code)
    token = require_active(append, visit, user_id)
    if token.until is None or token.until <= append.now:
        refuse("TOKEN_EXPIRED")
    if not concert.open:
        refuse("SALES_NOT_OPEN")
    show = _show_to_sell(append, concert, date, start_time)
    if missing := [number for number in seat_numbers if show.price(number) is None]:
        refuse("SEAT_NOT_FOUND", seat_numbers=missing)
    _require_allowed(append, concert, token, len(seat_numbers))
    _require_free(append, show, seat_numbers)
    if token.open is not None:
        holds.end_hold(append, token.open, holds.EXPIRED)
    until = append.now + timedelta(seconds=concert.policy["hold_ttl_s"])
    amount = sum(show.price(number) or 0 for number in seat_numbers)
    reservation = Reservation(reservation_id, token, show, seat_numbers, amount, until)
    _open(append, concert, reservation)
    return {
        "reservation_id": reservation_id,
        "user_id": user_id,
        "code": concert.code,
        "date": show.day,
        "start_time": show.start_time,
        "seat_numbers": seat_numbers,
        "amount": amount,
        "until": until,
        "created_at": append.now,
    }


def _show_to_sell(append: Append, concert: Concert, day: date, start_time: str | None) -> Show:
    """L2."""
    found = [
        show for show in concert.shows.values() if show.day == day and start_time in (None, show.start_time)
    ]
    if not found:
        refuse("PERFORMANCE_NOT_FOUND")
    if len(found) > 1:
        refuse("PERFORMANCE_AMBIGUOUS", start_times=sorted(show.start_time for show in found))
    if found[0].starts_at <= append.now:
        refuse("PERFORMANCE_STARTED")
    return found[0]


def _require_allowed(append: Append, concert: Concert, token: Token, wanted: int) -> None:
    """S5, S4."""
    if token.open is not None and append.now < token.open.until:
        refuse("RESERVATION_ALREADY_OPEN", reservation_id=token.open.id)
    if seats_owned(concert, token.user_id) + wanted > concert.policy["max_seats_per_user"]:
        refuse("SEAT_LIMIT_EXCEEDED")


def seats_owned(concert: Concert, user_id: UUID) -> int:
    """S4: refunded seats do not count."""
    owners = (payment for show in concert.shows.values() for payment in show.owners.values())
    return sum(payment.reservation.token.user_id == user_id for payment in owners)


def _require_free(append: Append, show: Show, seat_numbers: tuple[int, ...]) -> None:
    """S1."""
    if sold := [number for number in seat_numbers if number in show.owners]:
        refuse("SEAT_ALREADY_SOLD", seat_numbers=sold)
    held = {number for number, hold in show.holds.items() if append.now < hold.until}
    if taken := [number for number in seat_numbers if number in held]:
        refuse("SEAT_ALREADY_HELD", seat_numbers=taken)


def _open(append: Append, concert: Concert, reservation: Reservation) -> None:
    token, show, until = reservation.token, reservation.show, reservation.until
    append.world.reservations[reservation.id] = reservation
    append.opened.append(reservation)
    append.record(
        f"reservation/{reservation.id}",
        "reservation.opened",
        token,
        token_id=token.id,
        user_id=token.user_id,
        code=concert.code,
        date=show.day,
        start_time=show.start_time,
        seat_numbers=reservation.seat_numbers,
        amount=reservation.amount,
        until=until,
    )
    for number in reservation.seat_numbers:
        if (lapsed := show.holds.get(number)) is not None:
            holds.give_up(append, lapsed, number, holds.EXPIRED)
        show.holds[number] = reservation
        append.record(
            seat_stream(concert.code, show, number),
            "seat.held",
            token,
            reservation_id=reservation.id,
            token_id=token.id,
            user_id=token.user_id,
            until=until,
        )
    token.open = token.last = reservation
    append.record(
        tokens.stream(token),
        "token.seats_held",
        token,
        reservation_id=reservation.id,
        seat_numbers=reservation.seat_numbers,
        until=until,
    )
    if not concert.policy["charge_while_holding"]:
        wallets.suspend(append, reservation)


def release_reservation(append: Append, visit: Any, user_id: UUID, reservation_id: UUID) -> Results:
    reservation = _own(append, visit, user_id, reservation_id)
    if reservation.status is not Status.OPEN or reservation.until <= append.now:
        refuse("RESERVATION_NOT_OPEN")
    holds.end_hold(append, reservation, "released")
    holds.end_if_out_of_time(append, reservation.token)
    return {}


def _own(append: Append, visit: Any, user_id: UUID, reservation_id: UUID) -> Reservation:
    """Ownership comes before all else."""
    reservation = append.world.reservations.get(reservation_id)
    if reservation is None or reservation.token.user_id != user_id:
        refuse("RESERVATION_NOT_FOUND")
    if reservation.token.code != visit.code:
        refuse("TOKEN_MISMATCH")
    return reservation


def pay(
    append: Append,
    visit: Any,
    user_id: UUID,
    payment_id: UUID,
    reservation_id: UUID | None,
    amount: int | None,
) -> Results:
    """P1, P2, P3: reservation open, amount, deadline, failures, balance."""
    named = None if reservation_id is None else _own(append, visit, user_id, reservation_id)
    concert = concert_of(append, visit.code)
    token = require_active(append, visit, user_id)
    reservation = named or token.last
    if reservation is None or reservation.status in (Status.CONFIRMED, Status.CANCELLED):
        refuse("RESERVATION_NOT_OPEN")
    if amount not in (None, reservation.amount):
        refuse("AMOUNT_MISMATCH", amount=reservation.amount)
    if reservation.until <= append.now:
        refuse("HOLD_EXPIRED")
    if append.world.wallets[user_id].balance < reservation.amount:
        _fail(append, concert, reservation, payment_id)
    return _complete(append, concert, reservation, payment_id)


def _fail(append: Append, concert: Concert, reservation: Reservation, payment_id: UUID) -> None:
    """P3."""
    token, balance = reservation.token, append.world.wallets[reservation.token.user_id].balance
    if reservation.failures >= FAILURES_MAX:
        refuse("RATE_LIMITED")
    reservation.failures += 1
    failed = Payment(payment_id, reservation, reservation.amount, Status.FAILED, append.now)
    append.world.payments[payment_id] = failed
    append.record(
        f"payment/{payment_id}",
        "payment.failed",
        token,
        reservation_id=reservation.id,
        user_id=token.user_id,
        code=concert.code,
        amount=reservation.amount,
        reason=TOO_LITTLE,
        balance=balance,
    )
    topic = "reservation.payment_failed"
    append.record(f"reservation/{reservation.id}", topic, token, payment_id=payment_id)
    match concert.policy["on_insufficient_balance"]:
        case "release_hold":
            holds.end_hold(append, reservation, TOO_LITTLE)
            holds.end_if_out_of_time(append, token)
        case "release_hold_and_end_token":
            holds.cancel(append, token, TOO_LITTLE)
    refuse("INSUFFICIENT_BALANCE", balance=balance, amount=reservation.amount, payment_id=payment_id)


def _complete(append: Append, concert: Concert, reservation: Reservation, payment_id: UUID) -> Results:
    """P1: one append, or nothing."""
    token, show, amount = reservation.token, reservation.show, reservation.amount
    payment = Payment(payment_id, reservation, amount, Status.COMPLETED, append.now)
    append.world.payments[payment_id] = payment
    balance = _move(append, payment, "wallet.debited", -amount)
    wallets.resume(append, reservation)
    append.record(
        f"payment/{payment_id}",
        "payment.completed",
        token,
        reservation_id=reservation.id,
        user_id=token.user_id,
        code=concert.code,
        date=show.day,
        start_time=show.start_time,
        seat_numbers=reservation.seat_numbers,
        amount=amount,
        balance=balance,
    )
    reservation.status = Status.CONFIRMED
    topic = "reservation.confirmed"
    append.record(f"reservation/{reservation.id}", topic, token, payment_id=payment_id)
    _sell(append, concert, payment)
    token.open = None
    tokens.end(append, token, Status.COMPLETED, payment_id=payment_id)
    return _receipt(concert, payment, balance) | {"refunded_at": None}


def _sell(append: Append, concert: Concert, payment: Payment) -> None:
    reservation, gate = payment.reservation, append.gate(concert.code)
    show = reservation.show
    for number in reservation.seat_numbers:
        del show.holds[number]
        show.owners[number] = payment
        append.record(
            seat_stream(concert.code, show, number),
            "seat.sold",
            reservation.token,
            reservation_id=reservation.id,
            payment_id=payment.id,
            user_id=reservation.token.user_id,
        )
    gate.sold[show.name] += len(reservation.seat_numbers)
    if show.name in gate.unsold:
        gate.unsold[show.name] -= len(reservation.seat_numbers)


def _move(append: Append, payment: Payment, topic: str, amount: int) -> int:
    """W1: enter an amount, and return what the wallet then holds."""
    user_id = payment.reservation.token.user_id
    wallet = append.world.wallets[user_id]
    wallet.entries.append(amount)
    append.record(
        f"wallet/{user_id}",
        topic,
        payment.reservation.token,
        of=str(user_id),
        amount=abs(amount),
        payment_id=payment.id,
    )
    return wallet.balance


def _receipt(concert: Concert, payment: Payment, balance: int) -> Results:
    reservation = payment.reservation
    return {
        "payment_id": payment.id,
        "reservation_id": reservation.id,
        "user_id": reservation.token.user_id,
        "code": concert.code,
        "title": concert.title,
        "date": reservation.show.day,
        "start_time": reservation.show.start_time,
        "seat_numbers": reservation.seat_numbers,
        "amount": payment.amount,
        "balance": balance,
        "paid_at": payment.paid_at,
    }


def refund(append: Append, payment_id: UUID, user_id: UUID) -> Results:
    """P4."""
    payment = append.world.payments.get(payment_id)
    if payment is None or payment.reservation.token.user_id != user_id:
        refuse("PAYMENT_NOT_FOUND")
    reservation = payment.reservation
    token, show = reservation.token, reservation.show
    concert = append.world.concerts[token.code]
    too_late_at = show.starts_at - timedelta(seconds=concert.policy["refund_until_s"] or 0)
    if payment.status is not Status.COMPLETED or too_late_at <= append.now:
        refuse("REFUND_NOT_ALLOWED")
    payment.status, reservation.status = Status.REFUNDED, Status.CANCELLED
    balance = _move(append, payment, "wallet.refunded", payment.amount)
    topic = "payment.refunded"
    append.record(f"payment/{payment_id}", topic, token, amount=payment.amount, balance=balance)
    topic = "reservation.cancelled"
    append.record(f"reservation/{reservation.id}", topic, token, reason="refunded")
    for number in reservation.seat_numbers:
        del show.owners[number]
        stream = seat_stream(concert.code, show, number)
        append.record(stream, "seat.returned", token, payment_id=payment_id)
    append.record(
        tokens.stream(token),
        "token.seats_returned",
        token,
        payment_id=payment_id,
        seat_numbers=reservation.seat_numbers,
    )
    append.gate(concert.code).returned[show.name] += len(reservation.seat_numbers)
    return _receipt(concert, payment, balance) | {"refunded_at": append.now}
