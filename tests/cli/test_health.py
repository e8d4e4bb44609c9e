"""A health check hears of a worker for as long as it runs, and does not stand still."""

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cli.console import ExitCode
from cli.main import app
from infrastructure.worker_status import beats_from_here
from tests.infrastructure.test_worker_status import Worker
from tests.live_sale import LiveSale


@pytest.fixture(autouse=True)
def folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def health(dsn: str, role: str) -> Result:
    return CliRunner().invoke(app, ["health", role], env={"DATABASE_URL": dsn})


def test_a_worker_that_tells_of_itself_does_well_until_it_ends(sale: LiveSale) -> None:
    worker = Worker(sale, "relay")
    sale.until(lambda: health(sale.dsn, "relay").exit_code == ExitCode.DONE)
    other = health(sale.dsn, "timer")
    assert other.exit_code == ExitCode.NOT_AVAILABLE
    assert "no timer here has been heard of" in other.output
    worker.stop()
    sale.until(lambda: health(sale.dsn, "relay").exit_code == ExitCode.NOT_AVAILABLE)


def test_a_worker_that_is_silent_does_not_do_well(sale: LiveSale) -> None:
    Worker(sale, "projector")
    sale.until(lambda: beats_from_here(sale.connection, "projector", silence_s_max=5))
    sale.until(lambda: not beats_from_here(sale.connection, "projector", silence_s_max=0))


def test_only_a_role_can_be_asked_for(sale: LiveSale) -> None:
    assert health(sale.dsn, "api").exit_code == ExitCode.WRONG_INPUT
