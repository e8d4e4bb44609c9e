"""The line and its tokens: what boards and the timer's suggestions are made of."""

from datetime import datetime, timedelta
from uuid import UUID

import pytest

from aggregates.ids import TokenId
from aggregates.token import TokenStatus
from commands.run_sale import PauseQueue, ResumeQueue
from projections import queue
from projections.queue import Admissions, Admitted, EarlyLeaver, Line, TokenFound
from tests.aggregates.given import ANN, BEN, CODE, at, reservation_of, token_of
from tests.commands.steps import (
    CAT,
    PRICE,
    SHOW_STARTS_AT,
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
    waiting,
    withdraw,
)
from tests.projections.read_models import ReadModels


def line(read_models: ReadModels) -> Line:
    found = read_models.read(queue.find_line, CODE)
    assert found is not None
    return found


def token(read_models: ReadModels, token_id: TokenId) -> TokenFound:
    found = read_models.read(queue.find_token, token_id)
    assert found is not None
    return found


def test_a_token_waits_with_its_number(read_models: ReadModels) -> None:
    read_models.given(on_sale(), waiting(ANN), "12:30", waiting(BEN))

    found = token(read_models, token_of(BEN))

    assert found == TokenFound(
        token_id=token_of(BEN),
        user_id=BEN,
        code=CODE,
        queue_number=2,
        status=TokenStatus.WAITING,
        issued_at=at("12:30:01"),
        activated_at=None,
        active_until=None,
        reservation_id=None,
        reservation_until=None,
        ended_at=None,
        changed_position=found.changed_position,
    )
    assert (line(read_models).waiting, line(read_models).issued, line(read_models).head) == (2, 2, 0)


def test_an_activated_token_says_until_when(read_models: ReadModels) -> None:
    read_models.given(on_sale(active_ttl_s=60), waiting(ANN), waiting(BEN), "12:30", let_in((1, ANN)))

    found = token(read_models, token_of(ANN))

    assert (found.status, found.activated_at) == (TokenStatus.ACTIVE, at("12:30"))
    assert found.ends_at == found.active_until == at("12:31")
    assert (line(read_models).waiting, line(read_models).active, line(read_models).head) == (1, 1, 1)


def test_an_active_token_ends_with_its_open_reservation_if_that_is_later(read_models: ReadModels) -> None:
    read_models.given(on_sale(active_ttl_s=60, hold_ttl_s=300), inside(ANN), "12:00:30", reserve(ANN, 1))
    held = token(read_models, token_of(ANN))
    assert (held.reservation_id, held.reservation_until) == (reservation_of(ANN), at("12:05:30"))
    assert held.ends_at == at("12:05:30")

    read_models.given(release(ANN))
    released = token(read_models, token_of(ANN))
    assert (released.reservation_id, released.reservation_until) == (None, None)
    assert released.ends_at == released.active_until


def test_a_completed_token_has_ended(read_models: ReadModels) -> None:
    read_models.given(on_sale(), inside(ANN, balance=PRICE), reserve(ANN, 1), "12:04", pay(ANN))

    found = token(read_models, token_of(ANN))

    assert (found.status, found.ended_at) == (TokenStatus.COMPLETED, at("12:04"))
    assert found.reservation_id is None
    assert (line(read_models).active, line(read_models).completed, line(read_models).seats_left) == (0, 1, 49)


def test_an_expired_token_has_ended(read_models: ReadModels) -> None:
    read_models.given(on_sale(active_ttl_s=60), inside(ANN), "12:30", expire(ANN))

    assert token(read_models, token_of(ANN)).status is TokenStatus.EXPIRED
    assert (line(read_models).active, line(read_models).expired) == (0, 1)


def test_leaving_counts_the_same_for_those_who_wait_and_those_who_are_inside(read_models: ReadModels) -> None:
    read_models.given(on_sale(), inside(ANN), waiting(BEN), waiting(CAT), leave(ANN), leave(BEN))

    assert token(read_models, token_of(ANN)).status is TokenStatus.CANCELLED
    assert token(read_models, token_of(BEN)).status is TokenStatus.CANCELLED
    assert (line(read_models).waiting, line(read_models).active, line(read_models).cancelled) == (1, 0, 2)


def test_seats_left_are_those_that_the_gate_counts(read_models: ReadModels) -> None:
    read_models.given(on_sale(seats=10), schedule(seats=5, start_time="14:00"))
    assert line(read_models).seats_left == 15

    read_models.given(inside(ANN, balance=3 * PRICE), reserve(ANN, 1, 2, 3), pay(ANN))
    assert line(read_models).seats_left == 12

    read_models.given(refund(ANN))
    assert line(read_models).seats_left == 15


def test_seats_of_a_performance_that_has_begun_no_longer_count_nor_those_sold_later(
    read_models: ReadModels,
) -> None:
    read_models.given(
        on_sale(seats=10, active_ttl_s=600), schedule(seats=5, day=SHOW_STARTS_AT.date(), start_time="23:00")
    )
    read_models.given(SHOW_STARTS_AT - timedelta(seconds=10), inside(ANN, balance=PRICE), reserve(ANN, 1))
    read_models.given(SHOW_STARTS_AT, withdraw())
    assert line(read_models).seats_left == 5
    assert read_models.read(queue.lines_changed_since, 0) == [line(read_models)]

    read_models.given(pay(ANN))
    assert line(read_models).seats_left == 5


def test_the_queue_is_paused_until_it_is_resumed(read_models: ReadModels) -> None:
    read_models.given(on_sale(), PauseQueue(CODE))
    assert line(read_models).paused

    read_models.given(ResumeQueue(CODE))
    assert not line(read_models).paused


def test_next_in_line_are_those_behind_the_head_also_the_ended(read_models: ReadModels) -> None:
    read_models.given(on_sale(), inside(ANN), waiting(BEN), waiting(CAT), leave(BEN))

    behind = read_models.read(queue.in_line, CODE, after=line(read_models).head, limit=10)

    assert [(one.queue_number, one.user_id, one.status) for one in behind] == [
        (2, BEN, TokenStatus.CANCELLED),
        (3, CAT, TokenStatus.WAITING),
    ]
    assert [one.user_id for one in read_models.read(queue.in_line, CODE, after=0, limit=1)] == [ANN]


def test_early_leavers_are_forgotten_once_the_gate_has_passed_them(read_models: ReadModels) -> None:
    read_models.given(on_sale(), inside(ANN), waiting(BEN), waiting(CAT), leave(ANN), leave(BEN))
    assert read_models.read(queue.early_leavers) == [EarlyLeaver(CODE, 2)]

    read_models.given(let_in((2, BEN), (3, CAT)))
    assert read_models.read(queue.early_leavers) == []


def test_a_board_reads_active_tokens_first_and_then_what_changed(read_models: ReadModels) -> None:
    read_models.given(on_sale(), inside(ANN), waiting(BEN), waiting(CAT))
    assert [(one.queue_number, one.status) for one in read_models.read(queue.active_tokens)] == [
        (1, TokenStatus.ACTIVE)
    ]
    position = read_models.position
    assert read_models.read(queue.tokens_changed_since, position) == []

    read_models.given(join(ANN), leave(ANN), let_in((2, BEN)))

    changed = read_models.read(queue.tokens_changed_since, position)
    assert {(one.queue_number, one.status) for one in changed} == {
        (1, TokenStatus.CANCELLED),
        (2, TokenStatus.ACTIVE),
    }
    assert read_models.read(queue.tokens_changed_since, read_models.position) == []


def test_only_queues_that_changed_since_are_read_anew(read_models: ReadModels) -> None:
    read_models.given(on_sale())
    position = read_models.position
    read_models.given(change_policy(max_active=5))
    assert read_models.read(queue.lines_changed_since, position) == []

    read_models.given(waiting(ANN))
    assert read_models.read(queue.lines_changed_since, position) == [line(read_models)]
    assert read_models.read(queue.lines_changed_since, 0) == [line(read_models)]


@pytest.mark.parametrize(
    ("since", "expected"),
    [
        (at("12:00"), [Admissions(CODE, 3, at("12:10"), at("12:20"))]),
        (at("12:10"), [Admissions(CODE, 1, at("12:20"), at("12:20"))]),
        (at("12:20"), []),
    ],
)
def test_recent_admissions_are_counted(
    read_models: ReadModels, since: datetime, expected: list[Admissions]
) -> None:
    read_models.given(on_sale(), waiting(ANN), waiting(BEN), waiting(CAT))
    read_models.given("12:10", let_in((1, ANN), (2, BEN)), "12:20", let_in((3, CAT)))

    assert read_models.read(queue.admissions_since, since) == expected


def test_admissions_within_an_interval_are_judged_by_the_clock_of_the_database(
    read_models: ReadModels,
) -> None:
    read_models.given(on_sale(), inside(ANN))

    def admitted_within(interval_s: int) -> object:
        return read_models.read(queue.admitted_within, {CODE: interval_s})

    assert admitted_within(10) == [Admitted(CODE, 0)]
    assert admitted_within(2_000_000_000) == [Admitted(CODE, 1)]


def test_a_token_that_nobody_issued_is_not_found(read_models: ReadModels) -> None:
    read_models.given(on_sale())

    assert read_models.read(queue.find_token, TokenId(UUID(int=1))) is None
    assert read_models.read(queue.find_line, "NONE") is None
