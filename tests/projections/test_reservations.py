"""Reservations: what each user reserved, and how it ended."""

from uuid import UUID

import pytest

from aggregates.ids import ReservationId
from aggregates.reservation import ReservationStatus
from projections import reservations
from projections.reservations import ReservationFound
from tests.aggregates.given import ANN, BEN, CODE, at, payment_of, reservation_of, token_of
from tests.commands.steps import (
    PRICE,
    SHOW_DAY,
    SHOW_TIME,
    expire,
    inside,
    on_sale,
    pay,
    refund,
    release,
    reserve,
)
from tests.projections.read_models import ReadModels


def reservation(read_models: ReadModels) -> ReservationFound:
    found = read_models.read(reservations.find, reservation_of(ANN))
    assert found is not None
    return found


@pytest.fixture
def reserved(read_models: ReadModels) -> ReadModels:
    read_models.given(on_sale(), inside(ANN, balance=2 * PRICE), "12:01", reserve(ANN, 7, 3))
    return read_models


def test_a_reservation_is_open_until_its_deadline(reserved: ReadModels) -> None:
    found = reservation(reserved)

    assert found == ReservationFound(
        reservation_id=reservation_of(ANN),
        position=found.position,
        token_id=token_of(ANN),
        user_id=ANN,
        code=CODE,
        date=SHOW_DAY,
        start_time=SHOW_TIME,
        seat_numbers=[7, 3],
        amount=2 * PRICE,
        status=ReservationStatus.OPEN,
        hold_expires_at=at("12:06"),
        payment_id=None,
        created_at=at("12:01"),
        cancelled_at=None,
    )


def test_a_paid_reservation_is_confirmed_by_its_payment(reserved: ReadModels) -> None:
    reserved.given(pay(ANN))

    found = reservation(reserved)
    assert (found.status, found.payment_id) == (ReservationStatus.CONFIRMED, payment_of(ANN))
    assert found.cancelled_at is None


def test_a_refunded_reservation_is_cancelled_and_keeps_its_payment(reserved: ReadModels) -> None:
    reserved.given(pay(ANN), "12:30", refund(ANN))

    found = reservation(reserved)
    assert (found.status, found.cancelled_at) == (ReservationStatus.CANCELLED, at("12:30"))
    assert found.payment_id == payment_of(ANN)


def test_a_released_reservation_is_cancelled(reserved: ReadModels) -> None:
    reserved.given("12:02", release(ANN))

    found = reservation(reserved)
    assert (found.status, found.cancelled_at) == (ReservationStatus.CANCELLED, at("12:02"))
    assert found.payment_id is None


def test_a_lapsed_reservation_is_expired_once_that_is_recorded(reserved: ReadModels) -> None:
    reserved.given("12:06")
    assert reservation(reserved).status is ReservationStatus.OPEN

    reserved.given(expire(ANN))
    found = reservation(reserved)
    assert (found.status, found.cancelled_at) == (ReservationStatus.EXPIRED, None)


def test_a_users_reservations_are_paged_in_the_order_of_the_log(read_models: ReadModels) -> None:
    read_models.given(on_sale(), inside(ANN), inside(BEN, 2), reserve(BEN, 50))
    for nth in (1, 2, 3):
        read_models.given(reserve(ANN, nth, nth=nth), release(ANN, nth=nth))

    first = read_models.read(reservations.list_page, ANN, limit=2)
    assert first.next is not None
    second = read_models.read(reservations.list_page, ANN, after=first.next, limit=2)

    assert [list(one.seat_numbers) for one in (*first.items, *second.items)] == [[1], [2], [3]]
    assert second.next is None


def test_a_reservation_that_nobody_made_is_not_found(read_models: ReadModels) -> None:
    assert read_models.read(reservations.find, ReservationId(UUID(int=1))) is None
    page = read_models.read(reservations.list_page, ANN, limit=2)
    assert (page.items, page.next) == ([], None)
