"""The queue: dense numbers, and a gate that keeps its order and its limits (Q1, Q3, Q4, Q7, L1, L2)."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

import pytest
from hypothesis import example
from hypothesis import given as for_all
from hypothesis import strategies as st

from aggregates import queue
from aggregates.errors import QueueFull, TokenNotActive
from aggregates.event import Event
from aggregates.ids import performance_name
from aggregates.policy import Policy
from aggregates.queue import (
    CHUNK_LENGTH,
    POLLS_PER_SECOND_MAX,
    QUEUE,
    Draft,
    NumbersIssued,
    Queue,
    QueueAdvanced,
    QueueEvent,
    QueueOpened,
    QueuePaused,
    QueueResumed,
    SeatsAdded,
    SeatsReturned,
    SeatsSold,
    SeatsWithdrawn,
    SlotsFreed,
)
from tests.aggregates.given import EVENING, TODAY, TONIGHT, Given, Recorded, at, given

TOMORROW = TODAY + timedelta(days=1)
TOMORROW_NIGHT = performance_name(TOMORROW, EVENING)
UNLIMITED = Policy(max_active=None, admit_up_to_seats_left=False)

Change = Callable[[Draft], Draft]


def in_one_batch(line: Queue, *changes: Change) -> list[QueueEvent]:
    """What a batch records that changes the line like this, one after another."""
    draft = queue.draft(line)
    for change in changes:
        draft = change(draft)
    return queue.events(draft)


def room(line: Queue, policy: Policy, *changes: Change, now: datetime) -> int:
    """How many more may be let in, after these changes of the same batch."""
    draft = queue.draft(line)
    for change in changes:
        draft = change(draft)
    return queue.room(draft, policy, now)


def issue(draft: Draft, policy: Policy = UNLIMITED) -> Draft:
    return queue.issue_number(draft, policy)


def sell(count: int) -> Change:
    return lambda draft: queue.sell_seats(draft, TONIGHT, count)


def give_back(count: int) -> Change:
    return lambda draft: queue.return_seats(draft, TONIGHT, count)


def add(count: int) -> Change:
    return lambda draft: queue.add_seats(draft, TONIGHT, count)


def withdraw(draft: Draft) -> Draft:
    return queue.withdraw_seats(draft, TODAY, EVENING)


def seats_added(count: int) -> SeatsAdded:
    return SeatsAdded(count, {TONIGHT: count})


def seats_sold(count: int) -> SeatsSold:
    return SeatsSold(count, {TONIGHT: count})


def seats_returned(count: int) -> SeatsReturned:
    return SeatsReturned(count, {TONIGHT: count})


def a_line(*past: Event | Recorded, waiting: int = 1_000) -> Sequence[Event | Recorded]:
    return (QueueOpened(), NumbersIssued(1, waiting), *past)


def test_q1_numbers_start_at_1_and_a_batch_gives_them_out_in_its_order() -> None:
    given(QUEUE, QueueOpened()).when(in_one_batch, issue, issue, issue).then(NumbersIssued(1, 3))


def test_q1_the_next_batch_goes_on_where_the_last_one_stopped() -> None:
    given(QUEUE, QueueOpened(), NumbersIssued(1, 3)).when(in_one_batch, issue).then(NumbersIssued(4, 4))


@for_all(st.lists(st.integers(0, 20), max_size=30))
def test_q1_numbers_are_dense_over_any_batches(batches: list[int]) -> None:
    line = Queue()
    numbers: list[int] = []
    for asked in batches:
        for event in in_one_batch(line, *[issue] * asked):
            assert isinstance(event, NumbersIssued)
            numbers += range(event.first, event.last + 1)
            line = queue.evolve(line, event, at("12:00"))
    assert numbers == list(range(1, sum(batches) + 1))


@for_all(waiting=st.integers(0, 12), max_waiting=st.integers(1, 10))
def test_no_more_may_wait_than_the_policy_says(waiting: int, max_waiting: int) -> None:
    policy = Policy(max_waiting=max_waiting)
    line = given(QUEUE, QueueOpened(), NumbersIssued(1, 5 + waiting), QueueAdvanced(5, 5))
    outcome = line.when(in_one_batch, lambda draft: issue(draft, policy))
    if waiting < max_waiting:
        outcome.then(NumbersIssued(6 + waiting, 6 + waiting))
    else:
        outcome.then_refused(QueueFull, retry_after_s=200)


def test_numbers_issued_count_at_once_against_the_longest_line() -> None:
    policy = Policy(max_waiting=2)
    given(QUEUE, QueueOpened()).when(in_one_batch, *[lambda draft: issue(draft, policy)] * 3).then_refused(
        QueueFull, retry_after_s=200
    )


def test_q3_letting_in_and_passing_what_has_ended_move_the_head_by_one() -> None:
    given(QUEUE, *a_line()).when(in_one_batch, queue.let_in, queue.pass_ended, queue.let_in).then(
        QueueAdvanced(head=3, activated=2)
    )
    given(QUEUE, *a_line()).when(in_one_batch, queue.pass_ended).then(QueueAdvanced(head=1, activated=0))


def test_q4_nobody_is_let_in_past_the_end_of_the_line() -> None:
    given(QUEUE, QueueOpened()).when(room, UNLIMITED, now=at("12:00")).then_it_is(0)
    given(QUEUE, *a_line(waiting=3)).when(room, UNLIMITED, now=at("12:00")).then_it_is(3)


@for_all(active=st.integers(0, 20), max_active=st.integers(1, 20))
def test_q4_no_more_are_let_in_than_may_be_active(active: int, max_active: int) -> None:
    policy = Policy(max_active=max_active, admit_up_to_seats_left=False)
    line = given(QUEUE, *a_line(QueueAdvanced(active, active)))
    line.when(room, policy, now=at("12:00")).then_it_is(max(0, max_active - active))


@for_all(active=st.integers(0, 20), seats=st.integers(1, 20), sold=st.integers(0, 20))
def test_q4_no_more_are_let_in_than_there_are_unsold_seats(active: int, seats: int, sold: int) -> None:
    sold = min(sold, seats)
    line = given(QUEUE, *a_line(seats_added(seats), QueueAdvanced(active, active), seats_sold(sold)))
    line.when(room, Policy(max_active=None), now=at("12:00")).then_it_is(max(0, seats - sold - active))


def test_q4_all_limits_hold_at_once() -> None:
    line = given(QUEUE, *a_line(seats_added(7), waiting=50))
    everything = Policy(max_active=5, admit_per_interval=3, max_waiting=100)
    line.when(room, everything, now=at("12:00")).then_it_is(3)
    line.when(room, Policy(max_active=5), now=at("12:00")).then_it_is(5)
    line.when(room, Policy(max_active=10), now=at("12:00")).then_it_is(7)


def test_q4_admissions_and_sales_of_a_batch_count_at_once() -> None:
    line = given(QUEUE, *a_line(seats_added(10)))
    line.when(room, Policy(), queue.let_in, queue.let_in, now=at("12:00")).then_it_is(8)
    line.when(room, Policy(), sell(4), now=at("12:00")).then_it_is(6)


def test_q4_what_makes_room_counts_from_the_next_batch_on() -> None:
    full = given(QUEUE, *a_line(seats_added(10), QueueAdvanced(10, 10)))
    for makes_room in (queue.free_slot, add(5)):
        full.when(room, Policy(), makes_room, now=at("12:00")).then_it_is(0)
    sold_out = given(QUEUE, *a_line(seats_added(10), seats_sold(10)))
    sold_out.when(room, Policy(), give_back(2), now=at("12:00")).then_it_is(0)
    given(QUEUE, *a_line(seats_added(10), QueueAdvanced(10, 10), SlotsFreed(1))).when(
        room, Policy(), now=at("12:00")
    ).then_it_is(1)


def test_q4_admissions_of_a_batch_count_in_its_interval() -> None:
    policy = Policy(max_active=None, admit_up_to_seats_left=False, admit_per_interval=3)
    line = given(QUEUE, *a_line(Recorded(QueueAdvanced(1, 1), at("12:00"))))
    line.when(room, policy, queue.let_in, now=at("12:00:05")).then_it_is(1)


@pytest.mark.parametrize(("now", "free"), [("12:00:10", 0), ("12:00:10.000001", 3)])
def test_q4_both_ends_belong_to_an_interval(now: str, free: int) -> None:
    policy = Policy(max_active=None, admit_up_to_seats_left=False, admit_per_interval=3, admit_interval_s=10)
    line = given(QUEUE, *a_line(Recorded(QueueAdvanced(3, 3), at("12:00"))))
    line.when(room, policy, now=at(now)).then_it_is(free)


admissions = st.lists(st.tuples(st.integers(1, 400), st.integers(1, 5)), max_size=60)


@for_all(admissions=admissions, interval_s=st.integers(1, 3_600), later_s=st.integers(0, 3_700))
def test_q4_room_is_what_the_interval_up_to_now_leaves(
    admissions: list[tuple[int, int]], interval_s: int, later_s: int
) -> None:
    line, recorded = _admit(admissions)
    now = (recorded[-1][0] if recorded else at("00:00")) + timedelta(seconds=later_s)
    since = now - timedelta(seconds=interval_s)
    policy = Policy(
        max_active=None, admit_up_to_seats_left=False, admit_per_interval=500, admit_interval_s=interval_s
    )
    admitted = sum(count for when, count in recorded if since <= when)
    Given(line).when(room, policy, now=now).then_it_is(500 - admitted)


@for_all(interval_s=st.integers(1, 3_600))
def test_q4_an_interval_may_span_many_hundreds_of_admissions(interval_s: int) -> None:
    line, recorded = LONG_EVENING
    now = recorded[-1][0]
    policy = Policy(
        max_active=None, admit_up_to_seats_left=False, admit_per_interval=5_000, admit_interval_s=interval_s
    )
    admitted = sum(count for when, count in recorded if now - timedelta(seconds=interval_s) <= when)
    Given(line).when(room, policy, now=now).then_it_is(5_000 - admitted)


def test_q4_admissions_older_than_the_longest_interval_are_forgotten() -> None:
    line, recorded = LONG_EVENING
    remembered = [(admission.at, admission.count) for run in line.recent for admission in run]
    horizon = recorded[-1][0] - timedelta(hours=1)
    within_the_hour = [entry for entry in recorded if horizon <= entry[0]]
    assert remembered == recorded[-len(remembered) :]
    assert len(within_the_hour) <= len(remembered) < len(within_the_hour) + CHUNK_LENGTH
    assert max(len(run) for run in line.recent) == CHUNK_LENGTH


def _admit(admissions: Sequence[tuple[int, int]]) -> tuple[Queue, list[tuple[datetime, int]]]:
    """A line that was admitted to after each of these pauses; with the times and numbers of admissions."""
    line, now, recorded = Queue(issued=10_000), at("00:00"), []
    for pause_s, count in admissions:
        now += timedelta(seconds=pause_s)
        line = queue.evolve(line, QueueAdvanced(line.head + count, count), now)
        recorded.append((now, count))
    return line, recorded


LONG_EVENING = _admit([(3 + second % 3, 1 + second % 2) for second in range(2_000)])
"""2,000 admissions within more than two hours: 900 in its last hour."""


def test_q4_a_paused_queue_lets_nobody_in() -> None:
    given(QUEUE, *a_line(QueuePaused())).when(room, UNLIMITED, now=at("12:00")).then_it_is(0)
    given(QUEUE, *a_line(QueuePaused(), QueueResumed(), waiting=9)).when(
        room, UNLIMITED, now=at("12:00")
    ).then_it_is(9)


def test_l1_pausing_and_resuming_again_change_nothing() -> None:
    given(QUEUE, *a_line()).when(in_one_batch, queue.pause).then(QueuePaused())
    given(QUEUE, *a_line(QueuePaused())).when(in_one_batch, queue.pause).then()
    given(QUEUE, *a_line(QueuePaused())).when(in_one_batch, queue.resume).then(QueueResumed())
    given(QUEUE, *a_line()).when(in_one_batch, queue.resume).then()


def test_l1_a_paused_queue_still_takes_people_into_the_line() -> None:
    given(QUEUE, *a_line(QueuePaused(), waiting=3)).when(in_one_batch, issue).then(NumbersIssued(4, 4))


def test_q6_the_end_of_active_tokens_frees_their_slots() -> None:
    line = given(QUEUE, *a_line(QueueAdvanced(5, 5)))
    line.when(in_one_batch, queue.free_slot, queue.free_slot).then(SlotsFreed(2))
    assert given(QUEUE, *a_line(QueueAdvanced(5, 5), SlotsFreed(2))).state.active == 3


def test_p1_sold_seats_leave_the_gate_fewer() -> None:
    line = given(QUEUE, *a_line(seats_added(10)))
    line.when(in_one_batch, sell(1), sell(2)).then(seats_sold(3))
    assert given(QUEUE, *a_line(seats_added(10), seats_sold(3))).state.seats_left == 7


def test_p4_refunded_seats_are_unsold_again() -> None:
    line = given(QUEUE, *a_line(seats_added(10), seats_sold(3)))
    line.when(in_one_batch, give_back(2)).then(seats_returned(2))
    assert given(QUEUE, *a_line(seats_added(10), seats_sold(3), seats_returned(2))).state.seats_left == 9


def test_l2_the_unsold_seats_of_a_performance_that_has_begun_no_longer_count() -> None:
    line = given(QUEUE, *a_line(seats_added(10), seats_sold(3)))
    line.when(in_one_batch, withdraw).then(SeatsWithdrawn(TODAY, EVENING, 7))
    begun = given(QUEUE, *a_line(seats_added(10), seats_sold(3), SeatsWithdrawn(TODAY, EVENING, 7)))
    assert begun.state.seats_left == 0
    begun.when(in_one_batch, withdraw).then()


def test_l2_what_is_sold_of_a_performance_that_has_begun_does_not_count_twice() -> None:
    more = SeatsAdded(5, {TOMORROW_NIGHT: 5})
    begun = (seats_added(10), more, SeatsWithdrawn(TODAY, EVENING, 10))
    given(QUEUE, *a_line(*begun)).when(in_one_batch, sell(2)).then(seats_sold(2))
    assert given(QUEUE, *a_line(*begun, seats_sold(2))).state.seats_left == 5
    assert given(QUEUE, *a_line(*begun, seats_sold(2), seats_returned(2))).state.seats_left == 5


@pytest.mark.parametrize("changes", [[withdraw, sell(2)], [sell(2), withdraw]])
def test_l2_the_withdrawn_are_counted_after_all_sales_of_the_batch(changes: list[Change]) -> None:
    given(QUEUE, *a_line(seats_added(10))).when(in_one_batch, *changes).then(
        seats_sold(2), SeatsWithdrawn(TODAY, EVENING, 8)
    )


def test_l2_a_batch_withdraws_one_performance_and_the_next_batch_another() -> None:
    added = SeatsAdded(15, {TONIGHT: 10, TOMORROW_NIGHT: 5})
    changes = (withdraw, lambda draft: queue.withdraw_seats(draft, TOMORROW, EVENING))
    tonight = SeatsWithdrawn(TODAY, EVENING, 10)
    given(QUEUE, *a_line(added)).when(in_one_batch, *changes).then(tonight)
    given(QUEUE, *a_line(added, tonight)).when(in_one_batch, *changes).then(
        SeatsWithdrawn(TOMORROW, EVENING, 5)
    )


def test_a_line_is_opened_with_its_concert() -> None:
    given(QUEUE).when(in_one_batch, queue.open_line).then(QueueOpened())
    assert given(QUEUE, QueueOpened()).state.opened


def test_a_batch_records_one_event_of_each_kind_in_the_order_of_the_rules_page() -> None:
    line = given(QUEUE, *a_line(seats_added(10), QueueAdvanced(2, 2), waiting=5))
    line.when(
        in_one_batch,
        queue.pause,
        withdraw,
        lambda draft: queue.add_seats(draft, TOMORROW_NIGHT, 5),
        give_back(1),
        queue.free_slot,
        sell(2),
        queue.let_in,
        issue,
        give_back(1),
        queue.free_slot,
        sell(1),
        queue.pass_ended,
        issue,
    ).then(
        NumbersIssued(6, 7),
        QueueAdvanced(4, 1),
        seats_sold(3),
        SlotsFreed(2),
        seats_returned(2),
        SeatsAdded(5, {TOMORROW_NIGHT: 5}),
        SeatsWithdrawn(TODAY, EVENING, 9),
        QueuePaused(),
    )


def test_a_batch_that_changes_nothing_records_nothing() -> None:
    given(QUEUE, *a_line()).when(in_one_batch).then()


def test_q4_an_admission_of_exactly_an_hour_ago_counts_for_the_longest_interval() -> None:
    hourly = Policy(
        max_active=None, admit_up_to_seats_left=False, admit_per_interval=2, admit_interval_s=3_600
    )
    admitted = (Recorded(QueueAdvanced(1, 1), at("12:00")), Recorded(QueueAdvanced(2, 1), at("13:00")))
    line = given(QUEUE, *a_line(waiting=9), *admitted)
    line.when(room, hourly, now=at("13:00")).then_it_is(0)
    line.when(room, hourly, now=at("13:00:00.000001")).then_it_is(1)


def test_q4_only_what_is_older_than_an_hour_is_forgotten() -> None:
    times = ["12:00"] * CHUNK_LENGTH + ["12:30"] * CHUNK_LENGTH + ["13:15"] * 2
    admitted = [Recorded(QueueAdvanced(head, 1), at(clock)) for head, clock in enumerate(times, start=1)]
    recent = given(QUEUE, *admitted).state.recent
    assert sum(len(run) for run in recent) == CHUNK_LENGTH + 2


def test_q3_passing_what_has_ended_lets_nobody_in() -> None:
    assert given(QUEUE, *a_line(QueueAdvanced(1, 0))).state.recent == ()


def test_admissions_are_kept_in_runs_of_bounded_length() -> None:
    admitted = [QueueAdvanced(head, 1) for head in range(1, 2 * CHUNK_LENGTH + 2)]
    runs = given(QUEUE, *admitted).state.recent
    assert [len(run) for run in runs] == [CHUNK_LENGTH, CHUNK_LENGTH, 1]


@pytest.mark.parametrize(
    ("ahead", "waiting", "ms"),
    [
        (0, 1, 1_000),
        (500, 1_000, 1_000),
        (501, 1_000, 1_002),
        (10_000, 10_001, 20_000),
        (0, 10_000, 2_000),
        (0, 10_001, 2_001),
        (0, 1_000_000, 200_000),
        (900_000, 1_100_000, 200_000),
    ],
)
def test_those_further_back_and_in_longer_lines_ask_later(ahead: int, waiting: int, ms: int) -> None:
    asked = queue.poll_after_ms(ahead, waiting)
    assert asked == ms
    assert isinstance(asked, int)


def test_q7_a_waiting_user_is_told_their_place_and_when_to_ask_again() -> None:
    def ask(line: Queue, queue_number: int) -> None:
        raise queue.still_waiting(line, queue_number)

    short = given(QUEUE, *a_line(QueueAdvanced(10, 10), waiting=100))
    short.when(ask, 11).then_refused(TokenNotActive, place=1, retry_after_s=1)
    long = given(QUEUE, *a_line(QueueAdvanced(10, 10), waiting=1_000_010))
    long.when(ask, 500_000).then_refused(TokenNotActive, place=499_990, retry_after_s=200)


@for_all(place=st.integers(1, 110_000), waiting=st.integers(1, 1_100_000))
@example(place=501, waiting=600)
@example(place=502, waiting=600)
@example(place=1, waiting=5_001)
def test_q7_a_waiting_user_asks_again_in_the_first_second_in_which_that_is_welcome(
    place: int, waiting: int
) -> None:
    line = Queue(opened=True, issued=max(place, waiting))
    retry_after_s = queue.still_waiting(line, place).retry_after_s
    assert retry_after_s is not None
    welcome_after_ms = queue.poll_after_ms(ahead=place - 1, waiting=line.waiting)
    assert (retry_after_s - 1) * 1_000 < welcome_after_ms <= retry_after_s * 1_000


@pytest.mark.parametrize("waiting", [1, 4_999, 5_000, 5_001, 9_999, 12_345, 100_000, 1_000_000])
def test_a_line_of_up_to_a_million_asks_no_more_than_5_000_times_a_second(waiting: int) -> None:
    asks_per_second = sum(1_000 / queue.poll_after_ms(ahead, waiting) for ahead in range(waiting))
    assert asks_per_second <= POLLS_PER_SECOND_MAX + 1e-6


@for_all(waiting=st.integers(1, 1_000_000), share=st.floats(0, 1, exclude_max=True))
def test_everyone_in_line_keeps_to_their_share_of_5_000_asks_a_second(waiting: int, share: float) -> None:
    ahead = int(waiting * share)
    assert queue.poll_after_ms(ahead, waiting) * POLLS_PER_SECOND_MAX >= waiting * 1_000


@for_all(ahead=st.integers(0, 100_000_000), waiting=st.integers(0, 100_000_000))
def test_the_time_between_asks_is_1_to_200_seconds_and_grows_with_distance_and_length(
    ahead: int, waiting: int
) -> None:
    asked = queue.poll_after_ms(ahead, waiting)
    assert 1_000 <= asked <= 200_000
    assert asked <= queue.poll_after_ms(ahead + 1_000, waiting)
    assert asked <= queue.poll_after_ms(ahead, waiting + 1_000)


def test_p1_seats_sold_in_the_batch_that_adds_them_are_counted_once() -> None:
    sold_before_added = given(QUEUE, QueueOpened(), seats_sold(2), seats_added(10))
    assert sold_before_added.state.seats_left == 8
