"""The gate (Q3, Q4, L1): who is let in, in which order, under which limits."""

from datetime import timedelta
from typing import Any

import pytest

from aggregates import queue, token
from aggregates.errors import ConcertNotFound
from aggregates.ids import ConcertCode
from aggregates.queue import NumbersIssued, QueueAdvanced
from aggregates.token import TokenActivated, TokenIssued
from commands.let_in import LetIn
from commands.run_sale import CloseSales, OpenSales, PauseQueue, ResumeQueue
from tests.aggregates.given import ANN, BEN, CODE, at, token_of
from tests.commands.sale import Given, given, on
from tests.commands.steps import (
    CAT,
    PRICE,
    SHOW_STARTS_AT,
    change_policy,
    inside,
    join,
    leave,
    let_in,
    on_sale,
    pay,
    registered,
    reserve,
    schedule,
    waiting,
    withdraw,
)

EVERYONE = ((1, ANN), (2, BEN), (3, CAT))


def line_of_three(**policy: Any) -> Given:
    return given(on_sale(**policy), waiting(ANN), waiting(BEN), waiting(CAT), "12:05")


def test_q3_tokens_are_let_in_by_number() -> None:
    line_of_three(active_ttl_s=60).when(let_in(*EVERYONE)).then(
        on(token.stream(CODE, ANN), TokenActivated(at("12:06"))),
        on(token.stream(CODE, BEN), TokenActivated(at("12:06"))),
        on(token.stream(CODE, CAT), TokenActivated(at("12:06"))),
        on(queue.stream(CODE), QueueAdvanced(3, 3)),
    ).then_correlated(token_of(ANN), token_of(BEN), token_of(CAT))


def test_q3_the_order_and_repeats_of_the_suggestions_do_not_matter() -> None:
    line = line_of_three(max_active=2)
    line.when(let_in((3, CAT), (1, ANN), (2, BEN), (1, ANN))).then(
        on(token.stream(CODE, ANN), TokenActivated(at("12:15"))),
        on(token.stream(CODE, BEN), TokenActivated(at("12:15"))),
        on(queue.stream(CODE), QueueAdvanced(2, 2)),
    )


def test_q3_the_gate_stops_before_a_number_that_is_missing() -> None:
    line_of_three().when(let_in((1, ANN), (3, CAT))).then(
        on(token.stream(CODE, ANN), TokenActivated(at("12:15"))),
        on(queue.stream(CODE), QueueAdvanced(1, 1)),
    )


def test_q3_the_gate_stops_before_a_number_that_is_another_user_s() -> None:
    line_of_three().when(let_in((1, BEN), (2, ANN), (3, CAT))).then()


def test_q3_the_gate_passes_a_number_whose_token_has_ended() -> None:
    line = line_of_three().and_then(leave(ANN), leave(CAT), "12:06")
    line.when(let_in(*EVERYONE)).then(
        on(token.stream(CODE, BEN), TokenActivated(at("12:16"))),
        on(queue.stream(CODE), QueueAdvanced(3, 1)),
    )


def test_q3_the_number_of_an_earlier_token_of_someone_who_waits_again_is_passed() -> None:
    again = line_of_three().and_then(leave(ANN), join(ANN, visit=2), "12:06")
    again.when(let_in((1, ANN), (2, BEN), (3, CAT), (4, ANN))).then(
        on(token.stream(CODE, BEN), TokenActivated(at("12:16"))),
        on(token.stream(CODE, CAT), TokenActivated(at("12:16"))),
        on(token.stream(CODE, ANN), TokenActivated(at("12:16"))),
        on(queue.stream(CODE), QueueAdvanced(4, 3)),
    )


def test_q3_ended_numbers_at_the_head_are_passed_when_there_is_no_room() -> None:
    full = line_of_three(max_active=1).and_then(let_in((1, ANN)), leave(BEN))
    full.when(let_in((2, BEN), (3, CAT))).then(on(queue.stream(CODE), QueueAdvanced(2, 0)))


def test_q3_whoever_joins_in_the_same_batch_can_be_let_in_with_it() -> None:
    given(on_sale(), registered(ANN), "12:05").when(join(ANN), let_in((1, ANN))).then(
        on(token.stream(CODE, ANN), TokenIssued(token_of(ANN), ANN, CODE, 1), TokenActivated(at("12:15"))),
        on(queue.stream(CODE), NumbersIssued(1, 1), QueueAdvanced(1, 1)),
    )


def test_q3_two_timers_that_suggest_the_same_let_in_once() -> None:
    both = (
        line_of_three(max_active=2)
        .when(let_in(*EVERYONE), let_in(*EVERYONE))
        .then(
            on(token.stream(CODE, ANN), TokenActivated(at("12:15"))),
            on(token.stream(CODE, BEN), TokenActivated(at("12:15"))),
            on(queue.stream(CODE), QueueAdvanced(2, 2)),
        )
    )
    assert [answer.outcome for answer in both.answers] == [2, 0]


def test_q4_nobody_is_let_in_while_as_many_are_active_as_may_be() -> None:
    line = line_of_three(max_active=1)
    assert line.when(let_in(*EVERYONE)).outcome == 1
    line.when(let_in((2, BEN), (3, CAT))).then()


def test_q4_a_freed_slot_counts_from_the_next_batch_on() -> None:
    line = line_of_three(max_active=1).and_then(let_in((1, ANN)))
    assert line.when(leave(ANN), let_in((2, BEN))).outcome == 0
    assert line.when(let_in((2, BEN))).outcome == 1


def test_q4_no_span_of_the_interval_holds_more_activations_than_allowed() -> None:
    line = line_of_three(admit_per_interval=1, admit_interval_s=10)
    assert line.when(let_in(*EVERYONE)).outcome == 1
    line.and_then("12:05:10")
    assert line.when(let_in((2, BEN), (3, CAT))).outcome == 0
    line.and_then("12:05:10.000001")
    assert line.when(let_in((2, BEN), (3, CAT))).outcome == 1


def test_q4_activations_of_the_same_batch_count_for_the_interval() -> None:
    line = line_of_three(admit_per_interval=2)
    both = line.when(let_in((1, ANN)), let_in((2, BEN), (3, CAT)))
    assert [answer.outcome for answer in both.answers] == [1, 1]


def test_q4_nobody_is_let_in_while_as_many_are_active_as_seats_are_left() -> None:
    assert line_of_three(seats=2).when(let_in(*EVERYONE)).outcome == 2
    assert line_of_three(seats=2, admit_up_to_seats_left=False).when(let_in(*EVERYONE)).outcome == 3


def test_q4_seats_sold_count_at_once_and_the_buyer_s_slot_only_after_the_batch() -> None:
    buying = given(on_sale(seats=2), inside(ANN, balance=PRICE), waiting(BEN), reserve(ANN, 1))
    assert buying.when(pay(ANN), let_in((2, BEN))).outcome == 0
    assert buying.when(let_in((2, BEN))).outcome == 1


def test_q4_one_buyer_of_several_seats_may_leave_more_active_than_seats() -> None:
    buying = given(
        on_sale(seats=2), inside(ANN, balance=2 * PRICE), inside(BEN, 2), waiting(CAT), reserve(ANN, 1, 2)
    )
    buying.and_then(pay(ANN))
    buying.when(let_in((3, CAT))).then()


def test_q4_added_seats_count_from_the_next_batch_on() -> None:
    line = line_of_three(seats=1)
    more = schedule(seats=1, start_time="21:30")
    assert line.when(let_in((1, ANN)), more, let_in((2, BEN))).outcome == 0
    assert line.when(let_in((2, BEN), (3, CAT))).outcome == 1


def test_l2_seats_of_a_performance_that_has_begun_do_not_count_for_the_gate() -> None:
    line = line_of_three(seats=2).and_then(SHOW_STARTS_AT, withdraw())
    line.when(let_in(*EVERYONE)).then()


def test_l2_nor_do_they_before_the_timer_has_withdrawn_them() -> None:
    line_of_three(seats=2).and_then(SHOW_STARTS_AT).when(let_in(*EVERYONE)).then()
    just_before = line_of_three(seats=2).and_then(SHOW_STARTS_AT - timedelta(microseconds=1))
    assert just_before.when(let_in(*EVERYONE)).outcome == 2


def test_l1_while_sales_are_closed_nobody_is_let_in_and_no_number_is_passed() -> None:
    closed = line_of_three().and_then(leave(ANN), CloseSales(CODE))
    closed.when(let_in(*EVERYONE)).then()
    closed.and_then(OpenSales(CODE))
    assert closed.when(let_in(*EVERYONE)).outcome == 2


def test_l1_pausing_stops_letting_in_only() -> None:
    paused = given(on_sale(), inside(ANN, balance=PRICE), registered(BEN), PauseQueue(CODE))
    paused.when(join(BEN), let_in((2, BEN)), reserve(ANN, 1), pay(ANN))
    assert queue_of(paused).active == 0
    assert queue_of(paused).issued == 2
    paused.and_then(ResumeQueue(CODE))
    assert paused.when(let_in((2, BEN))).outcome == 1


def test_l1_a_paused_gate_passes_not_even_a_number_whose_token_has_ended() -> None:
    paused = line_of_three().and_then(leave(ANN), PauseQueue(CODE))
    paused.when(let_in(*EVERYONE)).then()
    assert paused.and_then(ResumeQueue(CODE)).when(let_in(*EVERYONE)).outcome == 2


def test_what_is_decided_after_a_pause_sees_it() -> None:
    line_of_three().when(PauseQueue(CODE), let_in(*EVERYONE)).then(
        on(queue.stream(CODE), queue.QueuePaused())
    )


@pytest.mark.parametrize("ending", [CloseSales(CODE), PauseQueue(CODE), change_policy(max_active=1)])
def test_what_was_decided_before_a_change_stands_in_the_same_append(ending: object) -> None:
    line = line_of_three()
    asked = line.when(let_in((1, ANN), (2, BEN)), ending, let_in((3, CAT)))  # type: ignore[arg-type]
    assert [answer.outcome for answer in asked.answers][::2] == [2, 0]
    assert len({event.recorded_at for event in asked.events}) == 1


def test_a_changed_limit_binds_later_admissions_and_earlier_ones_stay() -> None:
    line = line_of_three().and_then(let_in((1, ANN), (2, BEN)), change_policy(max_active=1))
    line.when(let_in((3, CAT))).then()
    line.and_then(change_policy(max_active=3, active_ttl_s=30), "12:06")
    line.when(let_in((3, CAT))).then(
        on(token.stream(CODE, CAT), TokenActivated(at("12:06") + timedelta(seconds=30))),
        on(queue.stream(CODE), QueueAdvanced(3, 1)),
    )


def test_there_is_no_gate_where_there_is_no_concert() -> None:
    given().when(LetIn(ConcertCode("NOWHERE"), ())).then_refused(ConcertNotFound)


def queue_of(sale: Given) -> queue.Queue:
    state: queue.Queue = sale.sale.state(queue.stream(CODE))
    return state
