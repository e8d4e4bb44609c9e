"""Payments: paid whole, failed without a trace of money, or given back whole (rules P1 to P4, W1).

What an append shows of one payment is judged when the append is complete:

- P1: a payment that completes comes with its debit, its reservation's confirmation, each of its seats' sale
  and its token's completion, all of the reservation's user, performance, seats and amount; and none of
  these comes without it. (The queue's counts are judged in `queues`, resumed charging with the reservation.)
- P2: it comes before its reservation's deadline.
- P3: a payment that fails does so for want of money alone: in time, for an open reservation of that user,
  of its amount, with a smaller balance; the reservation tells of it; and where the policy lets go of the
  hold, or ends the token, that is so by the end of the append.
- P4: a payment that is given back was completed and not given back before; the whole amount goes to the
  wallet that paid, each of its seats is returned, its token stream tells so, the reservation is cancelled;
  and it comes before the performance's start less the policy's `refund_until_s`.
- W1: the balances that these events tell are the wallet's.
"""

from collections.abc import Iterator, Sequence
from datetime import timedelta

from audit.append import Failure, Refund, Sale
from audit.books import Books
from audit.state import Payment, Reservation, Wallet
from audit.stored import PaymentCompleted, PaymentFailed, PaymentRefunded, Policy
from audit.topics import Topics

INSUFFICIENT_BALANCE = "insufficient_balance"
"""P3: the one reason for which an attempt to pay is recorded as failed."""


def completed(books: Books, payment: Payment, event: PaymentCompleted, position: int) -> None:
    """P1: a payment completes once; its append shows the rest."""
    if not _begin(books, payment, event, position):
        return
    payment.completed = True
    payment.paid_at = books.now
    sale = books.append.sales.at(payment.id, position)
    sale.completed, sale.payment, sale.reservation = event, payment, payment.reservation
    books.totals.completed += 1
    books.totals.amount_completed += event.amount
    books.concert(event.code).revenue += event.amount
    if payment.reservation is not None and payment.reservation.performance is not None:
        payment.reservation.performance.streams.add(payment.name)


def failed(books: Books, payment: Payment, event: PaymentFailed, position: int) -> None:
    """P3: a payment fails once, before a wallet that holds too little; its append shows the rest."""
    if not _begin(books, payment, event, position):
        return
    wallet = books.wallet(event.user_id)
    balance = wallet.balance if wallet else 0
    if event.balance != balance:
        detail = f"the payment tells a balance of {event.balance}, but the wallet has {balance}"
        books.breach("W1", payment.name, [position], detail)
    failure = books.append.failures.at(payment.id, position)
    failure.failed, failure.payment = event, payment
    books.totals.failed += 1


def _begin(books: Books, payment: Payment, event: PaymentCompleted | PaymentFailed, position: int) -> bool:
    if payment.position:
        books.breach("P1", payment.name, [payment.position, position], "the payment is made a second time")
        return False
    payment.position = position
    payment.partition_key = books.concert(event.code).partition_key
    payment.reservation = books.reservation(event.reservation_id)
    payment.user_id = event.user_id
    payment.amount = event.amount
    payment.balance = event.balance
    return True


def refunded(books: Books, payment: Payment, event: PaymentRefunded, position: int) -> None:
    """P4: in time; its append shows the rest."""
    refund = books.append.refunds.at(payment.id, position)
    refund.refunded = event
    if not payment.completed:
        books.breach("P4", payment.name, [position], "a payment is given back that is not there to be")
        return
    payment.completed = False
    refund.payment = payment
    books.totals.payments_refunded += 1
    books.totals.amount_refunded += event.amount
    concert = books.concert(payment.partition_key)
    concert.revenue -= event.amount
    performance = payment.reservation.performance if payment.reservation else None
    if performance is not None and performance.starts_at is not None:
        notice = timedelta(seconds=concert.policy.refund_until_s or 0)
        if performance.starts_at - notice <= books.now:
            detail = f"a payment is given back less than {notice} before the performance"
            books.breach("P4", payment.name, [position], detail)


def judge_sale(books: Books, payment_id: str, sale: Sale) -> None:
    """P1, P2 and W1: paying is one append or nothing."""
    name = f"payment/{payment_id}"
    completed = sale.completed
    if completed is None:
        detail = "money, seats, a reservation or a token are settled without the payment"
        books.breach("P1", name, sale.positions, detail)
        return
    lacking = "; ".join((*_not_as_reserved(sale, completed), *_not_settled(sale, completed)))
    if lacking:
        books.breach("P1", name, sale.positions, lacking)
    reservation = sale.reservation
    if reservation is not None and reservation.until is not None and reservation.until <= books.now:
        positions = [reservation.position, *sale.positions]
        books.breach("P2", name, positions, "the payment completes after the reservation's deadline")
    for _wallet, _amount, balance in sale.debits[-1:]:
        if balance != completed.balance:
            detail = f"the payment tells a balance of {completed.balance}, but the wallet has {balance}"
            books.breach("W1", name, sale.positions, detail)


def _not_as_reserved(sale: Sale, completed: PaymentCompleted) -> Iterator[str]:
    reservation = sale.reservation
    if reservation is None:
        yield f"there is no open reservation {completed.reservation_id}"
        return
    if completed.user_id != reservation.user_id:
        yield f"it is of another user than the reservation's, {reservation.user_id}"
    if completed.amount != reservation.amount:
        yield f"its amount is {completed.amount}, the reservation's is {reservation.amount}"
    performance = reservation.performance.name if reservation.performance else ""
    seats = (reservation.partition_key, performance, sorted(reservation.seat_numbers))
    if _seats_paid(completed) != seats:
        yield "it is for other seats than the reservation's"


def _seats_paid(completed: PaymentCompleted) -> tuple[str, str, list[int]]:
    performance = f"{completed.date}T{completed.start_time}"
    return completed.code, performance, sorted(completed.seat_numbers)


def _not_settled(sale: Sale, completed: PaymentCompleted) -> Iterator[str]:
    user_id, reservation_id = completed.user_id, completed.reservation_id
    if [(wallet.partition_key, amount) for wallet, amount, _ in sale.debits] != [(user_id, completed.amount)]:
        yield f"{completed.amount} is to be taken from the user's wallet, but {_moved(sale.debits)}"
    if sale.confirmed is None or sale.confirmed.id != reservation_id:
        yield "its reservation is not confirmed"
    code, performance, numbers = _seats_paid(completed)
    sold = sorted(seat.number for seat, _ in sale.seats)
    elsewhere = any(
        (seat.partition_key, seat.performance.name) != (code, performance) for seat, _ in sale.seats
    )
    if sold != numbers or elsewhere:
        yield f"the seats {numbers} are paid, but {sold} are sold"
    if any((event.reservation_id, event.user_id) != (reservation_id, user_id) for _, event in sale.seats):
        yield "a seat is sold to another reservation or user"
    if sale.token is None or sale.token[0].name != f"token/{code}/{user_id}":
        yield "the user's token does not complete"
    elif sale.token[1] != reservation_id:
        yield "the token completes that does not hold the reservation"


def _moved(entries: Sequence[tuple[Wallet, int, int]]) -> str:
    moved = ", ".join(f"{amount} of {wallet.name}" for wallet, amount, _ in entries)
    return f"it is {moved}" if moved else "no wallet is"


def judge_failure(books: Books, payment_id: str, failure: Failure) -> None:
    """P3: too little money, and nothing else."""
    name = f"payment/{payment_id}"
    failed, policy = failure.failed, failure.policy
    if failed is None or failure.reservation is None or policy is None:
        missing = "the payment's own event" if failed is None else "its reservation's"
        books.breach("P3", name, failure.positions, f"a payment fails without {missing}")
    else:
        unlike = "; ".join(_not_for_want_of_money(books, failed, failure.reservation))
        if unlike:
            books.breach("P3", name, failure.positions, unlike)
        for detail in _not_let_go(books, failure.reservation, policy):
            books.breach("P3", name, failure.positions, detail)
    if failure.payment is not None:
        books.tell(failure.payment, "FAILED")
        books.forget(name)


def _not_for_want_of_money(books: Books, failed: PaymentFailed, reservation: Reservation) -> Iterator[str]:
    if failed.reservation_id != reservation.id or failed.user_id != reservation.user_id:
        yield "it names another reservation or user"
    if failed.amount != reservation.amount:
        yield f"its amount is {failed.amount}, the reservation's is {reservation.amount}"
    if failed.reason != INSUFFICIENT_BALANCE or failed.amount <= failed.balance:
        yield f"it fails for another reason than too little money ({failed.reason}, {failed.balance} left)"
    if reservation.until is not None and reservation.until <= books.now:
        yield "it fails after the reservation's deadline"


def _not_let_go(books: Books, reservation: Reservation, policy: Policy) -> Iterator[str]:
    if policy.on_insufficient_balance == "keep_hold":
        return
    if reservation.open:
        yield f"the policy is {policy.on_insufficient_balance}, but the reservation stays open"
    tokens = books.tokens(reservation.partition_key, reservation.user_id)
    live = tokens.live if tokens else None
    ends_token = policy.on_insufficient_balance == "release_hold_and_end_token"
    if ends_token and live is not None and live.token_id == reservation.token_id:
        yield f"the policy is {policy.on_insufficient_balance}, but the token stays live"


def judge_refund(books: Books, payment_id: str, refund: Refund) -> None:
    """P4 and W1: given back whole, in one append, once."""
    name = f"payment/{payment_id}"
    refunded, payment = refund.refunded, refund.payment
    if refunded is None:
        detail = "money, seats or a reservation are given back without the payment"
        books.breach("P4", name, refund.positions, detail)
    elif payment is not None:
        lacking = "; ".join(_not_given_back(refund, refunded, payment))
        if lacking:
            books.breach("P4", name, refund.positions, lacking)
        for _wallet, _amount, balance in refund.credits[-1:]:
            if balance != refunded.balance:
                detail = f"the refund tells a balance of {refunded.balance}, but the wallet has {balance}"
                books.breach("W1", name, refund.positions, detail)
    if payment is not None:
        books.tell(payment, "REFUNDED")
        books.forget(name)
    if refund.cancelled is not None:
        books.forget(refund.cancelled.name)
        if refund.cancelled.performance is not None:
            refund.cancelled.performance.streams -= {name, refund.cancelled.name}


def _not_given_back(refund: Refund, refunded: PaymentRefunded, payment: Payment) -> Iterator[str]:
    reservation = payment.reservation
    if refunded.amount != payment.amount:
        yield f"{refunded.amount} is given back of {payment.amount}"
    given = [(wallet.partition_key, amount) for wallet, amount, _ in refund.credits]
    if given != [(payment.user_id, payment.amount)]:
        yield f"{payment.amount} is to go to the wallet that paid, but {_moved(refund.credits)}"
    if reservation is None or refund.cancelled is not reservation:
        yield "its reservation is not cancelled"
        return
    numbers = sorted(reservation.seat_numbers)
    returned = sorted(seat.number for seat in refund.seats)
    if returned != numbers or any(seat.performance is not reservation.performance for seat in refund.seats):
        yield f"the seats {numbers} were paid, but {returned} are returned"
    tokens_name = f"token/{payment.partition_key}/{payment.user_id}"
    if refund.tokens is None or refund.tokens[0].name != tokens_name:
        yield "the token's stream does not tell of it"
    elif sorted(refund.tokens[1]) != numbers:
        yield "the token's stream tells of other seats"


TOPICS: Topics = {
    "payment.completed": (PaymentCompleted, completed),
    "payment.failed": (PaymentFailed, failed),
    "payment.refunded": (PaymentRefunded, refunded),
}
