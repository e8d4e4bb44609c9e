"""`ticketing audit` over a database in which a log was forged, or a read model spoilt."""

import json
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from typer.testing import CliRunner, Result

from cli.console import ExitCode
from cli.main import app
from tests.audit.database import project, store
from tests.audit.forgeries import FORGERIES
from tests.audit.forgeries.forgery import Forgery, on_sale
from tests.audit.sales import a_sale_of_all_kinds


def audit(dsn: str, *options: str) -> Result:
    return CliRunner().invoke(app, ["audit", *options], env={"DATABASE_URL": dsn, "COLUMNS": "200"})


def one_of_each_rule() -> Iterator[Forgery]:
    """The first forgery of each rule that a database takes: it refuses what is at one place twice."""
    seen = set()
    for forgery in FORGERIES:
        if forgery.rule not in seen:
            seen.add(forgery.rule)
            yield forgery


def test_a1_a_forged_log_is_told_by_the_command(dsn: str) -> None:
    """One database for all rules: a database is slower to make than to empty."""
    for forgery in one_of_each_rule():
        log = on_sale()
        expected = sorted({event.position for event in forgery.forge(log)})
        with psycopg.connect(dsn) as connection:
            connection.execute("TRUNCATE ticketing.ticketing_events")
        store(dsn, log.rows())

        result = audit(dsn, "--json", "--no-compare")

        report: dict[str, Any] = json.loads(result.stdout)
        told = [breach["positions"] for breach in report["breaches"] if breach["rule"] == forgery.rule]
        assert expected in told, report["breaches"]
        assert result.exit_code == ExitCode.RULE_BROKEN


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        ("UPDATE seat_map_v1.seats SET status = 'AVAILABLE' WHERE seat_number = 2", "not SOLD"),
        ("DELETE FROM seat_map_v1.seats WHERE seat_number = 2", "the row is missing"),
        (
            """
            INSERT INTO wallet_entries_v2.wallets
            SELECT (jsonb_populate_record(wallet, '{"user_id": "00000000-0000-4000-8000-00000000dead"}')).*
            FROM wallet_entries_v2.wallets AS wallet
            LIMIT 1
            """,
            "the row is surplus",
        ),
    ],
    ids=["changed", "missing", "surplus"],
)
def test_a1_a_read_model_that_differs_is_told_row_by_row(dsn: str, damage: str, told: str) -> None:
    store(dsn, a_sale_of_all_kinds().rows())
    project(dsn)
    assert audit(dsn).exit_code == 0
    with psycopg.connect(dsn) as connection:
        assert connection.execute(damage.encode()).rowcount == 1

    result = audit(dsn)

    assert result.exit_code == ExitCode.RULE_BROKEN
    assert told in result.stdout
    assert "1 rows of read models differ" in result.stdout
