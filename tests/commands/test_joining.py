"""Joining and leaving the line (Q1, Q2, Q5, Q6, L1)."""

from aggregates import queue, reservation, token
from aggregates.errors import (
    ConcertNotFound,
    QueueFull,
    SalesNotOpen,
    TokenEnded,
    TokenExpired,
    TokenInvalid,
    UserNotFound,
)
from aggregates.ids import ConcertCode
from aggregates.queue import NumbersIssued, SlotsFreed
from aggregates.reservation import ReservationCancelled, ReservationExpired
from aggregates.seat import SeatHoldExpired, SeatHoldReleased
from aggregates.token import (
    TokenCancelled,
    TokenExpiredRecorded,
    TokenIssued,
    TokenSeatsReleased,
    TokenStatus,
)
from commands.join_queue import JoinQueue, Standing
from commands.leave_queue import LeaveQueue
from commands.run_sale import CloseSales
from commands.unit_of_work import Visit
from tests.aggregates.given import ANN, BEN, CODE, at, reservation_of, token_of
from tests.commands.sale import given, on
from tests.commands.steps import (
    CAT,
    PRICE,
    change_policy,
    inside,
    join,
    leave,
    let_in,
    on_sale,
    pay,
    registered,
    reserve,
    seat_stream,
    visit_of,
    waiting,
)


def test_q1_numbers_are_given_in_the_order_of_asking() -> None:
    line = given(on_sale(), registered(ANN), registered(BEN), registered(CAT))
    line.when(join(BEN), join(ANN), join(CAT)).then(
        on(token.stream(CODE, BEN), TokenIssued(token_of(BEN), BEN, CODE, 1)),
        on(token.stream(CODE, ANN), TokenIssued(token_of(ANN), ANN, CODE, 2)),
        on(token.stream(CODE, CAT), TokenIssued(token_of(CAT), CAT, CODE, 3)),
        on(queue.stream(CODE), NumbersIssued(1, 3)),
    ).then_correlated(token_of(BEN), token_of(ANN), token_of(CAT))


def test_a_new_token_is_shown_as_it_stands_in_line() -> None:
    line = given(on_sale(), registered(ANN), waiting(BEN), "12:05")
    assert line.when(join(ANN)).outcome == Standing(
        token_id=token_of(ANN),
        user_id=ANN,
        code=CODE,
        queue_number=2,
        status=TokenStatus.WAITING,
        issued_at=at("12:05"),
        expires_at=None,
        head=0,
        issued=2,
        sales_open=True,
        sold_out=False,
        created=True,
    )


def test_q2_asking_again_returns_the_token_with_its_place() -> None:
    again = given(on_sale(), waiting(ANN)).when(JoinQueue(CODE, ANN, token_of(ANN, 2))).then()
    assert (again.outcome.token_id, again.outcome.queue_number) == (token_of(ANN), 1)
    assert not again.outcome.created


def test_q2_asking_twice_in_one_batch_gives_one_token() -> None:
    line = given(on_sale(), registered(ANN))
    both = line.when(join(ANN), join(ANN, visit=2)).then(
        on(token.stream(CODE, ANN), TokenIssued(token_of(ANN), ANN, CODE, 1)),
        on(queue.stream(CODE), NumbersIssued(1, 1)),
    )
    assert [answer.outcome.created for answer in both.answers] == [True, False]


def test_q2_an_active_token_is_returned_until_its_deadline() -> None:
    active = (
        given(on_sale(active_ttl_s=60), waiting(ANN), "12:05", let_in((1, ANN)), "12:05:59.999999")
        .when(join(ANN, visit=2))
        .then()
    )
    assert active.outcome.status is TokenStatus.ACTIVE
    assert active.outcome.expires_at == at("12:06")


def test_q2_a_token_past_its_deadline_is_recorded_as_expired_before_the_next_is_issued() -> None:
    given(on_sale(active_ttl_s=60), waiting(ANN), "12:05", let_in((1, ANN)), "12:06").when(
        join(ANN, visit=2)
    ).then(
        on(
            token.stream(CODE, ANN),
            TokenExpiredRecorded(),
            TokenIssued(token_of(ANN, 2), ANN, CODE, 2),
        ),
        on(queue.stream(CODE), NumbersIssued(2, 2), SlotsFreed(1)),
    ).then_correlated(token_of(ANN), token_of(ANN, 2))


def test_q2_its_lapsed_reservation_is_settled_in_the_same_append() -> None:
    holding = given(on_sale(active_ttl_s=60, hold_ttl_s=90), inside(ANN), reserve(ANN, 7, 8), "12:05")
    holding.when(join(ANN, visit=2)).then(
        on(seat_stream(7), SeatHoldExpired(reservation_of(ANN))),
        on(seat_stream(8), SeatHoldExpired(reservation_of(ANN))),
        on(reservation.stream(reservation_of(ANN)), ReservationExpired()),
        on(
            token.stream(CODE, ANN),
            TokenSeatsReleased(reservation_of(ANN), (7, 8), "expired"),
            TokenExpiredRecorded(),
            TokenIssued(token_of(ANN, 2), ANN, CODE, 2),
        ),
        on(queue.stream(CODE), NumbersIssued(2, 2), SlotsFreed(1)),
    ).then_correlated(*[token_of(ANN)] * 5, token_of(ANN, 2))


def test_q2_after_a_token_has_ended_asking_gives_a_number_at_the_back() -> None:
    left = given(on_sale(), registered(ANN), registered(BEN), join(ANN), join(BEN), leave(ANN))
    assert left.when(join(ANN, visit=2)).outcome.queue_number == 3


def test_q5_while_a_reservation_is_open_past_its_deadline_the_token_is_returned() -> None:
    holding = given(
        on_sale(active_ttl_s=60, hold_ttl_s=90), inside(ANN), "12:00:40", reserve(ANN, 7), "12:02"
    )
    standing = holding.when(join(ANN, visit=2)).then().outcome
    assert (standing.status, standing.expires_at) == (TokenStatus.ACTIVE, at("12:02:10"))


def test_l1_while_sales_are_closed_a_waiting_token_keeps_its_place() -> None:
    closed = given(on_sale(), waiting(ANN), CloseSales(CODE))
    standing = closed.when(join(ANN, visit=2)).then().outcome
    assert (standing.queue_number, standing.sales_open) == (1, False)


def test_l1_while_sales_are_closed_nobody_joins() -> None:
    given(on_sale(), registered(ANN), CloseSales(CODE)).when(join(ANN)).then_refused(SalesNotOpen)


def test_joining_asks_for_the_user_then_for_the_concert_then_whether_it_is_on_sale() -> None:
    nowhere = JoinQueue(ConcertCode("NOWHERE"), ANN, token_of(ANN))
    given().when(nowhere).then_refused(UserNotFound)
    given(registered(ANN)).when(nowhere).then_refused(ConcertNotFound)
    closed_and_full = given(on_sale(max_waiting=1), registered(ANN), waiting(BEN), CloseSales(CODE))
    closed_and_full.when(join(ANN)).then_refused(SalesNotOpen)


def test_q4_no_token_is_issued_beyond_the_longest_line() -> None:
    full = given(on_sale(max_waiting=2), registered(ANN), registered(BEN), registered(CAT))
    full.when(join(ANN), join(BEN), join(CAT)).then_refused_with_events(QueueFull, retry_after_s=200)


def test_q4_those_who_left_early_count_until_the_gate_has_passed_them() -> None:
    full = given(on_sale(max_waiting=1), registered(ANN), registered(BEN), join(ANN), leave(ANN))
    full.when(join(BEN)).then_refused(QueueFull, retry_after_s=200)
    assert full.when(let_in((1, ANN))).outcome == 0
    assert full.when(join(BEN)).outcome.queue_number == 2


def test_a_full_line_is_no_reason_to_end_what_has_not_run_out() -> None:
    expired = given(on_sale(max_waiting=1, active_ttl_s=60), inside(ANN), registered(BEN), join(BEN), "12:05")
    expired.when(join(ANN, visit=2)).then_refused(QueueFull, retry_after_s=200)


def test_sold_out_says_that_no_seat_is_left() -> None:
    sold = given(on_sale(seats=1), inside(ANN, balance=PRICE), reserve(ANN, 1), pay(ANN))
    assert sold.when(join(ANN, visit=2)).outcome.sold_out


def test_q6_leaving_the_line_ends_the_token() -> None:
    given(on_sale(), waiting(ANN)).when(leave(ANN)).then(
        on(token.stream(CODE, ANN), TokenCancelled("left"))
    ).then_correlated(token_of(ANN))


def test_q6_leaving_the_sale_frees_the_slot_and_releases_what_is_held() -> None:
    given(on_sale(), inside(ANN), reserve(ANN, 7)).when(leave(ANN)).then(
        on(seat_stream(7), SeatHoldReleased(reservation_of(ANN), "left")),
        on(reservation.stream(reservation_of(ANN)), ReservationCancelled("left")),
        on(
            token.stream(CODE, ANN),
            TokenSeatsReleased(reservation_of(ANN), (7,), "left"),
            TokenCancelled("left"),
        ),
        on(queue.stream(CODE), SlotsFreed(1)),
    )


def test_q6_leaving_after_the_hold_has_lapsed_records_that_it_expired() -> None:
    given(on_sale(hold_ttl_s=60), inside(ANN), reserve(ANN, 7), "12:05").when(leave(ANN)).then(
        on(seat_stream(7), SeatHoldExpired(reservation_of(ANN))),
        on(reservation.stream(reservation_of(ANN)), ReservationExpired()),
        on(
            token.stream(CODE, ANN),
            TokenSeatsReleased(reservation_of(ANN), (7,), "expired"),
            TokenCancelled("left"),
        ),
        on(queue.stream(CODE), SlotsFreed(1)),
    )


def test_s2_leaving_at_the_very_deadline_of_the_hold_records_that_it_expired() -> None:
    at_its_deadline = given(on_sale(), inside(ANN), "12:04", reserve(ANN, 7), "12:09")
    settled = [event.event for event in at_its_deadline.when(leave(ANN)).events]
    assert SeatHoldExpired(reservation_of(ANN)) in settled
    assert ReservationExpired() in settled


def test_q6_nobody_leaves_twice() -> None:
    left = given(on_sale(), waiting(ANN), leave(ANN))
    left.when(leave(ANN)).then_refused(TokenEnded)


def test_q5_leaving_at_the_deadline_is_too_late() -> None:
    given(on_sale(active_ttl_s=60), waiting(ANN), "12:05", let_in((1, ANN)), "12:06").when(
        leave(ANN)
    ).then_refused(TokenExpired)


def test_q5_leaving_with_a_token_that_was_recorded_as_expired_is_refused_likewise() -> None:
    expired = given(on_sale(active_ttl_s=60), inside(ANN), "12:02")
    expired.when(join(ANN, visit=2))
    expired.when(leave(ANN)).then_refused(TokenExpired)


def test_a_token_that_was_never_issued_leaves_nothing() -> None:
    given(on_sale(), waiting(ANN)).when(leave(ANN, visit=2)).then_refused(TokenInvalid)
    given(on_sale(), waiting(ANN)).when(LeaveQueue(visit_of(ANN), BEN)).then_refused(TokenInvalid)


def test_a_user_may_stand_in_the_lines_of_two_concerts() -> None:
    other = ConcertCode("OTHER-1")
    line = given(on_sale(), waiting(ANN))
    line.when(LeaveQueue(Visit(other, token_of(ANN)), ANN)).then_refused(TokenInvalid)


def test_a_changed_limit_of_the_line_binds_who_joins_next() -> None:
    line = given(on_sale(), registered(ANN), registered(BEN), join(ANN), change_policy(max_waiting=1))
    line.when(join(BEN)).then_refused(QueueFull, retry_after_s=200)
