"""What is secret stays so: a sale is run with debug logging, and all that can be seen is searched for it."""

from collections.abc import Mapping
from typing import Any, Final
from uuid import uuid4

import httpx
import psutil
import psycopg
import pytest

from infrastructure.embedded_postgres import EmbeddedPostgres
from tests.cli.running_service import RunningService
from tests.hostile.sale import BUYERS, SHOW_DAY, Visit, put_on_sale

NAME: Final = "Kim Minji"
"""Of every visitor."""

NEEDS_SECRETS: Final = "api"
"""The only child that answers anybody."""


pytestmark = [pytest.mark.xdist_group("hostile"), pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def secrets(whole_service: RunningService) -> Mapping[str, str]:
    """What nobody may see, once it was used in every way: well, wrongly, and against what is down."""
    url = f"http://127.0.0.1:{whole_service.port}"
    admin_key = whole_service.secrets["admin_key"]
    put_on_sale(url, admin_key)
    with httpx.Client(base_url=url, timeout=20.0) as client:
        visits = Visit.begin(client, 3)
        for number, visit in enumerate(visits):
            whole_visit(client, visit, seat_number=number + 1)
        admin = {"authorization": f"Bearer {admin_key}"}
        client.get(f"/api/v1/admin/concerts/{BUYERS}/stats", headers=admin).raise_for_status()
        client.post("/api/v1/admin/audits", headers=admin).raise_for_status()
        client.get(f"/api/v1/concerts/nowhere?token={visits[0].token}&key={admin_key}", headers=admin)
        client.get(f"/api/v1/admin/streams/{admin_key}", headers=admin)
    signed = {f"token {number}": visit.token.split(".")[2] for number, visit in enumerate(visits)}
    return {
        "admin key": admin_key,
        "token secret": whole_service.secrets["token_secret"],
        "name": NAME,
        **signed,
    }


def whole_visit(client: httpx.Client, visit: Visit, seat_number: int) -> None:
    """Do all that a visitor does, and some of it wrongly."""
    token = {"authorization": f"Bearer {visit.token}"}
    at = f"/api/v1/concerts/{BUYERS}"
    wanted = {"date": SHOW_DAY, "seat_numbers": [seat_number]}
    for method, path, body in (
        ("GET", f"{at}/dates", None),
        ("GET", f"{at}/seats?date={SHOW_DAY}&token={visit.token}", None),
        ("POST", f"{at}/reservations", wanted),
        ("POST", f"{at}/reservations", {**wanted, "more": visit.token}),
        ("POST", "/api/v1/payments", {}),
        ("POST", "/api/v1/payments", {"reservation_id": visit.token}),
        ("DELETE", f"{at}/token", None),
        ("POST", f"/{visit.token}", {"name": NAME}),
    ):
        client.request(method, path, json=body, headers={**token, "idempotency-key": str(uuid4())})
    for wrong in (visit.token[:-1], visit.token + "x", f"{visit.token} {visit.token}"):
        client.get(f"{at}/token", headers={"authorization": f"Bearer {wrong}"})


def found_in(text: str, secrets: Mapping[str, str]) -> list[str]:
    """Which secrets stand there."""
    return [name for name, secret in secrets.items() if secret in text]


def test_no_line_of_any_log_tells(whole_service: RunningService, secrets: Mapping[str, str]) -> None:
    logs = {path.name: path.read_text() for path in (whole_service.data_folder / "logs").iterdir()}
    assert '"level": "debug"' in logs["api.log"]
    assert {name: found for name, text in logs.items() if (found := found_in(text, secrets))} == {}
    assert found_in(whole_service.said, secrets) == []


def test_no_metric_tells(whole_service: RunningService, secrets: Mapping[str, str]) -> None:
    metrics = httpx.get(f"http://127.0.0.1:{whole_service.port}/metrics").text
    assert "ticketing_http_request_seconds" in metrics
    assert found_in(metrics, secrets) == []


def test_no_title_or_argument_of_a_process_tells(
    whole_service: RunningService, secrets: Mapping[str, str]
) -> None:
    supervisor = psutil.Process(whole_service.process.pid)
    processes = [supervisor, *supervisor.children(recursive=True)]
    assert len(processes) > 4
    assert found_in(str([(process.name(), process.cmdline()) for process in processes]), secrets) == []


def test_only_who_answers_knows_the_secrets(
    whole_service: RunningService, secrets: Mapping[str, str]
) -> None:
    knowing = {
        name for name, child in whole_service.children().items() if found_in(str(child.environ()), secrets)
    }
    assert knowing == {NEEDS_SECRETS}


def test_no_statement_tells(whole_service: RunningService, secrets: Mapping[str, str]) -> None:
    """Neither what PostgreSQL shows of its sessions, nor the log of events, nor the kept outcomes."""
    folder = whole_service.data_folder
    dsn = EmbeddedPostgres(folder / "postgres", folder / "logs" / "postgres.log").dsn
    with psycopg.connect(dsn) as connection:
        sessions: Any = connection.execute("SELECT query, application_name FROM pg_stat_activity").fetchall()
        assert len(sessions) > 4
        assert found_in(str(sessions), secrets) == []
        tables = connection.execute(
            "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables WHERE schemaname LIKE 'ticketing%'"
        ).fetchall()
        for (table,) in tables:
            rows = connection.execute(f"SELECT t::text FROM {table} t".encode()).fetchall()  # noqa: S608 (its name)
            expected = ["name"] if table == "ticketing.users" else []
            assert found_in(str(rows), secrets) == expected, table
