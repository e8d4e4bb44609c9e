"""Seats: one live hold or one owner, and holds that end at their deadline (S1–S3, P1, P2, P4)."""

from datetime import datetime, timedelta

import pytest
from hypothesis import given as for_all
from hypothesis import strategies as st

from aggregates import seat
from aggregates.errors import HoldExpired, SeatAlreadyHeld, SeatAlreadySold
from aggregates.ids import UserId
from aggregates.seat import (
    SEAT,
    Available,
    Held,
    Seat,
    SeatHeld,
    SeatHoldExpired,
    SeatHoldReleased,
    SeatReturned,
    SeatSold,
)
from tests.aggregates.given import ANN, BEN, Given, at, given, payment_of, reservation_of, token_of
from tests.aggregates.strategies import moments


def seat_held(*, by: UserId, until: datetime) -> SeatHeld:
    return SeatHeld(reservation_of(by), token_of(by), by, until)


def seat_sold(*, to: UserId) -> SeatSold:
    return SeatSold(reservation_of(to), payment_of(to), to)


def want(wanted: Seat, *, now: datetime) -> None:
    """Ask for seat 7, which this is."""
    seat.require_free({7: wanted}, now)


def test_s1_a_seat_that_no_event_names_is_free() -> None:
    given(SEAT).when(want, now=at("12:00")).then_it_may()


def test_s1_a_free_seat_is_held() -> None:
    given(SEAT).when(seat.hold, seat_held(by=ANN, until=at("12:05")), now=at("12:00")).then(
        seat_held(by=ANN, until=at("12:05"))
    )


def test_s1_a_held_seat_is_refused_to_others() -> None:
    given(SEAT, seat_held(by=ANN, until=at("12:05"))).when(want, now=at("12:04")).then_refused(
        SeatAlreadyHeld, seat_numbers=[7]
    )


def test_s1_a_sold_seat_is_refused_to_others() -> None:
    given(SEAT, seat_held(by=ANN, until=at("12:05")), seat_sold(to=ANN)).when(
        want, now=at("12:06")
    ).then_refused(SeatAlreadySold, seat_numbers=[7])


def test_s1_a_handler_that_did_not_ask_whether_a_seat_is_free_cannot_hold_it() -> None:
    held = given(SEAT, seat_held(by=ANN, until=at("12:05")))
    sold = given(SEAT, seat_held(by=ANN, until=at("12:05")), seat_sold(to=ANN))
    for taken in (held, sold):
        with pytest.raises(AssertionError):
            seat.hold(taken.state, seat_held(by=BEN, until=at("12:09")), now=at("12:04"))


def test_s3_sold_seats_are_named_before_held_ones_and_all_of_them() -> None:
    held = given(SEAT, seat_held(by=ANN, until=at("12:05"))).state
    sold = given(SEAT, seat_held(by=ANN, until=at("12:05")), seat_sold(to=ANN)).state
    with pytest.raises(SeatAlreadySold) as refused_sold:
        seat.require_free({1: Available(), 2: held, 3: sold, 4: sold}, at("12:04"))
    with pytest.raises(SeatAlreadyHeld) as refused_held:
        seat.require_free({1: Available(), 2: held, 5: held}, at("12:04"))
    assert refused_sold.value.members == {"seat_numbers": [3, 4]}
    assert refused_held.value.members == {"seat_numbers": [2, 5]}


def test_s2_a_lapsed_hold_gives_way_before_the_timer_comes_by() -> None:
    given(SEAT, seat_held(by=ANN, until=at("12:05"))).when(
        seat.hold, seat_held(by=BEN, until=at("12:11")), now=at("12:06")
    ).then(SeatHoldExpired(reservation_of(ANN)), seat_held(by=BEN, until=at("12:11")))


@for_all(until=moments, now=moments)
def test_s2_a_hold_stands_in_the_way_until_its_deadline_and_not_at_it(until: datetime, now: datetime) -> None:
    outcome = given(SEAT, seat_held(by=ANN, until=until)).when(want, now=now)
    if now < until:
        outcome.then_refused(SeatAlreadyHeld, seat_numbers=[7])
    else:
        outcome.then_it_may()


@for_all(until=moments, now=moments)
def test_p2_a_hold_can_be_paid_until_its_deadline_and_not_at_it(until: datetime, now: datetime) -> None:
    outcome = given(SEAT, seat_held(by=ANN, until=until)).when(seat.sell, seat_sold(to=ANN), now=now)
    if now < until:
        outcome.then(seat_sold(to=ANN))
    else:
        outcome.then_refused(HoldExpired)


def test_p1_a_seat_is_sold_to_whom_it_is_held_for() -> None:
    given(SEAT, seat_held(by=ANN, until=at("12:05"))).when(
        seat.sell, seat_sold(to=ANN), now=at("12:04")
    ).then(seat_sold(to=ANN))


def test_p1_a_seat_is_not_sold_to_whom_it_is_not_held_for() -> None:
    for not_bens in (
        given(SEAT),
        given(SEAT, seat_held(by=ANN, until=at("12:05"))),
        given(SEAT, seat_held(by=ANN, until=at("12:05")), seat_sold(to=ANN)),
    ):
        not_bens.when(seat.sell, seat_sold(to=BEN), now=at("12:04")).then_refused(HoldExpired)


def test_s3_the_end_of_a_reservation_ends_its_hold() -> None:
    held = given(SEAT, seat_held(by=ANN, until=at("12:05")))
    held.when(seat.expire, reservation_of(ANN)).then(SeatHoldExpired(reservation_of(ANN)))
    held.when(seat.release, reservation_of(ANN), "left").then(SeatHoldReleased(reservation_of(ANN), "left"))


def test_s3_a_hold_that_has_ended_is_skipped() -> None:
    held = seat_held(by=ANN, until=at("12:05"))
    for end in (SeatHoldExpired(reservation_of(ANN)), SeatHoldReleased(reservation_of(ANN), "left")):
        over = given(SEAT, held, end)
        over.when(seat.expire, reservation_of(ANN)).then()
        over.when(seat.release, reservation_of(ANN), "left").then()


def test_s3_a_seat_that_others_took_since_is_skipped() -> None:
    lapsed = (seat_held(by=ANN, until=at("12:05")), SeatHoldExpired(reservation_of(ANN)))
    taken = given(SEAT, *lapsed, seat_held(by=BEN, until=at("12:11")))
    bought = given(SEAT, *lapsed, seat_held(by=BEN, until=at("12:11")), seat_sold(to=BEN))
    for others in (taken, bought):
        others.when(seat.expire, reservation_of(ANN)).then()
        others.when(seat.release, reservation_of(ANN), "left").then()


def test_p4_a_refund_puts_the_seat_back_on_sale() -> None:
    bought = (seat_held(by=ANN, until=at("12:05")), seat_sold(to=ANN))
    given(SEAT, *bought).when(seat.give_back, payment_of(ANN)).then(SeatReturned(payment_of(ANN)))
    given(SEAT, *bought, SeatReturned(payment_of(ANN))).when(want, now=at("12:04")).then_it_may()


def test_p4_a_refund_gives_back_only_what_its_payment_bought() -> None:
    bens = (seat_held(by=BEN, until=at("12:05")), seat_sold(to=BEN))
    given(SEAT, *bens).when(seat.give_back, payment_of(ANN)).then()
    given(SEAT).when(seat.give_back, payment_of(ANN)).then()


@for_all(
    attempts=st.lists(st.tuples(st.sampled_from([ANN, BEN]), st.integers(0, 400), st.integers(1, 300))),
)
def test_s1_holds_of_one_seat_never_overlap(attempts: list[tuple[UserId, int, int]]) -> None:
    state: Seat = Available()
    now = at("12:00")
    live_until = now
    for user_id, pause_s, hold_s in attempts:
        now += timedelta(seconds=pause_s)
        wanted = seat_held(by=user_id, until=now + timedelta(seconds=hold_s))
        outcome = Given(state).when(want, now=now)
        assert (outcome.refusal is None) == (live_until <= now)
        if outcome.refusal is None:
            for event in seat.hold(state, wanted, now):
                state = seat.evolve(state, event, now)
            assert state == Held(reservation_of(user_id), token_of(user_id), wanted.until)
            live_until = wanted.until
