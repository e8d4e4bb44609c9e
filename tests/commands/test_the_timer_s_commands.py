"""What the timer asks for: recording what has run out (S2, S3, Q5), and cancelling who is silent (Q8)."""

from typing import Any

import pytest

from aggregates import queue, reservation, token
from aggregates.queue import SlotsFreed
from aggregates.reservation import ReservationCancelled, ReservationExpired
from aggregates.seat import SeatHoldExpired, SeatHoldReleased
from aggregates.token import TokenCancelled, TokenExpiredRecorded, TokenSeatsReleased
from tests.aggregates.given import ANN, BEN, CODE, at, reservation_of, token_of
from tests.commands.sale import Given, given, heard, on
from tests.commands.steps import (
    PRICE,
    abandon,
    expire,
    inside,
    join,
    leave,
    let_in,
    on_sale,
    pay,
    registered,
    reserve,
    seat_stream,
    waiting,
)

OUT_OF_TIME = [
    *on(token.stream(CODE, ANN), TokenExpiredRecorded()),
    *on(queue.stream(CODE), SlotsFreed(1)),
]


def holding(**policy: Any) -> Given:
    """Ann is let in at 12:04 and takes seats at 12:05."""
    return given(
        on_sale(**policy), waiting(ANN, balance=PRICE), "12:04", let_in((1, ANN)), "12:05", reserve(ANN, 7)
    )


def test_s2_a_lapsed_hold_is_recorded_with_everything_that_hangs_on_it() -> None:
    holding().and_then("12:10").when(expire(ANN)).then(
        on(seat_stream(7), SeatHoldExpired(reservation_of(ANN))),
        on(reservation.stream(reservation_of(ANN)), ReservationExpired()),
        on(token.stream(CODE, ANN), TokenSeatsReleased(reservation_of(ANN), (7,), "expired")),
    ).then_correlated(*[token_of(ANN)] * 3)


def test_q5_a_token_s_end_is_recorded_and_frees_its_slot() -> None:
    given(on_sale(active_ttl_s=60), waiting(ANN), "12:04", let_in((1, ANN)), "12:05").when(expire(ANN)).then(
        OUT_OF_TIME
    )


def test_q5_a_token_with_an_open_reservation_ends_with_it() -> None:
    waiting_for_it = holding(active_ttl_s=120)
    waiting_for_it.and_then("12:09:59.999999").when(expire(ANN)).then()
    waiting_for_it.and_then("12:10").when(expire(ANN)).then(
        on(seat_stream(7), SeatHoldExpired(reservation_of(ANN))),
        on(reservation.stream(reservation_of(ANN)), ReservationExpired()),
        on(
            token.stream(CODE, ANN),
            TokenSeatsReleased(reservation_of(ANN), (7,), "expired"),
            TokenExpiredRecorded(),
        ),
        on(queue.stream(CODE), SlotsFreed(1)),
    )


@pytest.mark.parametrize(
    "happened",
    [
        ["12:04"],
        ["12:20", expire(ANN)],
        [leave(ANN), "12:20"],
        [pay(ANN), "12:20"],
        ["12:20", join(ANN, visit=2)],
    ],
)
def test_s3_where_nothing_has_run_out_or_it_was_recorded_nothing_changes(happened: list[Any]) -> None:
    holding(abandon_active_after_s=1).and_then(*happened).when(expire(ANN)).then()


def test_q5_what_is_said_of_an_earlier_token_does_not_end_the_next() -> None:
    again = given(on_sale(active_ttl_s=60), waiting(ANN), leave(ANN), join(ANN, visit=2), let_in((1, ANN)))
    again.and_then(let_in((2, ANN)), "12:30").when(expire(ANN)).then()
    again.when(expire(ANN, visit=2)).then(OUT_OF_TIME)


def test_two_timers_in_one_batch_record_it_once() -> None:
    once = holding(active_ttl_s=120).and_then("12:10").when(expire(ANN), expire(ANN))
    assert len(once.events) == 5


class TestSilence:
    """Q8: cancelled is who could have been heard and was not, for longer than the policy allows."""

    cancelled = on(token.stream(CODE, ANN), TokenCancelled("abandoned"))

    def waits(self, since: str, **policy: Any) -> Given:
        return given(on_sale(**policy), registered(ANN), since, join(ANN))

    def test_q8_who_was_never_heard_is_silent_since_joining(self) -> None:
        line = heard(self.waits("12:05"), {}, since=at("12:00"))
        line.and_then("12:15:09.999999").when(abandon(ANN)).then()
        line.and_then("12:15:10").when(abandon(ANN)).then(self.cancelled).then_correlated(token_of(ANN))

    def test_q8_who_was_heard_is_silent_since_then(self) -> None:
        line = heard(self.waits("12:05"), {token_of(ANN): at("12:30")}, since=at("12:00"))
        line.and_then("12:40:09.999999").when(abandon(ANN)).then()
        line.and_then("12:40:10").when(abandon(ANN)).then(self.cancelled)

    def test_q8_what_another_was_heard_to_say_does_not_count(self) -> None:
        line = heard(self.waits("12:05"), {token_of(BEN): at("12:30")}, since=at("12:00"))
        line.and_then("12:30").when(abandon(ANN)).then(self.cancelled)

    def test_q8_nobody_is_cancelled_for_a_silence_that_could_not_be_heard(self) -> None:
        line = heard(self.waits("12:05"), {}, since=None)
        line.and_then("15:00").when(abandon(ANN)).then()

    def test_q8_silence_counts_anew_from_when_everybody_listens_again(self) -> None:
        line = heard(self.waits("12:05"), {token_of(ANN): at("12:06")}, since=at("12:30"))
        line.and_then("12:40:09.999999").when(abandon(ANN)).then()
        line.and_then("12:40:10").when(abandon(ANN)).then(self.cancelled)

    def test_q8_the_policy_may_allow_any_silence(self) -> None:
        line = heard(self.waits("12:05", abandon_waiting_after_s=None), {}, since=at("12:00"))
        line.and_then("23:00").when(abandon(ANN)).then()

    def test_q8_an_active_token_is_not_cancelled_unless_the_policy_says_so(self) -> None:
        heard(holding(), {}, since=at("12:00")).and_then("12:09:59").when(abandon(ANN)).then()

    def test_q8_an_active_token_is_silent_since_it_was_let_in_at_the_earliest(self) -> None:
        silent = heard(holding(abandon_active_after_s=60), {token_of(ANN): at("12:01")}, since=at("12:00"))
        silent.and_then("12:05:09.999999").when(abandon(ANN)).then()
        silent.and_then("12:05:10").when(abandon(ANN)).then(
            on(seat_stream(7), SeatHoldReleased(reservation_of(ANN), "abandoned")),
            on(reservation.stream(reservation_of(ANN)), ReservationCancelled("abandoned")),
            on(
                token.stream(CODE, ANN),
                TokenSeatsReleased(reservation_of(ANN), (7,), "abandoned"),
                TokenCancelled("abandoned"),
            ),
            on(queue.stream(CODE), SlotsFreed(1)),
        )

    def test_q8_what_has_lapsed_by_then_is_recorded_as_expired(self) -> None:
        silent = heard(holding(abandon_active_after_s=60, hold_ttl_s=30), {}, since=at("12:00"))
        cancelled = silent.and_then("12:06").when(abandon(ANN))
        assert SeatHoldExpired(reservation_of(ANN)) in [event.event for event in cancelled.events]
        assert TokenCancelled("abandoned") in [event.event for event in cancelled.events]

    def test_q5_a_token_that_has_ended_by_itself_is_not_cancelled(self) -> None:
        policy = {"abandon_active_after_s": 30, "active_ttl_s": 60}
        late = given(on_sale(**policy), waiting(ANN), "12:04", let_in((1, ANN)), "12:30")
        heard(late, {}, since=at("12:00")).when(abandon(ANN)).then()
        late.when(expire(ANN)).then(OUT_OF_TIME)

    @pytest.mark.parametrize("happened", [[leave(ANN)], [leave(ANN), join(ANN, visit=2)]])
    def test_q8_a_token_that_has_ended_is_not_cancelled_nor_the_next_for_it(
        self, happened: list[Any]
    ) -> None:
        line = heard(self.waits("12:05"), {}, since=at("12:00")).and_then(*happened, "13:00")
        line.when(abandon(ANN)).then()


def test_q8_a_user_inside_another_concert_is_not_meant() -> None:
    line = heard(given(on_sale(), inside(ANN), registered(BEN)), {}, since=at("12:00"))
    line.and_then("12:01").when(abandon(BEN)).then()
