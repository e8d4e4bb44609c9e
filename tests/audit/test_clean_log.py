"""A log that keeps every rule has no breach, and adds up."""

from datetime import timedelta

import pytest

from audit.replay import Replay
from audit.report import ConcertTotals, PaymentTotals, Report, WalletTotals, report
from tests.audit.crowd import Crowd
from tests.audit.forgeries.forgery import (
    ANN,
    BEN,
    CAT,
    GALA,
    SEAT_PRICE,
    let_in,
    on_sale,
    reserved_by_the_poor,
)
from tests.audit.log_builder import SHOW, SHOW_STARTS_AT, LogBuilder


def audited(log: LogBuilder) -> Report:
    replay = Replay()
    replay.apply_all(log.rows())
    replay.close()
    return report(replay, None, None)


def test_a1_an_empty_log_is_clean() -> None:
    found = audited(LogBuilder())
    assert found.ok
    assert (found.position, found.events, found.concerts) == (0, 0, [])


def test_a1_balances_payments_and_concerts_add_up() -> None:
    log = on_sale()
    let_in(log, ANN, BEN)
    kept, given_back = log.reserve(GALA, ANN, 1, 2), log.reserve(GALA, BEN, 3)
    log.pay(kept)
    log.pay(given_back)
    log.refund(given_back)
    log.fail_payment(reserved_by_the_poor(log))

    found = audited(log)

    assert found.breaches == []
    assert found.ok
    assert (found.position, found.events) == (log.position, len(log.events))
    assert found.wallets == WalletTotals(
        count=3,
        charged=15 * SEAT_PRICE,
        debited=3 * SEAT_PRICE,
        refunded=SEAT_PRICE,
        balance=13 * SEAT_PRICE,
    )
    assert found.payments == PaymentTotals(
        completed=2,
        failed=1,
        refunded=1,
        amount_completed=3 * SEAT_PRICE,
        amount_refunded=SEAT_PRICE,
    )
    assert found.concerts == [
        ConcertTotals(code=GALA, numbers_issued=3, activated=3, seats_sold=2, revenue=2 * SEAT_PRICE)
    ]


@pytest.mark.parametrize("seed", range(5))
def test_a1_the_log_of_a_crowd_is_clean(seed: int) -> None:
    log = LogBuilder()
    replay = Replay()
    for events in Crowd(log, buyers=300, seed=seed).concerts(3):
        replay.apply_all(event.row() for event in events)
    replay.close()
    found = report(replay, None, None)

    assert found.breaches == []
    assert found.wallets.balance == sum(log.balances.values())
    assert found.payments.amount_completed == found.wallets.debited
    assert found.payments.amount_refunded == found.wallets.refunded
    assert (
        sum(concert.revenue for concert in found.concerts) == found.wallets.debited - found.wallets.refunded
    )
    assert [concert.numbers_issued for concert in found.concerts] == [300, 300, 300]
    assert {concert.seats_sold for concert in found.concerts} <= set(range(151))


def test_s2_a_lapsed_hold_may_give_way_before_its_reservation_is_settled() -> None:
    log = on_sale()
    let_in(log, ANN, BEN)
    lapsed = log.reserve(GALA, ANN, 7, 8)
    log.pass_time(300)
    log.pay(log.reserve(GALA, BEN, 8))
    log.expire_hold(lapsed)
    assert audited(log).breaches == []


def test_s3_a_seat_may_be_taken_and_given_up_again_in_one_append() -> None:
    log = on_sale()
    let_in(log, ANN, BEN)
    log.reserve(GALA, ANN, 7)
    log.pass_time(300)
    with log.append():
        log.reserve(GALA, BEN, 7)
        log.leave(GALA, BEN)
    assert audited(log).breaches == []


def test_q3_the_gate_passes_those_who_left_early() -> None:
    log = on_sale()
    for user_id in (ANN, BEN, CAT):
        log.join(GALA, user_id)
    log.leave(GALA, ANN)
    with log.append():
        log.leave(GALA, BEN)
        log.let_in(GALA, 1)
    assert audited(log).breaches == []
    assert log.last("queue.advanced").payload == {"head": 3, "activated": 1}


def test_q4_a_limit_binds_what_is_granted_under_it_and_what_was_granted_before_stays() -> None:
    log = on_sale(max_active=3, admit_per_interval=3, admit_interval_s=10)
    let_in(log, ANN, BEN)
    log.change_policy(GALA, max_active=1, admit_per_interval=1, max_waiting=1)
    log.leave(GALA, ANN)
    log.leave(GALA, BEN)
    log.pass_time(10)
    log.join(GALA, CAT)
    log.let_in(GALA)
    assert audited(log).breaches == []


def test_q4_a_full_interval_later_as_many_may_come_again() -> None:
    log = on_sale(admit_per_interval=1, admit_interval_s=10)
    let_in(log, ANN)
    log.pass_time(10)
    let_in(log, BEN)
    log.pass_time(2 * 3600)
    let_in(log, CAT)
    assert audited(log).breaches == []


def test_q5_a_token_past_its_deadline_may_pay_for_what_it_holds() -> None:
    log = on_sale()
    let_in(log, ANN)
    log.pass_time(500)
    reservation_id = log.reserve(GALA, ANN, 7)
    log.pass_time(299)
    log.pay(reservation_id)
    assert audited(log).breaches == []


def test_l1_an_open_reservation_may_be_paid_and_the_line_left_while_the_sale_is_closed() -> None:
    log = on_sale()
    let_in(log, ANN)
    log.join(GALA, BEN)
    reservation_id = log.reserve(GALA, ANN, 7)
    log.close_sales(GALA)
    log.pay(reservation_id)
    log.leave(GALA, BEN)
    log.open_sales(GALA)
    log.pause(GALA)
    log.join(GALA, CAT)
    log.resume(GALA)
    log.let_in(GALA)
    assert audited(log).breaches == []


def test_l2_what_is_open_may_be_paid_after_the_performance_began() -> None:
    log = on_sale()
    log.now = SHOW_STARTS_AT - timedelta(seconds=60)
    let_in(log, ANN, BEN)
    paid, lapsing = log.reserve(GALA, ANN, 7), log.reserve(GALA, BEN, 8)
    log.now = SHOW_STARTS_AT
    log.withdraw(GALA)
    log.pay(paid)
    log.pass_time(300)
    log.expire_hold(lapsing)
    assert audited(log).breaches == []


def test_l2_what_hangs_on_a_performance_that_is_over_is_forgotten() -> None:
    log = on_sale()
    let_in(log, ANN)
    log.pay(log.reserve(GALA, ANN, 7))
    log.now = SHOW_STARTS_AT
    log.withdraw(GALA)
    replay = Replay()
    replay.apply_all(log.rows())
    replay.close()
    kinds = {name.partition("/")[0] for name in replay.books.streams}
    assert kinds == {"concert", "queue", "wallet", "token"}


def test_w3_charging_is_suspended_while_seats_are_held_and_resumed_after() -> None:
    log = on_sale(charge_while_holding=False)
    let_in(log, ANN)
    log.release(log.reserve(GALA, ANN, 7))
    log.charge(ANN, 1)
    log.pay(log.reserve(GALA, ANN, 8))
    log.charge(ANN, 1)
    let_in(log, BEN)
    lapsing = log.reserve(GALA, BEN, 9)
    log.pass_time(300)
    log.charge(BEN, 1)
    log.expire_hold(lapsing)
    assert audited(log).breaches == []


@pytest.mark.parametrize("policy", ["release_hold", "release_hold_and_end_token"])
def test_p3_the_policy_lets_go_of_what_cannot_be_paid(policy: str) -> None:
    log = on_sale(on_insufficient_balance=policy)
    reservation_id = reserved_by_the_poor(log)
    with log.append():
        log.fail_payment(reservation_id)
        if policy == "release_hold":
            log.release(reservation_id)
        else:
            log.leave(GALA, ANN)
    assert audited(log).breaches == []


def test_p4_a_seat_that_was_returned_is_sold_again() -> None:
    log = on_sale(refund_until_s=None)
    let_in(log, ANN, BEN)
    reservation_id = log.reserve(GALA, ANN, 7)
    log.pay(reservation_id)
    log.now = SHOW_STARTS_AT - timedelta(minutes=1)
    log.refund(reservation_id)
    let_in(log, CAT)
    log.pay(log.reserve(GALA, CAT, 7, show=SHOW))
    assert audited(log).breaches == []


def test_s4_seats_that_were_refunded_do_not_count() -> None:
    log = on_sale()
    let_in(log, ANN)
    reservation_id = log.reserve(GALA, ANN, 1, 2, 3)
    log.pay(reservation_id)
    log.refund(reservation_id)
    let_in(log, ANN)
    log.reserve(GALA, ANN, 4, 5, 6, 7)
    assert audited(log).breaches == []


def test_q2_after_a_token_has_ended_asking_again_gives_a_new_number() -> None:
    log = on_sale()
    log.join(GALA, ANN)
    log.leave(GALA, ANN)
    log.join(GALA, ANN)
    log.let_in(GALA, 1)
    log.pass_time(600)
    with log.append():
        log.expire_token(GALA, ANN)
        log.join(GALA, ANN)
    assert audited(log).breaches == []
