"""Taking seats and giving them up (Q5, Q7, S1–S5, W3, L1, L2)."""

from collections.abc import Mapping
from datetime import date, timedelta
from itertools import combinations
from typing import Any, NamedTuple

import msgspec
import pytest

from aggregates import queue, reservation, token, wallet
from aggregates.errors import (
    ChargeNotAllowedWhileHolding,
    ConcertNotFound,
    DomainError,
    PerformanceAmbiguous,
    PerformanceNotFound,
    PerformanceStarted,
    ReservationAlreadyOpen,
    ReservationNotFound,
    ReservationNotOpen,
    SalesNotOpen,
    SeatAlreadyHeld,
    SeatAlreadySold,
    SeatLimitExceeded,
    SeatNotFound,
    TokenEnded,
    TokenExpired,
    TokenInvalid,
    TokenMismatch,
    TokenNotActive,
)
from aggregates.ids import ConcertCode
from aggregates.queue import SlotsFreed
from aggregates.reservation import ReservationCancelled, ReservationExpired, ReservationOpened
from aggregates.seat import SeatHeld, SeatHoldExpired, SeatHoldReleased
from aggregates.token import TokenExpiredRecorded, TokenSeatsHeld, TokenSeatsReleased
from aggregates.wallet import WalletChargingResumed, WalletChargingSuspended
from commands.charge_wallet import ChargeWallet
from commands.reserve import Reserve, Reserved
from commands.run_sale import CloseSales
from commands.unit_of_work import Visit
from tests.aggregates.given import ANN, BEN, CODE, at, reservation_of, token_of
from tests.commands.sale import Given, given, on
from tests.commands.steps import (
    CAT,
    PRICE,
    SHOW_DAY,
    SHOW_STARTS_AT,
    SHOW_TIME,
    change_policy,
    expire,
    inside,
    join,
    leave,
    let_in,
    on_sale,
    pay,
    refund,
    release,
    reserve,
    schedule,
    seat_stream,
    visit_of,
    waiting,
)


def held_by_ann(*, until: str, nth: int = 1) -> SeatHeld:
    return SeatHeld(reservation_of(ANN, nth), token_of(ANN), ANN, at(until))


def test_s3_all_seats_are_held_for_one_reservation_until_one_deadline() -> None:
    asked = given(on_sale(hold_ttl_s=120), inside(ANN), "12:05").when(reserve(ANN, 8, 7))
    asked.then(
        on(
            reservation.stream(reservation_of(ANN)),
            ReservationOpened(token_of(ANN), ANN, CODE, SHOW_DAY, SHOW_TIME, (8, 7), 2 * PRICE, at("12:07")),
        ),
        on(seat_stream(8), held_by_ann(until="12:07")),
        on(seat_stream(7), held_by_ann(until="12:07")),
        on(token.stream(CODE, ANN), TokenSeatsHeld(reservation_of(ANN), (8, 7), at("12:07"))),
    ).then_correlated(*[token_of(ANN)] * 4)
    assert asked.outcome == Reserved(
        reservation_of(ANN), ANN, CODE, SHOW_DAY, SHOW_TIME, (8, 7), 2 * PRICE, at("12:07"), at("12:05")
    )
    assert {event.partition_key for event in asked.events} == {CODE}


def test_the_only_performance_of_a_day_need_not_be_named() -> None:
    assert (
        given(on_sale(), inside(ANN)).when(reserve(ANN, 1, start_time=None)).outcome.start_time == SHOW_TIME
    )


def test_one_of_two_performances_of_a_day_has_to_be_named() -> None:
    two = given(on_sale(), inside(ANN), schedule(start_time="14:00"))
    two.when(reserve(ANN, 1, start_time=None)).then_refused(
        PerformanceAmbiguous, start_times=["14:00", "19:30"]
    )


def test_s3_one_seat_that_is_taken_refuses_them_all() -> None:
    taken = given(on_sale(), inside(ANN), inside(BEN, 2), reserve(BEN, 8))
    taken.when(reserve(ANN, 7, 8, 9)).then_refused(SeatAlreadyHeld, seat_numbers=[8])


def test_s1_of_two_that_ask_in_one_batch_the_first_gets_the_seat() -> None:
    race = given(on_sale(), inside(ANN), inside(BEN, 2)).when(reserve(BEN, 7), reserve(ANN, 7))
    race.then_refused_with_events(SeatAlreadyHeld, seat_numbers=[7])
    assert [event.correlation_id for event in race.events] == [token_of(BEN)] * 3


def test_s2_another_s_lapsed_hold_is_recorded_first_within_that_other_s_visit() -> None:
    lapsed = given(on_sale(), inside(ANN), inside(BEN, 2), "12:01", reserve(BEN, 7, 8), "12:06")
    lapsed.when(reserve(ANN, 7)).then(
        on(
            reservation.stream(reservation_of(ANN)),
            ReservationOpened(token_of(ANN), ANN, CODE, SHOW_DAY, SHOW_TIME, (7,), PRICE, at("12:11")),
        ),
        on(seat_stream(7), SeatHoldExpired(reservation_of(BEN)), held_by_ann(until="12:11")),
        on(token.stream(CODE, ANN), TokenSeatsHeld(reservation_of(ANN), (7,), at("12:11"))),
    ).then_correlated(token_of(ANN), token_of(BEN), token_of(ANN), token_of(ANN))


def test_s3_a_reservation_whose_seat_others_took_since_is_settled_without_it() -> None:
    taken = given(
        on_sale(), inside(ANN), inside(BEN, 2), "12:01", reserve(BEN, 7, 8), "12:06", reserve(ANN, 7)
    )
    taken.when(expire(BEN)).then(
        on(seat_stream(8), SeatHoldExpired(reservation_of(BEN))),
        on(reservation.stream(reservation_of(BEN)), ReservationExpired()),
        on(token.stream(CODE, BEN), TokenSeatsReleased(reservation_of(BEN), (7, 8), "expired")),
    )


def test_s5_a_lapsed_reservation_of_one_s_own_is_recorded_before_the_next() -> None:
    lapsed = given(on_sale(hold_ttl_s=60), inside(ANN), "12:01", reserve(ANN, 7), "12:02")
    lapsed.when(reserve(ANN, 7, nth=2)).then(
        on(seat_stream(7), SeatHoldExpired(reservation_of(ANN))),
        on(reservation.stream(reservation_of(ANN)), ReservationExpired()),
        on(token.stream(CODE, ANN), TokenSeatsReleased(reservation_of(ANN), (7,), "expired")),
        on(
            reservation.stream(reservation_of(ANN, 2)),
            ReservationOpened(token_of(ANN), ANN, CODE, SHOW_DAY, SHOW_TIME, (7,), PRICE, at("12:03")),
        ),
        on(seat_stream(7), held_by_ann(until="12:03", nth=2)),
        on(token.stream(CODE, ANN), TokenSeatsHeld(reservation_of(ANN, 2), (7,), at("12:03"))),
    )


def test_s5_a_token_has_one_open_reservation_at_most() -> None:
    holding = given(on_sale(hold_ttl_s=60), inside(ANN), "12:01", reserve(ANN, 7), "12:01:59.999999")
    holding.when(reserve(ANN, 8, nth=2)).then_refused(
        ReservationAlreadyOpen, reservation_id=reservation_of(ANN)
    )


def test_s4_seats_bought_in_earlier_visits_count_and_refunded_ones_do_not() -> None:
    bought = given(
        on_sale(max_seats_per_user=3),
        inside(ANN, balance=2 * PRICE),
        reserve(ANN, 1, 2),
        pay(ANN),
        join(ANN, visit=2),
        let_in((2, ANN)),
    )
    bought.when(reserve(ANN, 3, 4, visit=2, nth=2)).then_refused(SeatLimitExceeded)
    bought.and_then(refund(ANN), reserve(ANN, 1, 2, 3, visit=2, nth=2))


def test_s4_lapsed_holds_do_not_count() -> None:
    lapsed = given(on_sale(max_seats_per_user=2), inside(ANN), "12:01", reserve(ANN, 1, 2), "12:06")
    lapsed.and_then(reserve(ANN, 3, 4, nth=2))


def test_s4_the_limit_holds_in_the_batch_in_which_the_seats_are_bought() -> None:
    buying = given(on_sale(max_seats_per_user=2), inside(ANN, balance=2 * PRICE), reserve(ANN, 1, 2))
    asked = buying.when(pay(ANN), join(ANN, visit=2), let_in((2, ANN)), reserve(ANN, 3, visit=2, nth=2))
    asked.then_refused_with_events(SeatLimitExceeded)


def test_q5_from_its_deadline_on_a_token_reserves_no_more() -> None:
    given(on_sale(active_ttl_s=60), inside(ANN), "12:05").when(reserve(ANN, 7)).then_refused(TokenExpired)


def test_q5_a_token_past_its_deadline_with_an_open_reservation_may_release_and_pay_but_not_reserve() -> None:
    def past_deadline() -> Given:
        policy = {"active_ttl_s": 60, "hold_ttl_s": 300}
        return given(on_sale(**policy), inside(ANN, balance=PRICE), "12:00:30", reserve(ANN, 7), "12:03")

    past_deadline().when(reserve(ANN, 8, nth=2)).then_refused(TokenExpired)
    past_deadline().and_then(pay(ANN))
    past_deadline().when(release(ANN)).then(
        on(seat_stream(7), SeatHoldReleased(reservation_of(ANN), "released")),
        on(reservation.stream(reservation_of(ANN)), ReservationCancelled("released")),
        on(
            token.stream(CODE, ANN),
            TokenSeatsReleased(reservation_of(ANN), (7,), "released"),
            TokenExpiredRecorded(),
        ),
        on(queue.stream(CODE), SlotsFreed(1)),
    )


def test_s3_releasing_settles_all_and_the_token_goes_on() -> None:
    holding = given(on_sale(), inside(ANN), reserve(ANN, 7, 8))
    holding.when(release(ANN)).then(
        on(seat_stream(7), SeatHoldReleased(reservation_of(ANN), "released")),
        on(seat_stream(8), SeatHoldReleased(reservation_of(ANN), "released")),
        on(reservation.stream(reservation_of(ANN)), ReservationCancelled("released")),
        on(token.stream(CODE, ANN), TokenSeatsReleased(reservation_of(ANN), (7, 8), "released")),
    ).then_correlated(*[token_of(ANN)] * 4)
    holding.and_then(reserve(ANN, 7, nth=2))


def test_releasing_what_is_another_s_or_was_never_there_finds_nothing() -> None:
    holding = given(on_sale(), inside(ANN), inside(BEN, 2), reserve(ANN, 7))
    theirs = msgspec.structs.replace(release(BEN), reservation_id=reservation_of(ANN))
    holding.when(theirs).then_refused(ReservationNotFound)
    holding.when(release(ANN, nth=2)).then_refused(ReservationNotFound)


def test_s3_an_earlier_reservation_of_one_s_own_is_not_released_in_place_of_the_open_one() -> None:
    second = given(on_sale(), inside(ANN), reserve(ANN, 7), release(ANN), reserve(ANN, 8, nth=2))
    second.when(release(ANN)).then_refused(ReservationNotOpen)
    second.and_then(release(ANN, nth=2))


def test_s2_a_hold_is_released_until_its_deadline_and_not_at_it() -> None:
    held = given(on_sale(), inside(ANN), "12:01", reserve(ANN, 7))
    held.and_then("12:06").when(release(ANN)).then_refused(ReservationNotOpen)
    held.and_then("12:05:59.999999", release(ANN))


def test_releasing_with_the_token_of_another_concert_is_refused() -> None:
    holding = given(on_sale(), inside(ANN), reserve(ANN, 7))
    elsewhere = Visit(ConcertCode("OTHER-1"), token_of(ANN))
    holding.when(msgspec.structs.replace(release(ANN), visit=elsewhere)).then_refused(TokenMismatch)


@pytest.mark.parametrize(
    "ended", [[release(ANN)], ["12:06"], ["12:06", expire(ANN)], [pay(ANN)], [leave(ANN)]]
)
def test_releasing_what_has_ended_is_refused(ended: list[Any]) -> None:
    given(on_sale(), inside(ANN, balance=PRICE), reserve(ANN, 7), *ended).when(release(ANN)).then_refused(
        ReservationNotOpen
    )


def test_w3_reserving_suspends_charging_and_releasing_resumes_it() -> None:
    strict = given(on_sale(charge_while_holding=False), inside(ANN), "12:05")
    strict.when(reserve(ANN, 7)).then(
        on(
            reservation.stream(reservation_of(ANN)),
            ReservationOpened(token_of(ANN), ANN, CODE, SHOW_DAY, SHOW_TIME, (7,), PRICE, at("12:10")),
        ),
        on(seat_stream(7), held_by_ann(until="12:10")),
        on(token.stream(CODE, ANN), TokenSeatsHeld(reservation_of(ANN), (7,), at("12:10"))),
        on(wallet.stream(ANN), WalletChargingSuspended(reservation_of(ANN), at("12:10"))),
    ).then_correlated(*[token_of(ANN)] * 4)
    strict.when(ChargeWallet(ANN, 1)).then_refused(ChargeNotAllowedWhileHolding)
    resumed = strict.when(release(ANN))
    assert resumed.events[-1].event == WalletChargingResumed(reservation_of(ANN))
    assert (resumed.events[-1].correlation_id, resumed.events[-1].partition_key) == (token_of(ANN), str(ANN))
    strict.and_then(ChargeWallet(ANN, 1))


def test_w3_from_the_deadline_on_charging_is_allowed_whether_or_not_the_timer_has_come_by() -> None:
    strict = given(on_sale(charge_while_holding=False), inside(ANN), "12:05", reserve(ANN, 7), "12:10")
    strict.and_then(ChargeWallet(ANN, 1))
    expired = strict.when(expire(ANN))
    assert expired.events[-1].event == WalletChargingResumed(reservation_of(ANN))


def test_l2_a_performance_that_has_begun_is_not_reserved() -> None:
    begun = given(on_sale(active_ttl_s=9_000_000), inside(ANN), SHOW_STARTS_AT)
    begun.when(reserve(ANN, 7)).then_refused(PerformanceStarted)
    just_before = given(
        on_sale(active_ttl_s=9_000_000), inside(ANN), SHOW_STARTS_AT - timedelta(microseconds=1)
    )
    just_before.and_then(reserve(ANN, 7))


@pytest.mark.parametrize("seat_numbers", [(), (7, 7)])
def test_seats_are_named_once_each_and_one_at_least(seat_numbers: tuple[int, ...]) -> None:
    given(on_sale(), inside(ANN)).when(reserve(ANN, *seat_numbers)).then_refused_for("seat_numbers")


def test_q7_a_waiting_token_is_told_its_place() -> None:
    line = given(on_sale(max_active=1), inside(BEN), waiting(CAT), waiting(ANN))
    line.when(reserve(ANN, 7)).then_refused(TokenNotActive, place=2, retry_after_s=1)


def test_q7_only_its_owner_uses_a_token() -> None:
    stolen = Reserve(visit_of(ANN), BEN, reservation_of(BEN), SHOW_DAY, SHOW_TIME, (7,))
    given(on_sale(), inside(ANN)).when(stolen).then_refused(TokenInvalid)


@pytest.mark.parametrize(
    ("ending", "error"), [([leave(ANN)], TokenEnded), ([reserve(ANN, 7), pay(ANN)], TokenEnded)]
)
def test_q6_a_token_that_has_ended_reserves_no_more(ending: list[Any], error: type[DomainError]) -> None:
    ended = given(on_sale(), inside(ANN, balance=PRICE), *ending)
    ended.when(reserve(ANN, 8, nth=2)).then_refused(error)


class Fault(NamedTuple):
    """One reason for a refusal: what was done, or how the request differs."""

    error: type[DomainError]
    done: tuple[Any, ...] = ()
    asked: Mapping[str, Any] = {}


FAULTS = [
    Fault(ConcertNotFound, asked={"visit": Visit(ConcertCode("NOWHERE"), token_of(ANN))}),
    Fault(TokenInvalid, asked={"visit": visit_of(ANN, 2)}),
    Fault(SalesNotOpen, done=(CloseSales(CODE),)),
    Fault(PerformanceNotFound, asked={"date": date(2026, 4, 2)}),
    Fault(SeatNotFound, asked={"seat_numbers": (2, 1, 51)}),
    Fault(ReservationAlreadyOpen, done=(reserve(ANN, 30),)),
    Fault(SeatLimitExceeded, done=(change_policy(max_seats_per_user=1),)),
    Fault(SeatAlreadySold, done=(reserve(BEN, 1), pay(BEN))),
    Fault(SeatAlreadyHeld, done=(reserve(CAT, 2),)),
]
"""In domain.md's order of checks."""


@pytest.mark.parametrize(("earlier", "later"), list(combinations(FAULTS, 2)))
def test_of_two_reasons_for_a_refusal_the_earlier_check_names_its_own(earlier: Fault, later: Fault) -> None:
    sale = given(on_sale(), inside(ANN), inside(BEN, 2, balance=PRICE), inside(CAT, 3))
    sale.and_then(sorted((*later.done, *earlier.done), key=_last_of_all))
    wish = msgspec.structs.replace(reserve(ANN, 2, 1, nth=2), **{**later.asked, **earlier.asked})
    asked = sale.when(wish)
    assert type(asked.outcome) is earlier.error
    assert asked.events == []


@pytest.mark.parametrize("fault", FAULTS)
def test_each_reason_for_a_refusal_suffices(fault: Fault) -> None:
    sale = given(on_sale(), inside(ANN), inside(BEN, 2, balance=PRICE), inside(CAT, 3))
    sale.and_then(*fault.done)
    assert (
        type(sale.when(msgspec.structs.replace(reserve(ANN, 2, 1, nth=2), **fault.asked)).outcome)
        is fault.error
    )


def test_the_token_is_asked_for_its_deadline_before_anything_else_of_the_sale() -> None:
    late = given(on_sale(active_ttl_s=60), inside(ANN), CloseSales(CODE), "12:05")
    late.when(reserve(ANN, 51)).then_refused(TokenExpired)
    line = given(on_sale(max_active=1), inside(BEN), waiting(ANN), CloseSales(CODE))
    line.when(reserve(ANN, 51)).then_refused(TokenNotActive, place=1, retry_after_s=1)


def _last_of_all(step: Any) -> bool:
    """What closes the sale for others comes after what others did."""
    return not isinstance(step, Reserve)
