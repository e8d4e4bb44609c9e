"""`ticketing up` with Kafka: a relay runs, too."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest

from infrastructure.data_folder import DataFolder
from infrastructure.embedded_postgres import EmbeddedPostgres
from tests.cli.running_service import RunningService, free_port, running_service, wait_until
from tests.kafka.broker import Broker
from tests.kafka.users import WITH_USERS

PASSWORD = "TICKETING_KAFKA_SASL_PASSWORD"

pytestmark = pytest.mark.xdist_group("up")


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder in which root, too, can run a PostgreSQL."""
    path = Path(tempfile.mkdtemp(prefix="ticketing-up-"))
    path.chmod(0o711)
    yield path
    shutil.rmtree(path)


def test_it_runs_a_relay_and_tells_kafka_s_password_to_nobody_else(folder: Path) -> None:
    with Broker(folder / "kafka", more_properties=WITH_USERS) as broker:
        kafka = {
            "TICKETING_KAFKA": broker.address,
            "TICKETING_KAFKA_SECURITY_PROTOCOL": "sasl_plaintext",
            "TICKETING_KAFKA_SASL_MECHANISM": "plain",
            "TICKETING_KAFKA_SASL_USERNAME": "broker",
            PASSWORD: "b",
        }
        with running_service(folder / "data", free_port(), **kafka) as service:
            children = service.children()
            assert {"relay", "project", "timer", "api", "postgres"} == set(children)
            assert {name for name, child in children.items() if knows(child, PASSWORD)} == {
                "relay",
                "project",
            }
            assert not knows(children["relay"], "TICKETING_TOKEN_SECRET")
            wait_until(lambda: is_published(service), "all of the sample catalogue is on the topic")
            assert (folder / "data" / "logs" / "relay.log").exists()


def knows(child: psutil.Process, variable: str) -> bool:
    return variable in child.environ()


def is_published(service: RunningService) -> bool:
    folder = DataFolder(service.data_folder)
    with psycopg.connect(EmbeddedPostgres(folder.postgres, folder.postgres_log).dsn) as connection:
        rows = connection.execute(
            """
            SELECT topic.position = max(notification_id)
            FROM ticketing.topic, ticketing.ticketing_events
            GROUP BY topic.position
            """
        ).fetchall()
    return rows == [(True,)]
