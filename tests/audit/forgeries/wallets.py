"""Breaches of W1 and W3: balances, and when they are charged."""

from collections.abc import Iterable
from datetime import timedelta

from tests.audit.forgeries.forgery import (
    ANN,
    GALA,
    SEAT_PRICE,
    breaks,
    individual_events_of_last_append,
    let_in,
    paid_and_refunded,
    reserved_by_the_poor,
)
from tests.audit.log_builder import LogBuilder, StoredEvent


@breaks("W1")
def a_balance_is_below_nothing(log: LogBuilder) -> Iterable[StoredEvent]:
    log.charge(ANN, -4 * SEAT_PRICE - 1)
    log.omit(log.last("wallet.charged"))
    log.last("wallet.charged", 3).payload["amount"] = SEAT_PRICE - 1
    let_in(log, ANN)
    log.pay(log.reserve(GALA, ANN, 7))
    return [log.last("wallet.debited")]


@breaks("W1")
def a_payment_tells_another_balance(log: LogBuilder) -> Iterable[StoredEvent]:
    let_in(log, ANN)
    log.pay(log.reserve(GALA, ANN, 7))
    log.last("payment.completed").payload["balance"] += 1
    return individual_events_of_last_append(log)


@breaks("W1")
def a_failed_payment_tells_another_balance(log: LogBuilder) -> Iterable[StoredEvent]:
    log.fail_payment(reserved_by_the_poor(log))
    log.last("payment.failed").payload["balance"] -= 1
    return [log.last("payment.failed")]


@breaks("W1")
def a_refund_tells_another_balance(log: LogBuilder) -> Iterable[StoredEvent]:
    refunding = paid_and_refunded(log)
    log.last("payment.refunded").payload["balance"] += 1
    return refunding


@breaks("W1")
def a_wallet_is_charged_that_was_never_opened(log: LogBuilder) -> Iterable[StoredEvent]:
    log.balances["d" * 36] = 0
    log.charge("d" * 36, 1)
    return [log.last("wallet.charged")]


@breaks("W1")
def a_wallet_is_opened_twice(log: LogBuilder) -> Iterable[StoredEvent]:
    log.open_wallet(ANN)
    return [log.last("wallet.opened")]


@breaks("W3")
def a_wallet_is_charged_while_its_user_holds_seats(log: LogBuilder) -> Iterable[StoredEvent]:
    log.change_policy(GALA, charge_while_holding=False)
    let_in(log, ANN)
    log.reserve(GALA, ANN, 7)
    log.charge(ANN, 1)
    return [log.last("wallet.charged")]


@breaks("W3")
def charging_is_not_suspended(log: LogBuilder) -> Iterable[StoredEvent]:
    log.change_policy(GALA, charge_while_holding=False)
    let_in(log, ANN)
    log.reserve(GALA, ANN, 7)
    log.omit(log.last("wallet.charging_suspended"))
    return [log.last(topic) for topic in ("seat.held", "reservation.opened", "token.seats_held")]


@breaks("W3")
def charging_is_suspended_for_too_short(log: LogBuilder) -> Iterable[StoredEvent]:
    log.change_policy(GALA, charge_while_holding=False)
    let_in(log, ANN)
    log.reserve(GALA, ANN, 7)
    log.last("wallet.charging_suspended").payload["until"] -= timedelta(seconds=1)
    return individual_events_of_last_append(log)


@breaks("W3")
def charging_is_suspended_where_the_policy_allows_it(log: LogBuilder) -> Iterable[StoredEvent]:
    log.change_policy(GALA, charge_while_holding=False)
    let_in(log, ANN)
    log.reserve(GALA, ANN, 7)
    log.last("concert.policy_changed").payload["policy"] = {}
    return individual_events_of_last_append(log)


@breaks("W3")
def charging_is_not_resumed(log: LogBuilder) -> Iterable[StoredEvent]:
    log.change_policy(GALA, charge_while_holding=False)
    let_in(log, ANN)
    log.release(log.reserve(GALA, ANN, 7))
    log.omit(log.last("wallet.charging_resumed"))
    return individual_events_of_last_append(log)


@breaks("W3")
def charging_is_resumed_twice(log: LogBuilder) -> Iterable[StoredEvent]:
    log.change_policy(GALA, charge_while_holding=False)
    let_in(log, ANN)
    reservation_id = log.reserve(GALA, ANN, 7)
    log.release(reservation_id)
    with log.append():
        stream = f"wallet/{ANN}"
        return [log.record(stream, "wallet.charging_resumed", ANN, reservation_id=reservation_id)]
