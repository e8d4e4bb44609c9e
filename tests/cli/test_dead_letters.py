"""What is parked is listed, shown, retried in order, and dropped with a reason."""

import asyncio
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psycopg
import pytest
from structlog.testing import capture_logs
from typer.testing import CliRunner, Result

from aggregates.event import RecordedEvent
from aggregates.wallet import WalletCharged
from cli.console import ExitCode
from cli.main import app
from commands.charge_wallet import ChargeWallet
from infrastructure.feed import PostgresFeed
from projections import projector
from projections.registry import PROJECTIONS
from tests.aggregates.given import ANN
from tests.commands.sale import Sale
from tests.commands.steps import registered
from tests.projections.poison import Poison
from tests.projections.tables import write_log
from tests.projections.test_projector import NAMES, run_until


@pytest.fixture(autouse=True)
def quickly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No settings but those of the test, and no rest between two tries."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DATABASE_URL", raising=False)
    monkeypatch.setattr(projector, "REST_MIN_S", 0.0)
    with capture_logs():
        yield


def events() -> Sequence[RecordedEvent]:
    sale = Sale()
    sale.done(registered(ANN, balance=10), ChargeWallet(ANN, 20), ChargeWallet(ANN, 30))
    return sale.log.events


def project_poison(dsn: str, *positions: int) -> None:
    poison = Poison(positions)

    async def run() -> None:
        feed = PostgresFeed(dsn)
        one = projector.Projector(dsn, feed, [poison.into(projection) for projection in PROJECTIONS])
        await run_until([one], NAMES, await feed.last_position())
        await feed.close()

    asyncio.run(run())


@pytest.fixture
def charged(dsn: str) -> int:
    """The position of the first of three charges, which the wallets' read model has parked."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        write_log(connection, events())
    position = next(event.position for event in events() if isinstance(event.event, WalletCharged))
    project_poison(dsn, position)
    return position


def run(dsn: str, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["dead-letters", *arguments], env={"DATABASE_URL": dsn})


def listed(dsn: str, *options: str) -> Sequence[Any]:
    result = run(dsn, "list", "--json", *options)
    assert result.exit_code == 0
    found: Sequence[Any] = json.loads(result.stdout)
    return found


def test_where_nothing_is_parked_it_says_so(dsn: str) -> None:
    assert run(dsn, "list").stdout == "Nothing is parked.\n"
    assert run(dsn, "retry").stdout == "Nothing is parked.\n"
    assert listed(dsn) == []


def test_what_is_parked_is_listed_in_the_order_of_the_log(dsn: str, charged: int) -> None:
    assert [(one["position"], one["state"]) for one in listed(dsn)] == [
        (charged, "FAILED"),
        (charged + 1, "WAITS"),
        (charged + 2, "WAITS"),
    ]
    assert listed(dsn, "wallet_entries", "--stream", f"wallet/{ANN}") == listed(dsn)
    assert listed(dsn, "seat_map") == []
    table = run(dsn, "list").stdout
    assert f"wallet/{ANN}" in table
    assert "FAILED" in table


def test_one_is_shown_with_its_payload_and_error(dsn: str, charged: int) -> None:
    shown = json.loads(run(dsn, "show", "wallet_entries", str(charged), "--json").stdout)
    assert shown["payload"] == {"amount": 10}
    assert shown["tries"] == 3
    assert "poison" in shown["error"] or "division by zero" in shown["error"]
    assert '{"amount":10}' in run(dsn, "show", "wallet_entries", str(charged)).stdout.replace(" ", "")
    unknown = run(dsn, "show", "wallet_entries", "999")
    assert unknown.exit_code == ExitCode.WRONG_INPUT
    assert "has parked no event at position 999" in unknown.stderr


def test_what_was_mended_is_retried(dsn: str, charged: int) -> None:
    result = run(dsn, "retry", "wallet_entries")
    assert result.exit_code == 0
    assert result.stdout == f"wallet_entries wallet/{ANN}: 3 events applied\n"
    assert listed(dsn) == []


def test_what_still_fails_is_told(dsn: str, charged: int) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("ALTER TABLE wallet_entries_v2.entries ADD CHECK (amount <> 20)")

    result = run(dsn, "retry")

    assert result.exit_code == ExitCode.RULE_BROKEN
    assert f"{charged + 1} still fails: CheckViolation" in result.stderr
    assert [one["position"] for one in listed(dsn)] == [charged + 1, charged + 2]


def test_one_is_dropped_with_a_reason_and_the_rest_can_be_retried(dsn: str, charged: int) -> None:
    drop = ["drop", "wallet_entries", str(charged)]
    assert run(dsn, *drop).exit_code == ExitCode.WRONG_INPUT
    assert "say why" in run(dsn, *drop, "--reason", " ").stderr
    assert run(dsn, *drop, "--reason", "a test", "--by", "ann").exit_code == 0

    assert run(dsn, *drop, "--reason", "again").exit_code == ExitCode.WRONG_INPUT
    assert [one["position"] for one in listed(dsn)] == [charged + 1, charged + 2]
    (dropped, *_) = listed(dsn, "--all")
    assert (dropped["state"], dropped["dropped_by"], dropped["dropped_reason"]) == (
        "DROPPED",
        "ann",
        "a test",
    )
    assert run(dsn, "retry").exit_code == 0
    assert listed(dsn) == []
    assert len(listed(dsn, "--all")) == 1


def test_a_stream_that_is_no_name_is_refused(dsn: str) -> None:
    result = run(dsn, "list", "--stream", "nonsense")
    assert result.exit_code == ExitCode.WRONG_INPUT
    assert "neither a stream's name" in result.stderr
