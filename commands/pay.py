"""A user pays for their open reservation: one append, or nothing (rule P1)."""

from collections.abc import Iterator
from datetime import date, datetime
from typing import Any

import msgspec

from aggregates import concert, payment, queue, reservation, seat, token, wallet
from aggregates.concert import Concert
from aggregates.errors import (
    AmountMismatch,
    InsufficientBalance,
    ReservationNotOpen,
    TokenMismatch,
)
from aggregates.ids import ConcertCode, PaymentId, ReservationId, StartTime, UserId, performance_name
from aggregates.policy import OnInsufficientBalance
from aggregates.reservation import ReservationOpened
from aggregates.stream import Stream
from aggregates.token import HeldSeats, LiveToken
from commands.command import Command, Handler, Peek
from commands.settling import (
    cancel_token,
    end_hold,
    end_if_out_of_time,
    require_active,
    reservation_streams,
    resume_charging,
    seat_streams,
    visit_streams,
)
from commands.unit_of_work import Refused, UnitOfWork, Visit


class Pay(Command, frozen=True):
    """Pay the reservation, or the token's open one where none is named."""

    visit: Visit
    user_id: UserId
    payment_id: PaymentId
    reservation_id: ReservationId | None
    amount: int | None


class Paid(msgspec.Struct, frozen=True):
    """A payment as it was completed; with `refunded_at` once it was given back."""

    payment_id: PaymentId
    reservation_id: ReservationId
    user_id: UserId
    code: ConcertCode
    title: str
    date: date
    start_time: StartTime
    seat_numbers: tuple[int, ...]
    amount: int
    balance: int
    paid_at: datetime
    refunded_at: datetime | None = None


def handle(command: Pay, unit_of_work: UnitOfWork) -> Paid | Refused:
    """P1–P3: debit, complete, confirm, sell, end the token; or record why there was too little money.

    Checks in the order of domain.md: token, reservation open, amount, deadline, failures, balance.
    """
    visit = command.visit
    if command.reservation_id is not None:
        _require_own(command, command.reservation_id, unit_of_work)
    paying_for = concert.announced(unit_of_work.load(concert.stream(visit.code)))
    live = require_active(unit_of_work, visit, command.user_id)
    reservation_id = command.reservation_id or live.last_reservation_id
    if reservation_id is None:
        raise ReservationNotOpen
    paying = unit_of_work.load(reservation.stream(reservation_id))
    opened = reservation.owned(paying, command.user_id)
    reservation.require_open(paying)
    if command.amount is not None and command.amount != opened.amount:
        raise AmountMismatch(opened.amount)
    reservation.require_in_time(opened, unit_of_work.now)
    held = HeldSeats(reservation_id, opened.seat_numbers, opened.until)
    if not wallet.covers(unit_of_work.load(wallet.stream(command.user_id)), opened.amount):
        return _refuse(command, paying_for, live, held, opened, unit_of_work)
    return _complete(command, paying_for, held, opened, unit_of_work)


def _require_own(command: Pay, reservation_id: ReservationId, unit_of_work: UnitOfWork) -> None:
    """Ownership comes before all else: another's reservation is not found."""
    opened = reservation.owned(unit_of_work.load(reservation.stream(reservation_id)), command.user_id)
    if opened.code != command.visit.code:
        raise TokenMismatch


def _complete(
    command: Pay, paying_for: Concert, held: HeldSeats, opened: ReservationOpened, unit_of_work: UnitOfWork
) -> Paid:
    visit, payment_id = command.visit, command.payment_id
    wallet_stream = wallet.stream(command.user_id)
    paying = unit_of_work.load(wallet_stream)
    unit_of_work.record(wallet_stream, wallet.debit(paying, opened.amount, payment_id), visit)
    resume_charging(unit_of_work, visit, command.user_id, held)
    balance = unit_of_work.load(wallet_stream).balance
    completed = payment.PaymentCompleted(
        held.reservation_id, command.user_id, opened.code, opened.date, opened.start_time,
        opened.seat_numbers, opened.amount, balance,
    )  # fmt: skip
    unit_of_work.create(payment.stream(payment_id), completed, visit)
    confirmed = reservation.ReservationConfirmed(payment_id)
    unit_of_work.record(reservation.stream(held.reservation_id), [confirmed], visit)
    sold = seat.SeatSold(held.reservation_id, payment_id, command.user_id)
    for stream in seat_streams(opened):
        unit_of_work.record(stream, seat.sell(unit_of_work.load(stream), sold, unit_of_work.now), visit)
    name = performance_name(opened.date, opened.start_time)
    unit_of_work.change_queue(opened.code, queue.sell_seats, name, len(opened.seat_numbers))
    tokens_stream = token.stream(opened.code, command.user_id)
    unit_of_work.record(tokens_stream, [token.TokenCompleted(payment_id)], visit)
    unit_of_work.change_queue(opened.code, queue.free_slot)
    return Paid(
        payment_id, held.reservation_id, command.user_id, opened.code, paying_for.title, opened.date,
        opened.start_time, opened.seat_numbers, opened.amount, balance, paid_at=unit_of_work.now,
    )  # fmt: skip


def _refuse(
    command: Pay,
    paying_for: Concert,
    live: LiveToken,
    held: HeldSeats,
    opened: ReservationOpened,
    unit_of_work: UnitOfWork,
) -> Refused:
    """P3: record the failed payment; the policy decides about the hold and the token."""
    visit, user_id = command.visit, command.user_id
    reservation_stream = reservation.stream(held.reservation_id)
    failing = unit_of_work.load(reservation_stream)
    failed = reservation.fail_payment(failing, command.payment_id)
    balance = unit_of_work.load(wallet.stream(user_id)).balance
    reason = payment.INSUFFICIENT_BALANCE
    attempt = payment.PaymentFailed(held.reservation_id, user_id, opened.code, opened.amount, reason, balance)
    unit_of_work.create(payment.stream(command.payment_id), attempt, visit)
    unit_of_work.record(reservation_stream, failed, visit)
    match paying_for.policy.on_insufficient_balance:
        case OnInsufficientBalance.KEEP_HOLD:
            pass
        case OnInsufficientBalance.RELEASE_HOLD:
            end_hold(unit_of_work, visit, user_id, held, reason)
            end_if_out_of_time(unit_of_work, visit, user_id)
        case OnInsufficientBalance.RELEASE_HOLD_AND_END_TOKEN:
            cancel_token(unit_of_work, visit, user_id, live, reason)
    return Refused(InsufficientBalance(balance, opened.amount, command.payment_id))


def streams(command: Pay, peek: Peek) -> Iterator[Stream[Any]]:
    """The user's visit, the wallet, and what the reservation holds."""
    yield from visit_streams(command.visit.code, command.user_id, peek)
    yield wallet.stream(command.user_id)
    if command.reservation_id is not None:
        yield from reservation_streams(command.reservation_id, peek)
    tokens = peek(token.stream(command.visit.code, command.user_id))
    live = None if tokens is None else tokens.live
    if live is not None and live.held is None and live.last_reservation_id is not None:
        yield from reservation_streams(live.last_reservation_id, peek)


HANDLER = Handler(handle, streams)
