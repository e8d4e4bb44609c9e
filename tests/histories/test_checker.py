"""Every check is seen to pass a history that the rules explain, and to fail one that they do not."""

from collections.abc import Callable

import msgspec
import pytest

from tests.histories.checker import check
from tests.histories.record import Call
from tests.histories.story import HOLD_S, PRICE, Story, moment

ANN, BEN, CAT = "ann", "ben", "cat"


def a_whole_sale() -> Story:
    """Two race for a seat, one pays, gives it back, and the other gets it at last."""
    story = Story()
    story.announce((0, 0.1), max_active=2)
    story.join(ANN, 1, (1, 1.2))
    story.join(BEN, 2, (1.3, 1.5))
    story.poll(ANN, 1, "ACTIVE", (1.6, 1.7))
    story.poll(BEN, 2, "ACTIVE", (1.6, 1.7))
    story.reserve(ANN, [1, 2], (2, 3))
    story.reserve(BEN, [2, 3], (2.5, 3.5), error="SEAT_ALREADY_HELD", blocked=[2])
    story.seats((3.6, 3.7), "HELD", "HELD", "AVAILABLE", held_until=2.5 + HOLD_S)
    story.dates((3.6, 3.7), 1, 2, 0)
    story.charge(ANN, 2 * PRICE, (4, 4.1), balance=2 * PRICE)
    story.pay(ANN, [1, 2], (5, 5.1))
    story.reserve(BEN, [2, 3], (5.5, 5.6), error="SEAT_ALREADY_SOLD", blocked=[2])
    story.refund(ANN, [1, 2], (6, 6.1), balance=2 * PRICE)
    story.reserve(BEN, [2, 3], (7, 7.1))
    story.release(BEN, (8, 8.1))
    story.seats((9, 9.1), "AVAILABLE", "AVAILABLE", "AVAILABLE")
    story.entries(
        ANN,
        (110, "CHARGED", 2 * PRICE, 2 * PRICE),
        (111, "DEBITED", 2 * PRICE, 0),
        (113, "REFUNDED", 2 * PRICE, 2 * PRICE),
        at=(10, 10.1),
    )
    story.wallet(ANN, 2 * PRICE, (10, 10.1))
    return story


def what_lapses_is_free_before_anyone_records_it() -> Story:
    story = Story()
    story.reserve(ANN, [1], (1, 1.2), until=3)
    story.release(ANN, (4, 4.1), error="RESERVATION_NOT_OPEN")
    story.seats((4, 4.1), "HELD", "AVAILABLE", "AVAILABLE", held_until=3)
    story.reserve(BEN, [1], (4, 4.2))
    return story


def what_nobody_was_told_of_may_have_happened() -> Story:
    story = Story()
    story.reserve(ANN, [1], (1, None))
    story.reserve(BEN, [1], (2, 2.1), error="SEAT_ALREADY_HELD", blocked=[1])
    story.charge(ANN, PRICE, (3, None), balance=0)
    story.charge(ANN, 5, (4, 4.1), balance=PRICE + 5)
    story.pay(ANN, [1], (5, 5.1), balance=5)
    story.refund(ANN, [1], (6, None))
    story.reserve(CAT, [1], (7, 7.1))
    return story


def what_nobody_was_told_of_may_not_have_happened() -> Story:
    story = Story()
    story.reserve(ANN, [1], (1, None))
    story.charge(ANN, PRICE, (1, None), balance=0)
    story.reserve(BEN, [1], (2, 2.1))
    story.charge(ANN, 5, (4, 4.1), balance=5)
    story.join(CAT, 1, (5, None))
    story.join(BEN, 1, (6, 6.1))
    return story


def a_payment_that_fails_may_release_what_was_held() -> Story:
    story = Story()
    story.charge(ANN, 5, (0.1, 0.5), balance=5)
    story.reserve(ANN, [1], (1, 1.1))
    story.pay(ANN, [1], (2, 2.1), balance=5, error="INSUFFICIENT_BALANCE")
    story.reserve(BEN, [1], (3, 3.1))
    return story


def whoever_leaves_releases_what_they_held() -> Story:
    story = Story()
    story.reserve(ANN, [1, 2], (1, 1.1))
    story.reserve(BEN, [2], (2.05, 2.2), error="SEAT_ALREADY_HELD", blocked=[2])
    story.leave(ANN, (2, 2.1))
    story.reserve(CAT, [1], (3, 3.1))
    return story


def a_repeat_is_one_command() -> Story:
    story = Story()
    first = story.charge(ANN, 5, (1, None), balance=5, key="k")
    story.charge(ANN, 5, (2, 2.1), balance=5, key="k")
    story.charge(ANN, 5, (3, 3.1), balance=5, key="k", position=102)
    story.charge(ANN, 1, (4, 4.1), balance=6)
    assert first.answered is None
    return story


@pytest.mark.parametrize(
    "good",
    [
        a_whole_sale,
        what_lapses_is_free_before_anyone_records_it,
        what_nobody_was_told_of_may_have_happened,
        what_nobody_was_told_of_may_not_have_happened,
        a_payment_that_fails_may_release_what_was_held,
        whoever_leaves_releases_what_they_held,
        a_repeat_is_one_command,
    ],
)
def test_a_history_that_the_rules_explain_is_passed(good: Callable[[], Story]) -> None:
    assert check(good().history) == []


def s1_one_seat_held_twice() -> Story:
    story = Story()
    story.reserve(ANN, [1], (1, 2))
    story.reserve(BEN, [1], (3, 4))
    return story


def s1_a_hold_over_a_sale() -> Story:
    story = Story()
    story.charge(ANN, PRICE, (0, 0.5), balance=PRICE)
    story.reserve(ANN, [1], (1, 2))
    story.pay(ANN, [1], (3, 4))
    story.reserve(BEN, [1], (5, 6))
    return story


def s1_refused_though_free() -> Story:
    story = Story()
    story.reserve(BEN, [1], (1, 2), error="SEAT_ALREADY_HELD", blocked=[1])
    return story


def s1_refused_for_a_hold_that_was_released_long_ago() -> Story:
    story = Story()
    story.reserve(ANN, [1], (1, 2))
    story.release(ANN, (3, 4))
    story.reserve(BEN, [1], (5, 6), error="SEAT_ALREADY_HELD", blocked=[1])
    return story


def s1_not_named_among_those_in_the_way() -> Story:
    story = Story()
    story.reserve(ANN, [1, 2], (1, 2))
    story.reserve(BEN, [1, 2], (3, 4), error="SEAT_ALREADY_HELD", blocked=[1])
    return story


def s1_held_by_two_at_once_in_overlapping_calls() -> Story:
    story = Story()
    story.reserve(ANN, [1], (1, 3), until=60)
    story.reserve(BEN, [1], (2, 4), until=60)
    return story


def s2_taken_before_the_deadline() -> Story:
    story = Story()
    story.reserve(ANN, [1], (1, 1.2), until=3)
    story.reserve(BEN, [1], (2.8, 3.5), decided=2.9)
    return story


def s2_refused_after_the_deadline() -> Story:
    story = Story()
    story.reserve(ANN, [1], (1, 1.2), until=3)
    story.reserve(BEN, [1], (3.5, 3.6), error="SEAT_ALREADY_HELD", blocked=[1])
    return story


def s1_in_time_but_not_in_the_log() -> Story:
    story = Story()
    story.reserve(ANN, [1], (1, 5), decided=2, position=103)
    story.reserve(BEN, [1], (1, 5), error="SEAT_ALREADY_HELD", blocked=[1], position=102)
    return story


def p2_paid_after_the_deadline() -> Story:
    story = Story()
    story.charge(ANN, PRICE, (0, 0.5), balance=PRICE)
    story.reserve(ANN, [1], (1, 1.2), until=3)
    story.pay(ANN, [1], (2.9, 3.5), decided=3.2)
    return story


def p2_failed_after_the_deadline_as_the_log_shows() -> Story:
    """It may have been in time between call and answer, but in the log it stands after what was not."""
    story = Story()
    story.reserve(ANN, [1], (1, 1.2), until=3)
    story.reserve(BEN, [2], (2.5, 4), decided=3.5)
    story.pay(ANN, [1], (2.5, 4), error="INSUFFICIENT_BALANCE")
    return story


def time_runs_backwards_in_the_log() -> Story:
    story = Story()
    story.reserve(ANN, [1], (1, 5), decided=4)
    story.reserve(BEN, [2], (1, 5), decided=3)
    return story


def p1_paid_for_nothing_held() -> Story:
    story = Story()
    story.charge(ANN, PRICE, (0, 0.5), balance=PRICE)
    story.pay(ANN, [1], (1, 2))
    return story


def p4_given_back_twice() -> Story:
    story = a_whole_sale()
    story.refund(ANN, [1, 2], (20, 20.1), balance=4 * PRICE)
    return story


def w1_a_charge_that_was_lost() -> Story:
    story = Story()
    story.charge(ANN, 10, (1, 2), balance=10)
    story.charge(ANN, 5, (3, 4), balance=5)
    return story


def w1_a_charge_without_an_answer_counted_twice() -> Story:
    story = Story()
    story.charge(ANN, 10, (1, None), balance=0)
    story.charge(ANN, 5, (3, 4), balance=25)
    return story


def w1_two_charges_that_each_saw_the_same_balance() -> Story:
    story = Story()
    story.charge(ANN, 10, (1, 4), balance=10)
    story.charge(ANN, 10, (2, 3), balance=10)
    return story


def w1_refused_with_money_enough() -> Story:
    story = Story()
    story.charge(ANN, PRICE, (1, 2), balance=PRICE)
    story.pay(ANN, [1], (3, 4), balance=PRICE, error="INSUFFICIENT_BALANCE", body={})
    return story


def w1_an_answered_charge_without_an_entry() -> Story:
    story = Story()
    story.charge(ANN, 10, (1, 2), balance=10)
    story.entries(ANN, at=(3, 4))
    return story


def w1_an_entry_that_nobody_asked_for() -> Story:
    story = Story()
    story.charge(ANN, 10, (1, 2), balance=10)
    story.entries(ANN, (101, "CHARGED", 10, 10), (102, "CHARGED", 10, 20), at=(3, 4))
    return story


def w1_entries_that_do_not_add_up() -> Story:
    story = Story()
    story.entries(ANN, (101, "CHARGED", 10, 10), (102, "CHARGED", 10, 19), at=(3, 4))
    return story


def w1_an_entry_that_changes() -> Story:
    story = Story()
    story.charge(ANN, 10, (1, 2), balance=10)
    story.entries(ANN, (101, "CHARGED", 10, 10), at=(3, 4))
    story.entries(ANN, (101, "CHARGED", 11, 11), at=(3, 4))
    return story


def w1_a_balance_that_never_was() -> Story:
    story = Story()
    story.charge(ANN, 10, (1, 2), balance=10)
    story.wallet(ANN, 7, (3, 4))
    story.entries(ANN, (101, "CHARGED", 10, 10), at=(5, 6))
    return story


def w1_a_balance_of_before_its_position() -> Story:
    story = Story()
    story.charge(ANN, 10, (1, 2), balance=10)
    story.wallet(ANN, 0, (3, 4))
    story.entries(ANN, (101, "CHARGED", 10, 10), at=(5, 6))
    return story


def q1_one_number_for_two() -> Story:
    story = Story()
    story.join(ANN, 1, (1, 2))
    story.join(BEN, 1, (1, 2))
    return story


def q1_a_gap() -> Story:
    story = Story()
    story.join(ANN, 1, (1, 2))
    story.join(BEN, 3, (3, 4))
    return story


def q1_asked_later_and_stands_earlier() -> Story:
    story = Story()
    story.join(ANN, 2, (1, 2), position=102)
    story.join(BEN, 1, (3, 4), position=103)
    return story


def q1_numbers_against_the_log() -> Story:
    story = Story()
    story.join(ANN, 2, (1, 4), position=101)
    story.join(BEN, 1, (2, 5), position=102)
    return story


def q3_let_in_before_a_lower_number() -> Story:
    story = Story()
    story.join(ANN, 1, (1, 2))
    story.join(BEN, 2, (3, 4))
    story.poll(BEN, 2, "ACTIVE", (5, 6), position=110)
    story.poll(ANN, 1, "WAITING", (5, 6), position=110)
    return story


def q3_reserves_before_a_lower_number() -> Story:
    story = Story()
    story.join(ANN, 1, (1, 2))
    story.join(BEN, 2, (3, 4))
    story.reserve(BEN, [1], (5, 6))
    story.reserve(ANN, [2], (7, 8), error="TOKEN_NOT_ACTIVE")
    story.calls[-1] = msgspec.structs.replace(
        story.calls[-1],
        status=403,
        answer=story.calls[-1].answer.replace("409", "403").replace('"code"', '"place":1,"code"'),
    )
    return story


def q4_more_active_than_allowed() -> Story:
    story = Story()
    story.announce((0, 0.5), max_active=1)
    for number, who in enumerate([ANN, BEN], 1):
        story.join(who, number, (number, number + 0.5))
        story.poll(who, number, "ACTIVE", (4, 5))
    return story


def l1_joined_while_sales_were_closed() -> Story:
    story = Story()
    story.switch("open", (1, 2))
    story.switch("close", (3, 4))
    story.join(ANN, 1, (5, 6))
    story.switch("open", (7, 8))
    return story


def l2_reserved_after_it_had_begun() -> Story:
    story = Story()
    story.schedule((1, 2), starts_at=3)
    story.reserve(ANN, [1], (3.5, 4))
    return story


def s4_more_seats_than_one_may_have() -> Story:
    story = Story()
    story.announce((0, 0.5), max_seats_per_user=1)
    story.charge(ANN, 2 * PRICE, (0, 0.5), balance=2 * PRICE)
    story.reserve(ANN, [1, 2], (1, 2))
    story.pay(ANN, [1, 2], (3, 4))
    return story


def s4_a_refund_counts_for_its_own_concert() -> Story:
    story = s4_more_seats_than_one_may_have()
    story.calls.pop()
    story.pay(ANN, [1, 2], (3, 4))
    refunded = story.refund(ANN, [1, 2], (2, 4), balance=2 * PRICE)
    story.calls[-1] = msgspec.structs.replace(refunded, answer=refunded.answer.replace("EVENING", "OTHER"))
    return story


def s5_two_open_reservations_of_one_token() -> Story:
    story = Story()
    story.reserve(ANN, [1], (1, 2), name="one")
    story.reserve(ANN, [2], (3, 4), name="two")
    return story


def i1_a_repeat_with_another_body() -> Story:
    story = Story()
    story.charge(ANN, 5, (1, 1.1), balance=5, key="k", position=101)
    story.charge(ANN, 5, (2, 2.1), balance=10, key="k", position=101)
    return story


def i1_a_repeat_with_another_position() -> Story:
    story = Story()
    story.charge(ANN, 5, (1, 1.1), balance=5, key="k", position=101)
    story.charge(ANN, 5, (2, 2.1), balance=5, key="k", position=102)
    return story


def i2_a_key_for_two_requests() -> Story:
    story = Story()
    story.charge(ANN, 5, (1, 1.1), balance=5, key="k")
    story.charge(ANN, 6, (2, 2.1), balance=11, key="k")
    return story


def api_positions_against_real_time() -> Story:
    story = Story()
    story.charge(ANN, 5, (1, 2), balance=5, position=105)
    story.charge(BEN, 5, (3, 4), balance=5, position=104)
    return story


def api_two_commands_at_one_position_one_after_another() -> Story:
    story = Story()
    story.charge(ANN, 5, (1, 2), balance=5, position=105)
    story.charge(BEN, 5, (3, 4), balance=5, position=105)
    return story


def api_a_read_behind_what_was_asked_for() -> Story:
    story = Story()
    story.poll(ANN, 1, "WAITING", (1, 2), position=100, min_position=101)
    return story


def api_a_seat_map_behind_its_position() -> Story:
    story = Story()
    story.reserve(ANN, [1], (1, 2))
    story.seats((3, 4), "AVAILABLE", "AVAILABLE", "AVAILABLE")
    return story


def api_a_seat_map_of_two_moments() -> Story:
    story = Story()
    story.reserve(ANN, [1], (1, 2), position=101)
    story.release(ANN, (3, 4), position=102)
    story.reserve(BEN, [2], (5, 6), until=200, position=103)
    story.seats((7, 8), "HELD", "HELD", "AVAILABLE", position=100)
    return story


def api_a_hold_that_nobody_has() -> Story:
    story = Story()
    story.reserve(ANN, [1], (1, 2), until=60)
    story.seats((3, 4), "HELD", "AVAILABLE", "AVAILABLE", held_until=61)
    return story


def api_a_date_of_no_moment() -> Story:
    story = Story()
    story.reserve(ANN, [1, 2], (1, 2))
    story.dates((3, 4), 2, 1, 0)
    return story


def api_a_date_that_does_not_add_up() -> Story:
    story = Story()
    story.reserve(ANN, [1, 2], (1, 2))
    story.dates((3, 4), 2, 2, 0)
    return story


def api_a_paid_reservation_still_open() -> Story:
    story = Story()
    story.charge(ANN, PRICE, (0, 0.5), balance=PRICE)
    opened = story.reserve(ANN, [1], (1, 2))
    story.pay(ANN, [1], (3, 4))
    story.reservation(ANN, opened, (5, 6))
    return story


def api_a_released_reservation_still_open() -> Story:
    story = Story()
    opened = story.reserve(ANN, [1], (1, 2))
    story.release(ANN, (3, 4))
    story.reservation(ANN, opened, (5, 6))
    return story


def api_a_lapsed_reservation_still_open() -> Story:
    story = Story()
    opened = story.reserve(ANN, [1], (1, 1.1), until=2)
    story.reservation(ANN, opened, (5, 6))
    return story


def api_a_reservation_cancelled_by_nobody() -> Story:
    story = Story()
    opened = story.reserve(ANN, [1], (1, 2))
    story.reservation(ANN, opened, (5, 6), status="CANCELLED")
    return story


def api_a_reservation_that_expired_early() -> Story:
    story = Story()
    opened = story.reserve(ANN, [1], (1, 2))
    story.reservation(ANN, opened, (5, 6), status="EXPIRED")
    return story


def api_a_reservation_of_other_seats() -> Story:
    story = Story()
    opened = story.reserve(ANN, [1], (1, 2))
    story.reservation(ANN, opened, (5, 6), seat_numbers=[2])
    return story


def api_a_refund_that_is_not_shown() -> Story:
    story = Story()
    story.charge(ANN, PRICE, (0, 0.5), balance=PRICE)
    story.reserve(ANN, [1], (1, 2))
    paid = story.pay(ANN, [1], (3, 4))
    story.refund(ANN, [1], (5, 6))
    story.payment(ANN, paid, (7, 8))
    return story


def api_a_refund_that_nobody_asked_for() -> Story:
    story = Story()
    story.charge(ANN, PRICE, (0, 0.5), balance=PRICE)
    story.reserve(ANN, [1], (1, 2))
    paid = story.pay(ANN, [1], (3, 4))
    story.payment(ANN, paid, (7, 8), status="REFUNDED", refunded_at=moment(5))
    return story


def time_of_a_clock_that_jumps() -> Story:
    story = Story()
    story.reserve(ANN, [1], (1, 2), decided=1.5)
    story.reserve(BEN, [2], (3, 4), decided=1.5)
    return story


def _forged(**changes: object) -> Story:
    story = Story()
    call = story.wallet(ANN, 5, (1, 2))
    story.calls = [msgspec.structs.replace(call, **changes)]
    return story


def api_an_internal_error() -> Story:
    story = Story()
    story.charge(ANN, 5, (1, 2), balance=5, error="INTERNAL_ERROR")
    story.calls = [msgspec.structs.replace(story.calls[0], status=500)]
    return story


def api_no_problem_document() -> Story:
    return _forged(status=502, answer="Bad Gateway", content_type="text/html")


def api_an_undocumented_status() -> Story:
    return _forged(status=206)


def api_a_field_too_many() -> Story:
    return _forged(answer='{"user_id":"a","balance":5,"secret":1}')


def api_a_negative_balance() -> Story:
    return _forged(answer='{"user_id":"4bb1ee3c-5a30-4c5b-9c2a-6b0d3c0b7a11","balance":-5}')


def api_no_position() -> Story:
    return _forged(position=None)


def api_no_retry_after() -> Story:
    story = Story()
    story.charge(ANN, 5, (1, 2), balance=5, error="OVERLOADED")
    story.calls = [msgspec.structs.replace(story.calls[0], status=503)]
    return story


def api_a_word_that_is_not_documented() -> Story:
    story = Story()
    story.poll(ANN, 1, "DREAMING", (1, 2))
    return story


RULES = frozenset(
    ["s1", "s2", "s4", "s5", "l1", "l2", "p1", "p2", "p4", "w1", "q1", "q3", "q4", "i1", "i2", "api", "time"]
)


FORGED = [value for name, value in list(globals().items()) if name.partition("_")[0] in RULES]


@pytest.mark.parametrize("forged", FORGED)
def test_a_forged_history_is_found(forged: Callable[[], Story]) -> None:
    violations = check(forged().history)
    assert violations, "nothing was found"
    rule = forged.__name__.split("_")[0].upper()
    shown = {"S2": "S1", "P1": "S1", "P2": "S1", "P4": "S1"}.get(rule, rule)
    assert shown in {violation.rule for violation in violations}, violations
    assert all(isinstance(call, Call) for violation in violations for call in violation.calls)
    assert all(str(violation).startswith(violation.rule) for violation in violations)


def test_s3_all_seats_of_a_refusal_stood_so_at_one_moment() -> None:
    """Each of its seats did at some moment, but not at the same one."""
    story = Story()
    story.reserve(CAT, [2], (1, 1.1))
    story.reserve(BEN, [1], (2, 2.1))
    story.reserve(ANN, [1, 2], (0.5, 5), error="SEAT_ALREADY_HELD", blocked=[1])
    story.release(BEN, (3, 3.1))
    story.release(CAT, (4, 4.1))
    found = [violation.what for violation in check(story.history) if "Log-Position" not in violation.what]
    assert found == ["no order explains all seats of EVENING/2096-04-01/19:00 together"]
