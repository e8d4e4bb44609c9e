"""Payments: what was paid, what failed, what was given back."""

from uuid import UUID

import pytest

from aggregates.ids import PaymentId
from projections import payments
from projections.payments import PaymentFound, PaymentStatus
from tests.aggregates.given import ANN, BEN, CODE, at, payment_of, reservation_of
from tests.commands.steps import PRICE, SHOW_DAY, SHOW_TIME, inside, on_sale, pay, refund, reserve
from tests.projections.read_models import ReadModels


def payment(read_models: ReadModels, nth: int = 1) -> PaymentFound:
    found = read_models.read(payments.find, payment_of(ANN, nth))
    assert found is not None
    return found


@pytest.fixture
def reserved(read_models: ReadModels) -> ReadModels:
    read_models.given(on_sale(), inside(ANN, balance=3 * PRICE), reserve(ANN, 7, 3))
    return read_models


def test_a_payment_tells_what_was_bought_and_what_is_left(reserved: ReadModels) -> None:
    reserved.given("12:01", pay(ANN))

    found = payment(reserved)

    assert found == PaymentFound(
        payment_id=payment_of(ANN),
        position=found.position,
        reservation_id=reservation_of(ANN),
        user_id=ANN,
        code=CODE,
        title="An Evening",
        date=SHOW_DAY,
        start_time=SHOW_TIME,
        seat_numbers=[7, 3],
        amount=2 * PRICE,
        status=PaymentStatus.COMPLETED,
        balance=PRICE,
        paid_at=at("12:01"),
        refunded_at=None,
    )
    assert reserved.read(payments.revenue, CODE) == 2 * PRICE


def test_a_refunded_payment_tells_when_and_what_the_wallet_held_then(reserved: ReadModels) -> None:
    reserved.given("12:01", pay(ANN), "12:30", refund(ANN))

    found = payment(reserved)
    assert (found.status, found.balance) == (PaymentStatus.REFUNDED, 3 * PRICE)
    assert (found.paid_at, found.refunded_at) == (at("12:01"), at("12:30"))
    assert reserved.read(payments.revenue, CODE) == 0


def test_a_failed_payment_tells_what_it_was_for(read_models: ReadModels) -> None:
    read_models.given(on_sale(), inside(ANN, balance=PRICE), reserve(ANN, 7, 3))
    read_models.given_refused(pay(ANN))

    found = payment(read_models)
    assert (found.status, found.paid_at, found.balance) == (PaymentStatus.FAILED, None, PRICE)
    assert (found.date, found.start_time, found.seat_numbers) == (SHOW_DAY, SHOW_TIME, [7, 3])
    assert found.amount == 2 * PRICE
    assert read_models.read(payments.revenue, CODE) == 0


def test_a_users_payments_are_paged_in_the_order_of_the_log(read_models: ReadModels) -> None:
    read_models.given(on_sale(), inside(ANN), inside(BEN, 2, balance=PRICE), reserve(ANN, 1), reserve(BEN, 2))
    read_models.given(pay(BEN))
    for nth in (1, 2, 3):
        read_models.given_refused(pay(ANN, nth=nth))

    first = read_models.read(payments.list_page, ANN, limit=2)
    assert first.next is not None
    second = read_models.read(payments.list_page, ANN, after=first.next, limit=2)

    made = [one.payment_id for one in (*first.items, *second.items)]
    assert made == [payment_of(ANN, nth) for nth in (1, 2, 3)]
    assert second.next is None


def test_a_payment_that_nobody_made_is_not_found(read_models: ReadModels) -> None:
    assert read_models.read(payments.find, PaymentId(UUID(int=1))) is None
    assert read_models.read(payments.revenue, "NONE") == 0
