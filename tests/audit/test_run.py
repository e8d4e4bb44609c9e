"""Auditing a log in a real database: all of it, up to a moment, with its ledger."""

import csv
from collections.abc import Iterable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import pytest

import audit
from audit import reader
from audit.replay import Replay
from audit.report import report as reported
from tests.audit.crowd import Crowd
from tests.audit.database import project, store
from tests.audit.forgeries.forgery import ANN, BEN, GALA, SEAT_PRICE, let_in, on_sale, reserved_by_the_poor
from tests.audit.log_builder import SHOW, LogBuilder, StoredRow
from tests.audit.sales import a_sale_of_all_kinds, a_strict_sale

AUDIT_MEMBERS = {
    "position", "events", "at", "ok", "breaches", "wallets", "payments", "concerts", "read_models",
}  # fmt: skip


@pytest.fixture(scope="module")
def crowd() -> LogBuilder:
    """The log of one concert, with its events."""
    log = LogBuilder()
    events = [event for written in Crowd(log, buyers=120).concerts(1) for event in written]
    log.events = events
    return log


def test_a1_a_whole_log_is_audited_from_one_snapshot(
    dsn: str, crowd: LogBuilder, monkeypatch: pytest.MonkeyPatch
) -> None:
    store(dsn, crowd.rows())
    monkeypatch.setattr(reader, "FETCHED_ROWS", 100)
    reached: list[tuple[int, int]] = []

    def progress(position: int, last: int) -> None:
        reached.append((position, last))
        if len(reached) == 1:
            later = LogBuilder(crowd.now)
            later.position = crowd.position
            later.open_wallet("d" * 36)
            store(dsn, later.rows())

    report = audit.run(dsn, compare=False, progress=progress)

    assert report.ok
    assert (report.position, report.events) == (crowd.position, len(crowd.events))
    assert report.wallets.balance == sum(crowd.balances.values())
    assert reached[0] == (crowd.events[99].position, crowd.position)
    assert reached[-1] == (crowd.position, crowd.position)
    assert audit.run(dsn, compare=False).events == len(crowd.events) + 1


def test_a1_the_report_has_the_form_of_the_api(dsn: str) -> None:
    log = on_sale()
    log.join(GALA, ANN)
    log.join(GALA, ANN)
    store(dsn, log.rows())

    report = as_json(audit.run(dsn, compare=False))

    assert set(report) == AUDIT_MEMBERS
    assert report["ok"] is False
    assert report["breaches"] == [
        {
            "rule": "Q2",
            "stream": f"token/{GALA}/{ANN}",
            "positions": [log.last("token.issued", 2).position, log.last("token.issued").position],
            "detail": "a token is issued while the one of number 1 has not ended",
        }
    ]
    assert report["wallets"] == {
        "count": 3, "charged": 1_500_000, "debited": 0, "refunded": 0, "balance": 1_500_000,
    }  # fmt: skip
    assert report["payments"] == {
        "completed": 0, "failed": 0, "refunded": 0, "amount_completed": 0, "amount_refunded": 0,
    }  # fmt: skip
    assert report["concerts"] == [
        {"code": GALA, "numbers_issued": 2, "activated": 0, "seats_sold": 0, "revenue": 0}
    ]
    assert report["read_models"] is None


@pytest.mark.parametrize("share", [0, 0.25, 0.5, 0.9, 1])
def test_a1_up_to_a_moment_is_a_log_that_was_cut_there(dsn: str, crowd: LogBuilder, share: float) -> None:
    store(dsn, crowd.rows())
    moment = crowd.events[int(share * (len(crowd.events) - 1))].recorded_at
    kept = [event.row() for event in crowd.events if event.recorded_at <= moment]

    report = audit.run(dsn, at=moment)

    assert report.at == moment
    assert report.read_models is None
    assert report == msgspec.structs.replace(replayed(kept), at=moment)
    assert report.ok


@pytest.mark.parametrize("log", [a_sale_of_all_kinds(), a_strict_sale()], ids=["all kinds", "strict"])
def test_a1_up_to_any_moment_is_a_log_that_was_cut_there(log: LogBuilder) -> None:
    recorded = sorted({event.recorded_at for event in log.events})
    instant = timedelta(microseconds=1)
    for moment in [recorded[0] - instant, *recorded, *(at + instant for at in recorded)]:
        kept = [event.row() for event in log.events if event.recorded_at <= moment]
        assert replayed(log.rows(), until=moment) == replayed(kept)


def test_a1_a_moment_before_the_log_is_an_empty_log(dsn: str, crowd: LogBuilder) -> None:
    store(dsn, crowd.rows())
    moment = crowd.events[0].recorded_at - timedelta(microseconds=1)
    assert audit.run(dsn, at=moment).events == 0


def test_a1_the_log_up_to_a_moment_ends_at_the_first_event_recorded_after_it(dsn: str) -> None:
    log = on_sale()
    moment = log.events[-1].recorded_at
    log.charge(ANN, 1)
    log.pass_time(-60)
    log.charge(ANN, 1)
    store(dsn, log.rows())

    assert audit.run(dsn, at=moment).wallets.charged == 15 * SEAT_PRICE
    assert [breach.rule for breach in audit.run(dsn, compare=False).breaches] == ["A1"]


def test_a1_columns_that_are_null_are_breaches_like_others(dsn: str) -> None:
    log = on_sale()
    store(dsn, log.rows())
    with psycopg.connect(dsn) as connection:
        connection.execute(
            """
            INSERT INTO ticketing.ticketing_events (originator_id, originator_version, notification_id, topic)
            VALUES (gen_random_uuid(), 1, 1000, NULL), (gen_random_uuid(), 1, 1001, 'wallet.opened')
            """
        )
    report = audit.run(dsn, compare=False)
    assert [(breach.rule, breach.positions) for breach in report.breaches] == [("A1", [1000]), ("A1", [1001])]


def test_a1_the_ledger_has_each_payment_and_each_wallet(dsn: str, tmp_path: Path) -> None:
    log = on_sale()
    let_in(log, ANN, BEN)
    kept, given_back = log.reserve(GALA, ANN, 1, 2), log.reserve(GALA, BEN, 3)
    log.pay(kept)
    log.pay(given_back)
    log.refund(given_back)
    refunded = log.last("payment.refunded")
    log.fail_payment(reserved_by_the_poor(log))
    store(dsn, log.rows())

    with audit.CsvLedger(tmp_path / "books") as ledger:
        audit.run(dsn, compare=False, ledger=ledger.write)

    payments = _read(tmp_path / "books" / "payments.csv")
    assert [(row["status"], row["user_id"], row["amount"]) for row in payments] == [
        ("REFUNDED", BEN, "100000"),
        ("FAILED", ANN, "1000000"),
        ("COMPLETED", ANN, "200000"),
    ]
    completed = payments[-1]
    assert completed["payment_id"] == log.bookings[kept].payment_id
    assert completed["reservation_id"] == kept
    assert completed["token_id"] == log.bookings[kept].token_id
    assert (completed["concert_code"], completed["performance"]) == (GALA, SHOW)
    assert completed["seat_numbers"] == "1 2"
    assert completed["refunded_at"] == ""
    assert payments[0]["refunded_at"] == f"{refunded.recorded_at:%Y-%m-%dT%H:%M:%S.%fZ}"
    wallets = {row["user_id"]: row for row in _read(tmp_path / "books" / "wallets.csv")}
    assert len(wallets) == 3
    assert wallets[ANN] == {
        "user_id": ANN, "charged": "500000", "debited": "200000", "refunded": "0", "balance": "300000",
    }  # fmt: skip


def test_a1_the_ledger_of_a_performance_that_is_over_is_whole(dsn: str, crowd: LogBuilder) -> None:
    store(dsn, crowd.rows())
    rows: list[audit.PaymentRow | audit.WalletRow] = []
    report = audit.run(dsn, compare=False, ledger=rows.append)
    payments = [row for row in rows if isinstance(row, audit.PaymentRow)]
    completed = sum(row.amount for row in payments if row.status != "FAILED")
    refunded = sum(row.amount for row in payments if row.status == "REFUNDED")
    assert len({row.payment_id for row in payments}) == len(payments) == report.payments.completed
    assert (completed, refunded) == (report.payments.amount_completed, report.payments.amount_refunded)
    assert len(rows) - len(payments) == report.wallets.count


def test_a1_read_models_are_compared_unless_told_otherwise(dsn: str, crowd: LogBuilder) -> None:
    store(dsn, crowd.rows())
    project(dsn)
    report = audit.run(dsn)
    assert report.ok
    assert report.read_models is not None
    assert report.read_models.different == 0
    assert report.read_models.compared > 500


def as_json(report: audit.Report) -> dict[str, Any]:
    decoded: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(report))
    return decoded


def replayed(rows: Iterable[StoredRow], until: datetime | None = None) -> audit.Report:
    replay = Replay(until)
    replay.apply_all(rows)
    replay.close()
    return reported(replay, None, None)


def _read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
