"""Breaches of P1 to P4: paying is one append or nothing, and so is giving back."""

from collections.abc import Iterable
from datetime import timedelta

from tests.audit.forgeries.forgery import (
    ANN,
    BEN,
    GALA,
    SEAT_PRICE,
    breaks,
    individual_events_of_last_append,
    let_in,
    paid_and_refunded,
    reserved_by_the_poor,
)
from tests.audit.log_builder import SHOW, SHOW_STARTS_AT, LogBuilder, StoredEvent, id_of


@breaks("P1")
def a_wallet_is_debited_without_a_payment(log: LogBuilder) -> Iterable[StoredEvent]:
    with log.append():
        payment_id = log.new_id("payment")
        return [log.record(f"wallet/{ANN}", "wallet.debited", ANN, amount=1, payment_id=payment_id)]


def _pay_without(log: LogBuilder, *topics: str) -> Iterable[StoredEvent]:
    let_in(log, ANN)
    log.pay(log.reserve(GALA, ANN, 7))
    log.omit(*(log.last(topic) for topic in topics))
    return individual_events_of_last_append(log)


@breaks("P1")
def a_payment_debits_no_wallet(log: LogBuilder) -> Iterable[StoredEvent]:
    return _pay_without(log, "wallet.debited")


@breaks("P1")
def money_and_seats_change_hands_without_a_payment(log: LogBuilder) -> Iterable[StoredEvent]:
    return _pay_without(log, "payment.completed")


@breaks("P1")
def a_payment_does_not_confirm_the_reservation(log: LogBuilder) -> Iterable[StoredEvent]:
    return _pay_without(log, "reservation.confirmed")


@breaks("P1", also="S3")
def a_payment_sells_no_seat(log: LogBuilder) -> Iterable[StoredEvent]:
    return _pay_without(log, "seat.sold", "queue.seats_sold")


@breaks("P1", also="S3")
def a_payment_does_not_end_the_token(log: LogBuilder) -> Iterable[StoredEvent]:
    return _pay_without(log, "token.completed", "queue.slots_freed")


@breaks("P1")
def a_sale_is_not_counted_by_the_queue(log: LogBuilder) -> Iterable[StoredEvent]:
    _pay_without(log, "queue.seats_sold")
    return [log.last("seat.sold")]


@breaks("P1")
def a_sale_is_counted_twice_by_the_queue(log: LogBuilder) -> Iterable[StoredEvent]:
    _pay_without(log)
    log.last("queue.seats_sold").payload.update(count=2, by_performance={SHOW: 2})
    return [log.last("seat.sold"), log.last("queue.seats_sold")]


@breaks("P1", also="W1")
def a_wallet_is_debited_twice_for_one_payment(log: LogBuilder) -> Iterable[StoredEvent]:
    let_in(log, ANN)
    reservation_id = log.reserve(GALA, ANN, 7)
    with log.append():
        payment_id = log.pay(reservation_id)
        stream = f"wallet/{ANN}"
        log.record(stream, "wallet.debited", ANN, amount=SEAT_PRICE, payment_id=payment_id)
    return individual_events_of_last_append(log)


@breaks("P1")
def a_payment_is_of_another_amount_than_the_debit(log: LogBuilder) -> Iterable[StoredEvent]:
    paying = _pay_without(log)
    log.last("wallet.debited").payload["amount"] -= 1
    log.last("payment.completed").payload["balance"] += 1
    return paying


@breaks("P1")
def a_payment_is_of_another_amount_than_the_reservation(log: LogBuilder) -> Iterable[StoredEvent]:
    paying = _pay_without(log)
    log.last("wallet.debited").payload["amount"] -= 1
    log.last("payment.completed").payload["amount"] -= 1
    log.last("payment.completed").payload["balance"] += 1
    return paying


@breaks("P1")
def a_payment_is_of_another_user(log: LogBuilder) -> Iterable[StoredEvent]:
    paying = _pay_without(log)
    log.last("payment.completed").payload["user_id"] = BEN
    return paying


@breaks("P1")
def a_payment_is_for_other_seats(log: LogBuilder) -> Iterable[StoredEvent]:
    paying = _pay_without(log)
    log.last("payment.completed").payload["seat_numbers"] = (8,)
    return paying


@breaks("P1")
def a_payment_is_for_a_reservation_that_was_never_opened(log: LogBuilder) -> Iterable[StoredEvent]:
    paying = _pay_without(log)
    log.last("payment.completed").payload["reservation_id"] = id_of("reservation", 99)
    return paying


@breaks("P1")
def a_reservation_costs_less_than_its_seats(log: LogBuilder) -> Iterable[StoredEvent]:
    let_in(log, ANN)
    log.reserve(GALA, ANN, 7)
    log.last("reservation.opened").payload["amount"] -= 1
    return [log.last("reservation.opened")]


@breaks("P1", also="S3")
def a_payment_completes_in_two_appends(log: LogBuilder) -> Iterable[StoredEvent]:
    paying = list(_pay_without(log))
    ending = [log.last("token.completed"), log.last("queue.slots_freed")]
    log.move_to_an_append_of_their_own(*ending)
    return [event for event in paying if event not in ending]


@breaks("P1", also="S1")
def a_reservation_is_paid_twice(log: LogBuilder) -> Iterable[StoredEvent]:
    let_in(log, ANN)
    reservation_id = log.reserve(GALA, ANN, 7)
    log.pay(reservation_id)
    let_in(log, ANN)
    log.pay(reservation_id)
    return [log.last("reservation.confirmed")]


@breaks("P2")
def a_payment_completes_at_the_deadline(log: LogBuilder) -> Iterable[StoredEvent]:
    let_in(log, ANN)
    reservation_id = log.reserve(GALA, ANN, 7)
    opened = log.last("reservation.opened")
    log.now = log.bookings[reservation_id].until
    log.pay(reservation_id)
    return [opened, *individual_events_of_last_append(log)]


@breaks("P3")
def a_payment_fails_with_enough_money(log: LogBuilder) -> Iterable[StoredEvent]:
    let_in(log, ANN)
    log.fail_payment(log.reserve(GALA, ANN, 7))
    return individual_events_of_last_append(log)


@breaks("P3")
def a_payment_fails_for_another_reason(log: LogBuilder) -> Iterable[StoredEvent]:
    log.fail_payment(reserved_by_the_poor(log))
    log.last("payment.failed").payload["reason"] = "bad_mood"
    return individual_events_of_last_append(log)


@breaks("P3")
def a_payment_fails_for_the_sixth_time(log: LogBuilder) -> Iterable[StoredEvent]:
    reservation_id = reserved_by_the_poor(log)
    for _ in range(6):
        log.fail_payment(reservation_id)
    return [log.last("reservation.payment_failed")]


@breaks("P3")
def a_payment_fails_without_its_reservation(log: LogBuilder) -> Iterable[StoredEvent]:
    log.fail_payment(reserved_by_the_poor(log))
    log.omit(log.last("reservation.payment_failed"))
    return [log.last("payment.failed")]


@breaks("P3")
def a_reservation_fails_to_be_paid_without_a_payment(log: LogBuilder) -> Iterable[StoredEvent]:
    log.fail_payment(reserved_by_the_poor(log))
    log.omit(log.last("payment.failed"))
    return [log.last("reservation.payment_failed")]


@breaks("P3")
def a_payment_fails_after_the_deadline(log: LogBuilder) -> Iterable[StoredEvent]:
    reservation_id = reserved_by_the_poor(log)
    log.pass_time(300)
    log.fail_payment(reservation_id)
    return individual_events_of_last_append(log)


@breaks("P3")
def a_payment_fails_of_another_amount(log: LogBuilder) -> Iterable[StoredEvent]:
    log.fail_payment(reserved_by_the_poor(log))
    log.last("payment.failed").payload["amount"] -= 1
    return individual_events_of_last_append(log)


@breaks("P3")
def a_hold_is_kept_that_the_policy_lets_go(log: LogBuilder) -> Iterable[StoredEvent]:
    log.change_policy(GALA, on_insufficient_balance="release_hold")
    log.fail_payment(reserved_by_the_poor(log))
    return individual_events_of_last_append(log)


@breaks("P3")
def a_token_is_kept_that_the_policy_ends(log: LogBuilder) -> Iterable[StoredEvent]:
    log.change_policy(GALA, on_insufficient_balance="release_hold_and_end_token")
    reservation_id = reserved_by_the_poor(log)
    with log.append():
        log.fail_payment(reservation_id)
        log.release(reservation_id)
    return [log.last("payment.failed"), log.last("reservation.payment_failed")]


@breaks("P4", also="A1 S3")
def a_refund_is_given_twice(log: LogBuilder) -> Iterable[StoredEvent]:
    let_in(log, ANN)
    reservation_id = log.reserve(GALA, ANN, 7)
    log.pay(reservation_id)
    log.refund(reservation_id)
    log.refund(reservation_id)
    return [log.last("payment.refunded")]


@breaks("P4")
def a_refund_is_of_a_part(log: LogBuilder) -> Iterable[StoredEvent]:
    refunding = paid_and_refunded(log)
    for topic, member in (
        ("wallet.refunded", "amount"),
        ("payment.refunded", "amount"),
        ("payment.refunded", "balance"),
    ):
        log.last(topic).payload[member] -= 1
    return refunding


@breaks("P4")
def a_refund_gives_the_wallet_nothing(log: LogBuilder) -> Iterable[StoredEvent]:
    return paid_and_refunded(log, "wallet.refunded")


@breaks("P4")
def a_refund_goes_to_another_wallet(log: LogBuilder) -> Iterable[StoredEvent]:
    let_in(log, ANN)
    reservation_id = log.reserve(GALA, ANN, 7)
    log.pay(reservation_id)
    booking = log.bookings[reservation_id]
    with log.append():
        log.refund(reservation_id)
        credited = log.last("wallet.refunded")
        log.omit(credited)
        log.record(f"wallet/{BEN}", "wallet.refunded", BEN, **credited.payload)
    log.last("payment.refunded").payload["balance"] = log.balances[BEN] + booking.amount
    return individual_events_of_last_append(log)


@breaks("P4")
def money_is_given_back_without_a_payment(log: LogBuilder) -> Iterable[StoredEvent]:
    with log.append():
        payment_id = log.new_id("payment")
        return [log.record(f"wallet/{ANN}", "wallet.refunded", ANN, amount=1, payment_id=payment_id)]


@breaks("P4")
def a_refund_returns_one_seat_of_two(log: LogBuilder) -> Iterable[StoredEvent]:
    refunding = list(paid_and_refunded(log))
    returned = log.last("seat.returned")
    log.omit(returned)
    log.last("queue.seats_returned").payload.update(count=1, by_performance={SHOW: 1})
    return [event for event in refunding if event is not returned]


@breaks("P4")
def a_refund_does_not_cancel_the_reservation(log: LogBuilder) -> Iterable[StoredEvent]:
    return paid_and_refunded(log, "reservation.cancelled")


@breaks("P4")
def a_refund_is_not_told_by_the_token(log: LogBuilder) -> Iterable[StoredEvent]:
    return paid_and_refunded(log, "token.seats_returned")


@breaks("P4")
def a_refund_is_not_told_by_the_payment(log: LogBuilder) -> Iterable[StoredEvent]:
    return paid_and_refunded(log, "payment.refunded")


@breaks("P4")
def returned_seats_are_not_counted_by_the_queue(log: LogBuilder) -> Iterable[StoredEvent]:
    paid_and_refunded(log, "queue.seats_returned")
    return [log.last("seat.returned", 2), log.last("seat.returned")]


@breaks("P4")
def a_refund_comes_too_late(log: LogBuilder) -> Iterable[StoredEvent]:
    let_in(log, ANN)
    reservation_id = log.reserve(GALA, ANN, 7)
    log.pay(reservation_id)
    log.now = SHOW_STARTS_AT - timedelta(days=1)
    log.refund(reservation_id)
    return [log.last("payment.refunded")]


@breaks("P4", also="A1")
def a_failed_payment_is_given_back(log: LogBuilder) -> Iterable[StoredEvent]:
    payment_id = log.fail_payment(reserved_by_the_poor(log))
    with log.append():
        stream = f"payment/{payment_id}"
        return [log.record(stream, "payment.refunded", GALA, amount=1, balance=0)]


@breaks("P4")
def a_seat_is_returned_by_a_payment_that_does_not_own_it(log: LogBuilder) -> Iterable[StoredEvent]:
    let_in(log, ANN, BEN)
    log.pay(log.reserve(GALA, BEN, 9))
    sold = log.last("seat.sold")
    reservation_id = log.reserve(GALA, ANN, 7)
    payment_id = log.pay(reservation_id)
    with log.append():
        log.refund(reservation_id)
        returned = log.record(sold.stream, "seat.returned", GALA, payment_id=payment_id)
    return [sold, returned]


@breaks("P1")
def a_payment_is_made_twice(log: LogBuilder) -> Iterable[StoredEvent]:
    let_in(log, ANN)
    payment_id = log.pay(log.reserve(GALA, ANN, 7))
    completed = log.last("payment.completed")
    with log.append():
        again = log.record(f"payment/{payment_id}", "payment.completed", GALA, **completed.payload)
    return [completed, again]


@breaks("P3")
def a_payment_fails_for_another_user(log: LogBuilder) -> Iterable[StoredEvent]:
    log.fail_payment(reserved_by_the_poor(log))
    log.last("payment.failed").payload["user_id"] = BEN
    return individual_events_of_last_append(log)


@breaks("P3", also="A1")
def a_payment_fails_for_a_reservation_that_has_ended(log: LogBuilder) -> Iterable[StoredEvent]:
    reservation_id = reserved_by_the_poor(log)
    log.release(reservation_id)
    log.fail_payment(reservation_id)
    return [log.last("reservation.payment_failed")]


@breaks("P4")
def a_refund_takes_other_seats_off_the_count(log: LogBuilder) -> Iterable[StoredEvent]:
    refunding = paid_and_refunded(log)
    log.last("token.seats_returned").payload["seat_numbers"] = (7, 9)
    return refunding


@breaks("P4")
def a_refund_takes_more_seats_off_the_count_than_were_bought(log: LogBuilder) -> Iterable[StoredEvent]:
    paid_and_refunded(log)
    log.last("token.seats_returned").payload["seat_numbers"] = (7, 8, 9)
    return [log.last("token.seats_returned")]
