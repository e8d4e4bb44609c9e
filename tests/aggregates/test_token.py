"""Tokens: one live at a time, let in by number, over at their deadline (Q2, Q3, Q5–Q7, S4, S5)."""

from datetime import datetime, timedelta

import pytest
from hypothesis import given as for_all
from hypothesis import strategies as st

from aggregates import token
from aggregates.errors import (
    ReservationAlreadyOpen,
    SeatLimitExceeded,
    TokenEnded,
    TokenExpired,
    TokenInvalid,
)
from aggregates.event import Event
from aggregates.token import (
    TOKEN,
    HeldSeats,
    LiveToken,
    TokenActivated,
    TokenCancelled,
    TokenCompleted,
    TokenEvent,
    TokenExpiredRecorded,
    TokenIssued,
    Tokens,
    TokenSeatsHeld,
    TokenSeatsReleased,
    TokenSeatsReturned,
    TokenStatus,
)
from tests.aggregates.given import ANN, CODE, Given, at, given, payment_of, reservation_of, token_of
from tests.aggregates.strategies import moments


def issued(number: int = 1, *, visit: int = 1) -> TokenIssued:
    return TokenIssued(token_of(ANN, visit), ANN, CODE, number)


def activated(until: datetime | None = None) -> TokenActivated:
    return TokenActivated(until or at("12:10"))


def seats_held(*seats: int, until: datetime | None = None, visit: int = 1) -> TokenSeatsHeld:
    return TokenSeatsHeld(reservation_of(ANN, visit), seats, until or at("12:05"))


def released(*seats: int) -> TokenSeatsReleased:
    return TokenSeatsReleased(reservation_of(ANN), seats, "released")


def live_token(*past: Event) -> Given[LiveToken]:
    return given(TOKEN, *past).its(lambda tokens: tokens.live)


def find(tokens: Tokens, *, visit: int = 1, now: datetime) -> LiveToken:
    return token.find_live(tokens, token_of(ANN, visit), now)


ENDS: list[tuple[Event, TokenStatus]] = [
    (TokenCompleted(payment_of(ANN)), TokenStatus.COMPLETED),
    (TokenExpiredRecorded(), TokenStatus.EXPIRED),
    (TokenCancelled("left"), TokenStatus.CANCELLED),
]


def test_q2_a_token_that_was_issued_lives_until_its_end_is_recorded() -> None:
    live_token(issued(7)).then_is(LiveToken(token_of(ANN), 7, issued_at=at("12:00")))
    for end, _ in ENDS:
        assert given(TOKEN, issued(), activated(), end).state.live is None


def test_q2_after_its_end_another_token_lives_at_the_back() -> None:
    again = given(TOKEN, issued(1), TokenCancelled("left"), issued(9, visit=2))
    again.when(find, visit=2, now=at("12:01")).then_it_is(
        LiveToken(token_of(ANN, visit=2), 9, issued_at=at("12:00"))
    )
    again.when(find, now=at("12:01")).then_refused(TokenEnded)


def test_q3_the_gate_lets_in_a_waiting_token_by_its_own_number() -> None:
    waiting = given(TOKEN, issued(7))
    waiting.when(token.waits_with, 7).then_it_is(waiting.state.live)
    waiting.when(token.waits_with, 8).then_it_is(None)


def test_q3_the_gate_does_not_let_in_twice() -> None:
    given(TOKEN, issued(7), activated()).when(token.waits_with, 7).then_it_is(None)


@pytest.mark.parametrize("end", [end for end, _ in ENDS])
def test_q3_the_gate_passes_a_number_only_whose_token_has_ended(end: Event) -> None:
    ended = given(TOKEN, issued(7), activated(), end, issued(9, visit=2))
    ended.when(token.has_ended, 7).then_it_is(answer=True)
    ended.when(token.waits_with, 7).then_it_is(None)
    ended.when(token.has_ended, 8).then_it_is(answer=False)
    ended.when(token.has_ended, 9).then_it_is(answer=False)


def test_q3_a_number_whose_token_has_not_been_issued_yet_is_neither_ended_nor_waiting() -> None:
    given(TOKEN).when(token.has_ended, 1).then_it_is(answer=False)
    given(TOKEN).when(token.waits_with, 1).then_it_is(None)


def test_q5_a_waiting_token_has_no_deadline_to_miss() -> None:
    live_token(issued()).when(token.require_before_deadline, at("23:59")).then_it_may()


def test_q5_a_waiting_token_waits_however_long() -> None:
    live_token(issued()).when(token.status, at("23:59")).then_it_is(TokenStatus.WAITING)
    live_token(issued()).when(token.end_of_time, at("23:59")).then()


@for_all(until=moments, now=moments)
def test_q5_an_active_token_ends_at_its_deadline_recorded_or_not(until: datetime, now: datetime) -> None:
    active = given(TOKEN, issued(), activated(until))
    found, ended = active.when(find, now=now), active.its(lambda its: its.live).when(token.end_of_time, now)
    if now < until:
        found.then_it_may()
        ended.then()
    else:
        found.then_refused(TokenExpired)
        ended.then(TokenExpiredRecorded())


@for_all(until=moments, hold_until=moments, now=moments)
def test_q5_an_open_reservation_keeps_a_token_active_until_the_later_deadline(
    until: datetime, hold_until: datetime, now: datetime
) -> None:
    holding = live_token(issued(), activated(until), seats_held(3, until=hold_until))
    holding.when(token.ends_at, until).then_it_is(max(until, hold_until))
    active = now < max(until, hold_until)
    holding.when(token.status, now).then_it_is(TokenStatus.ACTIVE if active else TokenStatus.EXPIRED)


@for_all(until=moments, hold_until=moments, now=moments)
def test_q5_past_its_own_deadline_a_token_does_not_reserve(
    until: datetime, hold_until: datetime, now: datetime
) -> None:
    holding = live_token(issued(), activated(until), seats_held(3, until=hold_until))
    outcome = holding.when(token.require_before_deadline, now)
    if now < until:
        outcome.then_it_may()
    else:
        outcome.then_refused(TokenExpired)


def test_q5_past_its_own_deadline_a_token_ends_with_its_reservation() -> None:
    holding = (issued(), activated(at("12:05")), seats_held(3, until=at("12:08")))
    live_token(*holding).when(token.end_of_time, at("12:06")).then()
    live_token(*holding, released(3)).when(token.end_of_time, at("12:06")).then(TokenExpiredRecorded())
    live_token(*holding, released(3)).when(token.status, at("12:06")).then_it_is(TokenStatus.EXPIRED)


def test_q5_the_reservation_is_settled_before_the_token_ends() -> None:
    lapsed = (issued(), activated(at("12:05")), seats_held(3, until=at("12:08")))
    live_token(*lapsed).when(token.end_of_time, at("12:09")).then()


@pytest.mark.parametrize(("end", "status"), ENDS)
def test_q6_a_token_that_has_ended_says_how(end: Event, status: TokenStatus) -> None:
    error = TokenExpired if status is TokenStatus.EXPIRED else TokenEnded
    given(TOKEN, issued(), activated(), end).when(find, now=at("12:01")).then_refused(error)


@pytest.mark.parametrize(("end", "status"), ENDS)
def test_q6_a_token_that_has_ended_is_remembered_with_its_number(end: Event, status: TokenStatus) -> None:
    ended = given(TOKEN, issued(7), activated(), end).state.ended
    assert ended == (token.EndedToken(token_of(ANN), 7, status),)


def test_q7_a_token_that_was_never_issued_is_no_token() -> None:
    given(TOKEN).when(find, now=at("12:01")).then_refused(TokenInvalid)
    given(TOKEN, issued(visit=2)).when(find, now=at("12:01")).then_refused(TokenInvalid)


def buy(tokens: Tokens, more: int, *, seats_max: int = 4) -> None:
    token.require_within_limit(tokens, more, seats_max)


def bought(*seats: int, visit: int) -> list[TokenEvent]:
    return [
        issued(visit, visit=visit),
        activated(),
        seats_held(*seats, visit=visit),
        TokenCompleted(payment_of(ANN, visit)),
    ]


def test_s4_seats_bought_before_count() -> None:
    owner = given(TOKEN, *bought(1, 2, visit=1), *bought(3, visit=2), issued(3, visit=3), activated())
    owner.when(buy, 1).then_it_may()
    owner.when(buy, 2).then_refused(SeatLimitExceeded)
    assert owner.when(buy, 2).told == [4], "how many seats one may have"


def test_s4_lapsed_and_released_holds_do_not_count() -> None:
    given(TOKEN, issued(), activated(), seats_held(1, 2, 3), released(1, 2, 3)).when(buy, 4).then_it_may()
    given(TOKEN, issued(), activated(), seats_held(1, 2, 3), TokenExpiredRecorded(), issued(2, visit=2)).when(
        buy, 4
    ).then_it_may()


def test_s4_refunded_seats_do_not_count() -> None:
    returned = TokenSeatsReturned(payment_of(ANN, 1), (1, 2))
    refunded = given(TOKEN, *bought(1, 2, visit=1), *bought(3, visit=2), returned)
    refunded.when(buy, 3).then_it_may()
    refunded.when(buy, 4).then_refused(SeatLimitExceeded)


def test_s4_a_refund_between_two_visits_counts_at_once() -> None:
    returned = TokenSeatsReturned(payment_of(ANN, 1), (1, 2))
    without_a_live_token = given(TOKEN, *bought(1, 2, visit=1), returned)
    without_a_live_token.when(buy, 4).then_it_may()


@for_all(
    purchases=st.lists(st.tuples(st.integers(1, 4), st.booleans()), max_size=6),
    more=st.integers(1, 8),
    seats_max=st.integers(1, 12),
)
def test_s4_no_more_than_the_limit_is_held_and_bought(
    purchases: list[tuple[int, bool]], more: int, seats_max: int
) -> None:
    past: list[Event] = []
    for visit, (count, refunded) in enumerate(purchases, start=1):
        seats = tuple(range(1, count + 1))
        past += bought(*seats, visit=visit)
        past += [TokenSeatsReturned(payment_of(ANN, visit), seats)] if refunded else []
    owned = sum(count for count, refunded in purchases if not refunded)
    outcome = given(TOKEN, *past).when(buy, more, seats_max=seats_max)
    if owned + more <= seats_max:
        outcome.then_it_may()
    else:
        outcome.then_refused(SeatLimitExceeded)


def test_s5_a_token_without_a_reservation_may_open_one() -> None:
    live_token(issued(), activated()).when(token.require_none_open, at("12:01")).then_it_may()
    live_token(issued(), activated(), seats_held(3), released(3)).when(
        token.require_none_open, at("12:01")
    ).then_it_may()


@for_all(until=moments, now=moments)
def test_s5_an_open_reservation_bars_another_until_its_deadline_and_not_at_it(
    until: datetime, now: datetime
) -> None:
    holding = live_token(issued(), activated(), seats_held(3, until=until))
    outcome = holding.when(token.require_none_open, now)
    if now < until:
        outcome.then_refused(ReservationAlreadyOpen, reservation_id=reservation_of(ANN))
    else:
        outcome.then_it_may()


def test_s5_a_token_remembers_what_it_holds_and_the_reservation_it_made_last() -> None:
    holding = live_token(issued(), activated(), seats_held(3, 4)).state
    settled = live_token(issued(), activated(), seats_held(3, 4), released(3, 4)).state
    assert holding.held == HeldSeats(reservation_of(ANN), (3, 4), at("12:05"))
    assert settled.held is None
    assert holding.last_reservation_id == settled.last_reservation_id == reservation_of(ANN)


def test_a_token_remembers_since_when_its_owner_can_have_been_silent() -> None:
    waiting = live_token(issued()).state
    state = token.evolve(Tokens(live=waiting), activated(), at("12:00") + timedelta(seconds=40))
    assert waiting.issued_at == at("12:00")
    assert state.live is not None
    assert state.live.activated_at == at("12:00:40")
