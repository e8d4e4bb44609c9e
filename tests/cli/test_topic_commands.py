"""What the commands say of the topic: what was made, and what is wrong, in one line."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psycopg
import pytest
from kafka.admin import KafkaAdminClient
from pydantic import SecretStr
from typer.testing import CliRunner, Result

from cli.console import ExitCode, Failure
from cli.environment import make_topic_or_go_on, require_topic_if_any
from cli.main import app
from infrastructure import kafka_client
from infrastructure.settings import Settings
from tests.cli.running_service import wait_until
from tests.cli.test_command_line import NOBODY_LISTENS, complaint_of

NO_BROKER = "127.0.0.1:1"


@pytest.fixture(autouse=True)
def folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No settings but those of the test, and no `.env`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DATABASE_URL", raising=False)


@pytest.fixture
def in_vain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Brokers are not waited for long: there is none. One that is there may well take its time."""
    monkeypatch.setattr(kafka_client, "BOOTSTRAP_TIMEOUT_MS", 300)


def run(command: str, dsn: str, kafka: str, topic: str, **settings: str) -> Result:
    environment = {"DATABASE_URL": dsn, "TICKETING_KAFKA": kafka, "TICKETING_KAFKA_TOPIC": topic}
    return CliRunner().invoke(app, [command], env={**environment, **settings})


def test_migrate_makes_the_topic_once(dsn: str, kafka: str, topic_name: str) -> None:
    said = run("migrate", dsn, kafka, topic_name, TICKETING_KAFKA_PARTITIONS="2").stdout.splitlines()
    assert said[1:] == [f"registered topic {topic_name}: 2 partitions", f"created topic {topic_name}"]
    again = run("migrate", dsn, kafka, topic_name, TICKETING_KAFKA_PARTITIONS="2")
    assert (again.exit_code, again.stdout.splitlines()[1:]) == (0, ["The topic is up to date."])


def test_migrate_makes_a_topic_anew_that_was_deleted(dsn: str, kafka: str, topic_name: str) -> None:
    run("migrate", dsn, kafka, topic_name)
    admin: Any = KafkaAdminClient(bootstrap_servers=kafka)
    admin.delete_topics([topic_name])
    wait_until(lambda: topic_name not in admin.list_topics(), "the broker has noticed")
    admin.close()
    again = run("migrate", dsn, kafka, topic_name)
    assert again.stdout.splitlines()[1:] == [f"created topic {topic_name}"]


@pytest.mark.usefixtures("in_vain")
def test_migrate_registers_what_it_cannot_make_at_the_moment(
    dsn: str, connection: psycopg.Connection[Any], topic_name: str
) -> None:
    result = run("migrate", dsn, NO_BROKER, topic_name)
    assert result.exit_code == ExitCode.NOT_AVAILABLE
    assert result.stderr.startswith(f"ticketing: TICKETING_KAFKA: no broker at {NO_BROKER} answers")
    assert connection.execute("SELECT name FROM ticketing.topic").fetchall() == [(topic_name,)]


@pytest.mark.usefixtures("in_vain")
def test_migrate_leaves_the_topic_to_the_relay_where_kafka_is_away_later_on(
    dsn: str, topic_name: str
) -> None:
    run("migrate", dsn, NO_BROKER, topic_name)
    again = run("migrate", dsn, NO_BROKER, topic_name)
    assert again.exit_code == ExitCode.DONE
    assert again.stdout.splitlines() == ["The schema is up to date."]
    (line,) = again.stderr.splitlines()
    assert line.startswith(f"TICKETING_KAFKA: no broker at {NO_BROKER} answers")


@pytest.mark.parametrize("command", ["relay", "project"])
def test_a_topic_that_is_not_registered_is_told_to_be_migrated(
    dsn: str, kafka: str, topic_name: str, command: str
) -> None:
    complaint = complaint_of(run(command, dsn, kafka, topic_name), ExitCode.NOT_AVAILABLE)
    assert complaint.endswith("run `ticketing migrate` with TICKETING_KAFKA set")


@pytest.mark.parametrize("command", ["migrate", "relay", "project"])
@pytest.mark.parametrize(
    ("setting", "complaint"),
    [
        ({"TICKETING_KAFKA_PARTITIONS": "9"}, "TICKETING_KAFKA_PARTITIONS: 9, but the topic"),
        ({"TICKETING_KAFKA_TOPIC": "other"}, "TICKETING_KAFKA_TOPIC: other, but this log goes to the topic"),
        (
            {"TICKETING_KAFKA_SASL_USERNAME": "ann"},
            "TICKETING_KAFKA_SECURITY_PROTOCOL: plaintext, with which",
        ),
    ],
)
def test_a_setting_that_is_not_the_log_s_is_named(
    dsn: str, kafka: str, topic_name: str, command: str, setting: dict[str, str], complaint: str
) -> None:
    run("migrate", dsn, kafka, topic_name)
    result = run(command, dsn, kafka, **{"topic": topic_name, **setting})
    assert result.exit_code == ExitCode.WRONG_INPUT
    assert result.stderr.startswith(f"ticketing: {complaint}"), result.stderr
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize("command", ["relay", "project"])
def test_a_topic_with_other_partitions_in_the_cluster_is_one_line(
    dsn: str, kafka: str, topic_name: str, command: str
) -> None:
    admin: Any = KafkaAdminClient(bootstrap_servers=kafka)
    admin.create_topics({topic_name: {"num_partitions": 2}}, wait_for_metadata=True)
    admin.close()
    assert run("migrate", dsn, kafka, topic_name).exit_code == ExitCode.NOT_AVAILABLE
    complaint = complaint_of(run(command, dsn, kafka, topic_name), ExitCode.NOT_AVAILABLE)
    assert f"but the cluster's topic {topic_name} has 2: delete it" in complaint


@pytest.mark.usefixtures("in_vain")
def test_whoever_can_read_the_log_goes_on_without_a_broker(
    dsn: str, topic_name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = Settings(kafka=(NO_BROKER,), kafka_topic=topic_name, database_url=SecretStr(dsn))
    with pytest.raises(Failure, match="no broker at"):
        make_topic_or_go_on(settings, dsn)
    going_on: Sequence[Callable[[], object]] = (
        lambda: make_topic_or_go_on(settings, dsn),
        lambda: require_topic_if_any(settings),
    )
    for go_on in going_on:
        go_on()
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(f"TICKETING_KAFKA: no broker at {NO_BROKER} answers")
        assert line.endswith("; until then the log is read in its place")


@pytest.mark.usefixtures("in_vain")
def test_a_relay_without_a_broker_is_one_line(dsn: str, topic_name: str) -> None:
    run("migrate", dsn, NO_BROKER, topic_name)
    complaint = complaint_of(run("relay", dsn, NO_BROKER, topic_name), ExitCode.NOT_AVAILABLE)
    assert complaint.startswith(f"ticketing: TICKETING_KAFKA: no broker at {NO_BROKER} answers")


@pytest.mark.usefixtures("in_vain")
def test_a_relay_needs_brokers_and_a_database(dsn: str) -> None:
    without_brokers = CliRunner().invoke(app, ["relay"], env={"DATABASE_URL": dsn})
    assert "TICKETING_KAFKA: missing" in complaint_of(without_brokers, ExitCode.WRONG_INPUT)
    without_database = CliRunner().invoke(app, ["relay"], env={"TICKETING_KAFKA": NO_BROKER})
    assert "DATABASE_URL: missing" in complaint_of(without_database, ExitCode.WRONG_INPUT)
    out_of_reach = run("relay", NOBODY_LISTENS, NO_BROKER, "sale")
    assert "the database cannot be reached" in complaint_of(out_of_reach, ExitCode.NOT_AVAILABLE)
