"""Payments: completed, failed, or refunded once and in time (P3, P4)."""

from datetime import datetime

from hypothesis import given as for_all

from aggregates import payment
from aggregates.errors import PaymentNotFound, RefundNotAllowed
from aggregates.payment import (
    INSUFFICIENT_BALANCE,
    PAYMENT,
    Payment,
    PaymentCompleted,
    PaymentFailed,
    PaymentRefunded,
)
from tests.aggregates.given import (
    ANN,
    BEN,
    CODE,
    EVENING,
    TODAY,
    Recorded,
    at,
    given,
    reservation_of,
)
from tests.aggregates.strategies import moments

COMPLETED = PaymentCompleted(reservation_of(ANN), ANN, CODE, TODAY, EVENING, (3, 4), 200_000, 300_000)
FAILED = PaymentFailed(reservation_of(ANN), ANN, CODE, 200_000, INSUFFICIENT_BALANCE, 100)


def refundable(paid: Payment) -> PaymentCompleted:
    return payment.refundable(paid, payment.owned(paid, ANN))


def test_a_payment_remembers_when_it_was_paid() -> None:
    paid = given(
        PAYMENT, Recorded(COMPLETED, at("12:04")), Recorded(PaymentRefunded(200_000, 0), at("12:30"))
    )
    assert paid.state.paid_at == at("12:04")


def test_a_payment_belongs_to_who_made_it_failed_or_not() -> None:
    given(PAYMENT, COMPLETED).when(payment.owned, ANN).then_it_is(COMPLETED)
    given(PAYMENT, FAILED).when(payment.owned, ANN).then_it_is(FAILED)


def test_anothers_payment_is_not_found_and_neither_is_one_that_never_was() -> None:
    given(PAYMENT, COMPLETED).when(payment.owned, BEN).then_refused(PaymentNotFound)
    given(PAYMENT).when(payment.owned, ANN).then_refused(PaymentNotFound)


def test_p3_a_payment_that_failed_took_no_money_and_gives_none_back() -> None:
    given(PAYMENT, FAILED).when(refundable).then_refused(RefundNotAllowed)


def test_p4_a_completed_payment_may_be_refunded() -> None:
    given(PAYMENT, COMPLETED).when(refundable).then_it_is(COMPLETED)


def test_p4_a_refund_is_given_once() -> None:
    given(PAYMENT, COMPLETED, PaymentRefunded(200_000, 500_000)).when(refundable).then_refused(
        RefundNotAllowed
    )


def test_p4_a_refund_gives_back_the_whole_amount() -> None:
    given(PAYMENT, COMPLETED).when(refundable).then_it_is(COMPLETED)
    assert payment.refund(COMPLETED, 500_000, until=at("12:30"), now=at("12:10")) == [
        PaymentRefunded(200_000, 500_000)
    ]


@for_all(until=moments, now=moments)
def test_p4_a_refund_is_in_time_until_its_deadline_and_not_at_it(until: datetime, now: datetime) -> None:
    outcome = given(PAYMENT, COMPLETED).its(refundable).when(payment.refund, 500_000, until=until, now=now)
    if now < until:
        outcome.then(PaymentRefunded(200_000, 500_000))
    else:
        outcome.then_refused(RefundNotAllowed)
