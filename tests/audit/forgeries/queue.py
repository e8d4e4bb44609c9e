"""Breaches of Q1 to Q7: numbers, tokens, the gate and its limits."""

from collections.abc import Iterable
from datetime import timedelta

from tests.audit.forgeries.forgery import ANN, BEN, CAT, GALA, breaks, let_in
from tests.audit.log_builder import SHOW, SHOW_STARTS_AT, LogBuilder, StoredEvent


@breaks("Q1", also="Q3")
def numbers_have_a_gap(log: LogBuilder) -> Iterable[StoredEvent]:
    log.join(GALA, ANN)
    log.sales[GALA].issued += 1
    log.join(GALA, BEN)
    log.sales[GALA].line[2] = BEN
    log.sales[GALA].gone.add(2)
    log.let_in(GALA, 2)
    return [log.last("token.issued")]


@breaks("Q1")
def numbers_are_out_of_order(log: LogBuilder) -> Iterable[StoredEvent]:
    with log.append():
        log.join(GALA, ANN)
        log.join(GALA, BEN)
    first, second = log.last("token.issued", 2), log.last("token.issued")
    first.payload["queue_number"], second.payload["queue_number"] = 2, 1
    return [first]


@breaks("Q1")
def more_numbers_are_counted_than_issued(log: LogBuilder) -> Iterable[StoredEvent]:
    log.join(GALA, ANN)
    log.last("queue.numbers_issued").payload["last"] = 2
    return [log.last("token.issued"), log.last("queue.numbers_issued")]


@breaks("Q1")
def an_issued_number_is_not_counted(log: LogBuilder) -> Iterable[StoredEvent]:
    log.join(GALA, ANN)
    log.omit(log.last("queue.numbers_issued"))
    return [log.last("token.issued")]


@breaks("Q1")
def a_line_does_not_open(log: LogBuilder) -> Iterable[StoredEvent]:
    log.announce("MUTE")
    log.omit(log.last("queue.opened"))
    return [log.last("concert.announced")]


@breaks("Q2")
def a_user_gets_a_second_live_token(log: LogBuilder) -> Iterable[StoredEvent]:
    log.join(GALA, ANN)
    log.join(GALA, ANN)
    return [log.last("token.issued", 2), log.last("token.issued")]


@breaks("Q2")
def a_token_past_its_deadline_is_not_recorded_as_expired_first(log: LogBuilder) -> Iterable[StoredEvent]:
    let_in(log, ANN)
    log.pass_time(601)
    log.join(GALA, ANN)
    return [log.last("token.issued", 2), log.last("token.issued")]


@breaks("Q3")
def the_gate_passes_somebody_who_still_waits(log: LogBuilder) -> Iterable[StoredEvent]:
    log.join(GALA, ANN)
    log.join(GALA, BEN)
    log.let_in(GALA)
    log.last("queue.advanced").payload["head"] = 2
    return [log.last("queue.advanced")]


@breaks("Q3")
def somebody_is_let_in_before_a_lower_number(log: LogBuilder) -> Iterable[StoredEvent]:
    log.join(GALA, ANN)
    log.join(GALA, BEN)
    log.sales[GALA].head = 1
    log.let_in(GALA)
    return [log.last("queue.advanced")]


@breaks("Q3")
def somebody_is_let_in_whom_the_gate_has_not_passed(log: LogBuilder) -> Iterable[StoredEvent]:
    log.join(GALA, ANN)
    log.join(GALA, BEN)
    log.let_in(GALA, 2)
    log.last("queue.advanced").payload["head"] = 1
    return [log.last("token.activated"), log.last("queue.advanced")]


@breaks("Q3")
def somebody_is_let_in_without_the_gate(log: LogBuilder) -> Iterable[StoredEvent]:
    log.join(GALA, ANN)
    log.let_in(GALA)
    log.omit(log.last("queue.advanced"))
    return [log.last("token.activated")]


@breaks("Q3")
def the_gate_counts_too_many(log: LogBuilder) -> Iterable[StoredEvent]:
    log.join(GALA, ANN)
    log.let_in(GALA)
    log.last("queue.advanced").payload["activated"] = 2
    return [log.last("token.activated"), log.last("queue.advanced")]


@breaks("Q3")
def a_token_is_let_in_twice(log: LogBuilder) -> Iterable[StoredEvent]:
    let_in(log, ANN)
    until = log.last("token.activated").payload["until"]
    with log.append():
        return [log.record(f"token/{GALA}/{ANN}", "token.activated", GALA, until=until)]


@breaks("Q3")
def the_gate_moves_back(log: LogBuilder) -> Iterable[StoredEvent]:
    let_in(log, ANN, BEN)
    with log.append():
        return [log.record(f"queue/{GALA}", "queue.advanced", GALA, head=1, activated=0)]


@breaks("Q3")
def the_gate_passes_a_number_that_was_never_issued(log: LogBuilder) -> Iterable[StoredEvent]:
    let_in(log, ANN)
    log.last("queue.advanced").payload["head"] = 10**9
    return [log.last("queue.advanced")]


@breaks("Q4")
def more_are_active_than_the_policy_says(log: LogBuilder) -> Iterable[StoredEvent]:
    log.change_policy(GALA, max_active=1)
    let_in(log, ANN, BEN)
    return [log.last("token.activated")]


@breaks("Q4")
def a_slot_counts_as_free_in_the_append_that_frees_it(log: LogBuilder) -> Iterable[StoredEvent]:
    log.change_policy(GALA, max_active=1)
    let_in(log, ANN)
    log.join(GALA, BEN)
    with log.append():
        log.leave(GALA, ANN)
        log.let_in(GALA)
    return [log.last("token.activated")]


@breaks("Q4")
def more_are_active_than_seats_are_left(log: LogBuilder) -> Iterable[StoredEvent]:
    log.announce("TINY")
    log.schedule("TINY", plan=((1, 1, "STANDARD", 1),))
    log.open_sales("TINY")
    log.join("TINY", ANN)
    log.join("TINY", BEN)
    log.let_in("TINY", 2)
    return [log.last("token.activated")]


@breaks("Q4")
def a_seat_sold_in_the_same_append_counts_as_left(log: LogBuilder) -> Iterable[StoredEvent]:
    log.announce("TINY")
    log.schedule("TINY", plan=((1, 2, "STANDARD", 1),))
    log.open_sales("TINY")
    log.join("TINY", ANN)
    log.let_in("TINY")
    reservation_id = log.reserve("TINY", ANN, 1)
    with log.append():
        log.pay(reservation_id)
        log.join("TINY", BEN)
        log.let_in("TINY")
    return [log.last("token.activated")]


@breaks("Q4")
def too_many_are_let_in_within_an_interval(log: LogBuilder) -> Iterable[StoredEvent]:
    log.change_policy(GALA, admit_per_interval=2, admit_interval_s=10)
    let_in(log, ANN)
    log.pass_time(5)
    let_in(log, BEN)
    log.pass_time(4)
    let_in(log, CAT)
    return [log.last("token.activated")]


@breaks("Q4")
def a_line_grows_longer_than_the_policy_says(log: LogBuilder) -> Iterable[StoredEvent]:
    log.change_policy(GALA, max_waiting=1)
    log.join(GALA, ANN)
    log.join(GALA, BEN)
    return [log.last("token.issued")]


@breaks("Q4")
def more_seats_are_counted_as_added_than_the_plan_has(log: LogBuilder) -> Iterable[StoredEvent]:
    log.schedule(GALA, "2026-05-02T19:30", SHOW_STARTS_AT + timedelta(days=1))
    log.last("queue.seats_added").payload["count"] = 51
    return [log.last("concert.performance_scheduled"), log.last("queue.seats_added")]


@breaks("Q4")
def added_seats_are_counted_for_another_performance(log: LogBuilder) -> Iterable[StoredEvent]:
    log.schedule(GALA, "2026-05-02T19:30", SHOW_STARTS_AT + timedelta(days=1))
    log.last("queue.seats_added").payload["by_performance"] = {SHOW: 50}
    return [log.last("concert.performance_scheduled"), log.last("queue.seats_added")]


@breaks("Q5")
def seats_are_reserved_after_the_token_has_ended(log: LogBuilder) -> Iterable[StoredEvent]:
    let_in(log, ANN)
    log.pass_time(600)
    log.reserve(GALA, ANN, 7)
    return [log.last("token.seats_held")]


@breaks("Q5")
def a_token_expires_before_its_deadline(log: LogBuilder) -> Iterable[StoredEvent]:
    let_in(log, ANN)
    log.pass_time(599)
    log.expire_token(GALA, ANN)
    return [log.last("token.expired")]


@breaks("Q5")
def a_waiting_token_expires(log: LogBuilder) -> Iterable[StoredEvent]:
    log.join(GALA, ANN)
    log.expire_token(GALA, ANN)
    return [log.last("token.expired")]


@breaks("Q5")
def a_token_expires_while_its_reservation_is_open(log: LogBuilder) -> Iterable[StoredEvent]:
    let_in(log, ANN)
    log.pass_time(500)
    log.reserve(GALA, ANN, 7)
    log.pass_time(200)
    log.expire_token(GALA, ANN)
    return [log.last("token.expired")]


@breaks("Q5")
def a_token_is_active_for_longer_than_the_policy_says(log: LogBuilder) -> Iterable[StoredEvent]:
    let_in(log, ANN)
    log.last("token.activated").payload["until"] += timedelta(seconds=1)
    return [log.last("token.activated")]


@breaks("Q6")
def a_slot_is_never_freed(log: LogBuilder) -> Iterable[StoredEvent]:
    let_in(log, ANN)
    log.leave(GALA, ANN)
    log.omit(log.last("queue.slots_freed"))
    return [log.last("token.cancelled")]


@breaks("Q6")
def a_slot_is_freed_twice(log: LogBuilder) -> Iterable[StoredEvent]:
    let_in(log, ANN)
    log.leave(GALA, ANN)
    log.last("queue.slots_freed").payload["count"] = 2
    return [log.last("token.cancelled"), log.last("queue.slots_freed")]


@breaks("Q6")
def a_slot_is_freed_that_nobody_had(log: LogBuilder) -> Iterable[StoredEvent]:
    with log.append():
        return [log.record(f"queue/{GALA}", "queue.slots_freed", GALA, count=1)]


@breaks("Q6")
def a_waiting_token_frees_a_slot(log: LogBuilder) -> Iterable[StoredEvent]:
    log.join(GALA, ANN)
    with log.append():
        log.leave(GALA, ANN)
        return [log.record(f"queue/{GALA}", "queue.slots_freed", GALA, count=1)]


@breaks("Q6")
def a_token_ends_twice(log: LogBuilder) -> Iterable[StoredEvent]:
    log.join(GALA, ANN)
    log.leave(GALA, ANN)
    with log.append():
        return [log.record(f"token/{GALA}/{ANN}", "token.cancelled", GALA, reason="left")]


@breaks("Q6")
def leaving_does_not_release_what_is_held(log: LogBuilder) -> Iterable[StoredEvent]:
    let_in(log, ANN)
    log.reserve(GALA, ANN, 7)
    log.visits[GALA, ANN].reservation_id = None
    log.leave(GALA, ANN)
    return [log.last("token.cancelled")]


@breaks("Q7")
def a_waiting_token_reserves(log: LogBuilder) -> Iterable[StoredEvent]:
    log.join(GALA, ANN)
    log.reserve(GALA, ANN, 7)
    return [log.last("token.seats_held")]


@breaks("Q7", also="Q3 Q6")
def a_waiting_token_pays(log: LogBuilder) -> Iterable[StoredEvent]:
    let_in(log, ANN)
    reservation_id = log.reserve(GALA, ANN, 7)
    log.omit(log.last("token.activated"))
    log.last("queue.advanced").payload["activated"] = 0
    log.pay(reservation_id)
    return [log.last("token.completed")]
