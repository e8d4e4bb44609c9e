"""A user gives seats back for the money: the whole payment, once, in one append (rule P4)."""

from collections.abc import Iterator
from typing import Any

from aggregates import concert, payment, queue, reservation, seat, token, wallet
from aggregates.ids import PaymentId, UserId, performance_name
from aggregates.payment import PaymentCompleted
from aggregates.stream import Stream
from commands.command import Command, Handler, Peek
from commands.pay import Paid
from commands.unit_of_work import UnitOfWork, Visit

REFUNDED = "refunded"


class Refund(Command, frozen=True):
    """Give a payment back to its user's wallet."""

    payment_id: PaymentId
    user_id: UserId


def handle(command: Refund, unit_of_work: UnitOfWork) -> Paid:
    """Refund the wallet, mark the payment, put the seats back on sale, cancel the reservation.

    Raises PaymentNotFound, RefundNotAllowed.
    """
    payment_stream = payment.stream(command.payment_id)
    refunding = unit_of_work.load(payment_stream)
    bought = payment.refundable(refunding, payment.owned(refunding, command.user_id))
    selling = unit_of_work.load(concert.stream(bought.code))
    performance = concert.find_performance(selling, bought.date, bought.start_time)
    until = concert.refundable_until(performance, selling.policy)
    wallet_stream = wallet.stream(command.user_id)
    balance = unit_of_work.load(wallet_stream).balance + bought.amount
    refunded = payment.refund(bought, balance, until, unit_of_work.now)

    reservation_stream = reservation.stream(bought.reservation_id)
    cancelling = unit_of_work.load(reservation_stream)
    visit = Visit(bought.code, reservation.owned(cancelling, command.user_id).token_id)
    unit_of_work.record(wallet_stream, [wallet.WalletRefunded(bought.amount, command.payment_id)], visit)
    unit_of_work.record(payment_stream, refunded, visit)
    unit_of_work.record(reservation_stream, reservation.cancel(cancelling, REFUNDED), visit)
    for stream in _seats(bought):
        returned = seat.give_back(unit_of_work.load(stream), command.payment_id)
        unit_of_work.record(stream, returned, visit)
    tokens_stream = token.stream(bought.code, command.user_id)
    back = token.TokenSeatsReturned(command.payment_id, bought.seat_numbers)
    unit_of_work.record(tokens_stream, [back], visit)
    name = performance_name(bought.date, bought.start_time)
    unit_of_work.change_queue(bought.code, queue.return_seats, name, len(bought.seat_numbers))
    return Paid(
        command.payment_id, bought.reservation_id, command.user_id, bought.code, selling.title,
        bought.date, bought.start_time, bought.seat_numbers, bought.amount, balance,
        paid_at=refunding.paid_at or unit_of_work.now, refunded_at=unit_of_work.now,
    )  # fmt: skip


def _seats(bought: PaymentCompleted) -> list[Stream[seat.Seat]]:
    return [
        seat.stream(bought.code, bought.date, bought.start_time, number) for number in bought.seat_numbers
    ]


def streams(command: Refund, peek: Peek) -> Iterator[Stream[Any]]:
    """The payment and the wallet; then all that the payment settled."""
    payment_stream = payment.stream(command.payment_id)
    yield payment_stream
    yield wallet.stream(command.user_id)
    known = peek(payment_stream)
    if known is None or not isinstance(known.attempt, PaymentCompleted):
        return
    bought = known.attempt
    yield concert.stream(bought.code)
    yield queue.stream(bought.code)
    yield reservation.stream(bought.reservation_id)
    yield token.stream(bought.code, command.user_id)
    yield from _seats(bought)


HANDLER = Handler(handle, streams)
