"""The history of one wallet or one payment: complete, in order, with its balances, and judged."""

import audit
from tests.audit.crowd import Crowd
from tests.audit.database import store
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
from tests.audit.log_builder import LogBuilder


def told(history: audit.History) -> list[tuple[str, int | None, int | None]]:
    return [(item.topic, item.amount, item.balance) for item in history.items]


def test_a1_a_wallet_tells_its_movements_and_its_payments_with_the_balance_after_each(dsn: str) -> None:
    log = on_sale()
    let_in(log, ANN, BEN)
    reservation_id = log.reserve(GALA, ANN, 7, 8)
    payment_id = log.pay(reservation_id)
    log.pay(log.reserve(GALA, BEN, 9))
    log.refund(reservation_id)
    log.fail_payment(reserved_by_the_poor(log))
    log.charge(ANN, 1)
    store(dsn, log.rows())

    found = audit.history(dsn, user_id=ANN)

    assert (found.ok, found.breaches) == (True, [])
    assert told(found) == [
        ("wallet.opened", None, 0),
        ("wallet.charged", 500_000, 500_000),
        ("wallet.debited", 200_000, 300_000),
        ("payment.completed", 200_000, 300_000),
        ("wallet.refunded", 200_000, 500_000),
        ("payment.refunded", 200_000, 500_000),
        ("payment.failed", 1_000_000, 500_000),
        ("wallet.charged", 1, 500_001),
    ]
    assert [item.position for item in found.items] == sorted(item.position for item in found.items)
    completed = found.items[3]
    assert (completed.stream, completed.payment_id) == (f"payment/{payment_id}", payment_id)
    assert (completed.reservation_id, completed.seat_numbers) == (reservation_id, [7, 8])
    assert completed.recorded_at == log.last("payment.completed", 2).recorded_at
    assert found.items[2].payment_id == payment_id


def test_a1_a_payment_tells_what_it_took_and_gave_and_its_reservation(dsn: str) -> None:
    log = on_sale(charge_while_holding=False)
    let_in(log, ANN)
    reservation_id = log.reserve(GALA, ANN, 7)
    payment_id = log.pay(reservation_id)
    log.charge(ANN, 5)
    log.refund(reservation_id)
    let_in(log, ANN)
    log.pay(log.reserve(GALA, ANN, 8))
    store(dsn, log.rows())

    found = audit.history(dsn, payment_id=payment_id)

    assert (found.ok, found.breaches) == (True, [])
    assert told(found) == [
        ("reservation.opened", 100_000, None),
        ("wallet.debited", 100_000, 400_000),
        ("payment.completed", 100_000, 400_000),
        ("reservation.confirmed", None, None),
        ("wallet.refunded", 100_000, 500_005),
        ("payment.refunded", 100_000, 500_005),
        ("reservation.cancelled", None, None),
    ]
    assert {item.payment_id for item in found.items if item.stream.startswith("payment/")} == {payment_id}
    assert {item.reservation_id for item in found.items if item.topic.startswith("reservation.")} == {
        reservation_id
    }


def test_a1_a_history_ends_at_the_first_event_recorded_after_the_moment(dsn: str) -> None:
    log = on_sale()
    log.charge(ANN, 1)
    moment = log.events[-1].recorded_at
    log.charge(ANN, 2)
    store(dsn, log.rows())
    assert told(audit.history(dsn, user_id=ANN, at=moment))[-1] == ("wallet.charged", 1, 500_001)


def test_a1_the_history_of_nobody_is_empty(dsn: str) -> None:
    store(dsn, on_sale().rows())
    nobody = "d" * 8 + "-0000-4000-8000-" + "d" * 12
    empty = audit.History([], ok=True, breaches=[])
    assert audit.history(dsn, user_id=nobody) == empty
    assert audit.history(dsn, payment_id=nobody) == empty


def test_p1_a_debit_of_another_amount_is_told_by_the_wallet_and_by_the_payment(dsn: str) -> None:
    log = on_sale()
    let_in(log, ANN, BEN)
    payment_id = log.pay(log.reserve(GALA, ANN, 7))
    log.last("wallet.debited").payload["amount"] -= 1
    log.last("payment.completed").payload["balance"] += 1
    others = log.pay(log.reserve(GALA, BEN, 8))
    store(dsn, log.rows())

    for found in (audit.history(dsn, user_id=ANN), audit.history(dsn, payment_id=payment_id)):
        assert not found.ok
        assert [(breach.rule, breach.stream) for breach in found.breaches] == [
            ("P1", f"payment/{payment_id}")
        ]
    assert audit.history(dsn, user_id=BEN).ok
    assert audit.history(dsn, payment_id=others).ok
    assert audit.history(dsn, user_id=CAT).ok


def test_w1_a_balance_below_nothing_is_told_by_the_wallet(dsn: str) -> None:
    log = on_sale()
    let_in(log, ANN)
    log.last("wallet.charged", 3).payload["amount"] = SEAT_PRICE - 1
    log.pay(log.reserve(GALA, ANN, 7))
    log.last("payment.completed").payload["balance"] = -1
    store(dsn, log.rows())

    found = audit.history(dsn, user_id=ANN)

    debited = log.last("wallet.debited")
    assert [(breach.rule, breach.positions) for breach in found.breaches] == [("W1", [debited.position])]
    assert [item.balance for item in found.items if item.stream.startswith("wallet/")] == [0, 99_999, -1]


def test_a1_each_wallet_of_a_crowd_has_a_clean_history_that_ends_at_its_balance(dsn: str) -> None:
    log = LogBuilder()
    log.events = [event for written in Crowd(log, buyers=80).concerts(1) for event in written]
    store(dsn, log.rows())
    for user_id in list(log.balances)[::8]:
        found = audit.history(dsn, user_id=user_id)
        assert found.ok, found.breaches
        entries = [item for item in found.items if item.stream.startswith("wallet/")]
        assert entries[-1].balance == log.balances[user_id]
