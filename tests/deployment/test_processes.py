"""The processes of the compose file, with the environment that it gives them, sell a hall over a real Kafka.

What Docker would do is done by hand: PostgreSQL and Kafka are found on this machine in place of the names of
their containers, and each API process listens on a port of its own.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any, Final, LiteralString, NamedTuple
from urllib.parse import quote
from urllib.request import urlopen

import psycopg
import pytest
from kafka import KafkaConsumer
from kafka.structs import TopicPartition

from infrastructure.embedded_postgres import EmbeddedPostgres, programs
from tests.cli.running_service import TICKETING, free_port, wait_until
from tests.deployment.compose import ROOT, SECRETS, ours

BUYERS, SEATS = 30, 20
CODES: Final = ("AT-THE-FIRST", "AT-THE-SECOND")

CATALOGUE: Final = "concerts:" + "".join(
    f"""
  - code: {code}
    title: A small hall
    venue: Small Hall
    sales: open
    policy: {{max_active: 10, max_seats_per_user: 1}}
    seats: [{{first: 1, last: {SEATS}, type: STANDARD, price: 50000}}]
    performances: [{{date: {{in_days: 9}}, start_time: "19:00"}}]
"""
    for code in CODES
)

HEALTHY_WITHIN_S: Final = 40.0

PASSWORDS_COUNT: Final = "local all postgres trust\nlocal all all scram-sha-256\n"
"""As over a network: otherwise whoever reaches the socket is trusted."""

pytestmark = pytest.mark.xdist_group("up")


class Process(NamedTuple):
    """One container of the compose file, as a process."""

    name: str
    environment: Mapping[str, str]
    health: Sequence[str]
    running: "subprocess.Popen[bytes]"
    said: Path

    def is_healthy(self) -> bool:
        """Ask its health check; whoever has ended is beyond that."""
        assert self.running.poll() is None, self.said.read_text()
        command = [*TICKETING, *self.health[1:]] if self.health[0] == "ticketing" else self.health
        asked = subprocess.run(
            command, env=self.environment, cwd=self.said.parent, capture_output=True, check=False, timeout=30
        )
        return asked.returncode == 0


class Here:
    """This machine, in place of the containers."""

    def __init__(self, folder: Path, postgres: EmbeddedPostgres, kafka: str, topic_name: str) -> None:
        self._folder = folder
        socket_folder = quote(str(postgres.socket_folder), safe="")
        self._replacements = {
            "ticketing@postgres:5432/ticketing": f"ticketing@/ticketing?host={socket_folder}&port=5432",
            "kafka:9092": kafka,
            "0.0.0.0": "127.0.0.1",  # noqa: S104 (what takes its place)
        }
        self.services = ours({**SECRETS, "TICKETING_KAFKA_TOPIC": topic_name})

    def environment(self, name: str, port: int | None = None) -> dict[str, str]:
        """Return what the compose file gives to a service, with this machine's addresses, and no more."""
        surroundings = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        given = {**self.services[name]["environment"]}
        if port is not None and "TICKETING_PORT" in given:
            given["TICKETING_PORT"] = str(port)
        return surroundings | {variable: self._replaced(value) for variable, value in given.items()}

    def run(self, name: str, *words: str) -> str:
        """Run a command with a service's environment, as `docker compose run --rm NAME WORDS` does."""
        ended = subprocess.run(
            [*TICKETING, *words],
            env=self.environment(name),
            cwd=self._folder,
            capture_output=True,
            text=True,
            timeout=50,
            check=False,
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return ended.stdout

    def status(self) -> Any:
        """Ask how the service does; it must do well."""
        return json.loads(self.run("migrate", "status", "--json"))

    @contextmanager
    def started(self, name: str, number: int, port: int) -> Iterator[Process]:
        """Run a container of a service; it is stopped as Docker stops it, and must end cleanly in time."""
        service = self.services[name]
        environment = self.environment(name, port)
        said = self._folder / f"{name}-{number}.log"
        health = [word.replace(":8000/", f":{port}/") for word in service["healthcheck"]["test"][1:]]
        if health[0] == "python":
            health[0] = sys.executable
        with said.open("w") as output:
            running = subprocess.Popen(
                [*TICKETING, *service["command"]],
                env=environment,
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        try:
            yield Process(name, environment, health, running, said)
        finally:
            running.terminate()
            try:
                code = running.wait(int(service["stop_grace_period"].removesuffix("s")))
            except subprocess.TimeoutExpired:
                running.kill()
                raise
        assert code == 0, said.read_text()

    def _replaced(self, value: str) -> str:
        for ours_there, ours_here in self._replacements.items():
            value = value.replace(ours_there, ours_here)
        return value


@pytest.fixture
def here(tmp_path: Path, own_postgres: EmbeddedPostgres, kafka: str, topic_name: str) -> Here:
    make_database(own_postgres)
    return Here(tmp_path, own_postgres, kafka, topic_name)


def make_database(postgres: EmbeddedPostgres) -> None:
    """Do what PostgreSQL's container does once, and have passwords count from then on."""
    subprocess.run(
        [ROOT / "deployment" / "create-database.sh"],
        env={
            "PATH": f"{programs()}:{os.environ['PATH']}",
            "PGHOST": str(postgres.socket_folder),
            "DATABASE_PASSWORD": SECRETS["DATABASE_PASSWORD"],
        },
        timeout=20,
        check=True,
    )
    (postgres.folder / "pg_hba.conf").write_text(PASSWORDS_COUNT)
    with psycopg.connect(postgres.dsn) as connection:
        connection.execute("SELECT pg_reload_conf()")


def test_the_processes_of_the_compose_file_sell_a_hall_over_kafka(
    here: Here, own_postgres: EmbeddedPostgres, kafka: str, topic_name: str, tmp_path: Path
) -> None:
    here.run("migrate", *here.services["migrate"]["command"])
    with ExitStack() as stack:
        processes, urls = start_all(here, stack)
        for process in asked_for_health(processes):
            wait_until(process.is_healthy, f"{process.name} is healthy", HEALTHY_WITHIN_S)
        (tmp_path / "concerts.yaml").write_text(CATALOGUE)
        here.run("migrate", "catalogue", "load", "concerts.yaml")
        for code, url in zip(CODES, urls, strict=True):
            sell(here, code, url, tmp_path / f"{code}.json")
        log = logged(own_postgres)
        wait_until(lambda: here.status()["topic"]["position"] == log[-1], "all of it on the topic")
        check_processes(here.status())
        wait_until(lambda: read_by_projectors(own_postgres) == ["topic", "topic"], "both follow the topic")
        assert sorted(set(published(kafka, topic_name))) == log


def start_all(here: Here, stack: ExitStack) -> tuple[list[Process], list[str]]:
    """Start as many of each as the compose file says; return them, and where the API listens."""
    processes, urls = [], []
    for name, service in here.services.items():
        for number in range(int(service.get("deploy", {"replicas": 0})["replicas"])):
            port = free_port()
            processes.append(stack.enter_context(here.started(name, number, port)))
            if name == "api":
                urls.append(f"http://127.0.0.1:{port}")
    return processes, urls


def asked_for_health(processes: Sequence[Process]) -> Sequence[Process]:
    """Choose whom to ask: workers of one role on one machine answer for each other."""
    workers = {process.name: process for process in processes if process.name != "api"}
    return [*(process for process in processes if process.name == "api"), *workers.values()]


def sell(here: Here, code: str, url: str, report_file: Path) -> None:
    """Have a crowd buy all seats of a concert, once it is there, and the audit find nothing."""
    wait_until(lambda: offers(url, code), f"{code} can be seen")
    crowd = ["rush", "--buyers", str(BUYERS), "--concert", code, "--url", url, "--poll-every", "200"]
    here.run("api", *crowd, "--json", str(report_file))
    report = json.loads(report_file.read_text())
    assert report["seats_bought"] == SEATS
    assert report["audit"]["ok"] is True, report["audit"]["breaches"]
    assert report["audit"]["read_models"]["different"] == 0


def offers(url: str, code: str) -> bool:
    """Whether the API tells of a concert."""
    with urlopen(f"{url}/api/v1/concerts", timeout=5) as answer:  # noqa: S310 (our own address)
        return code in answer.read().decode()


def check_processes(status: Mapping[str, Any]) -> None:
    """Two of each run, one relay and one timer lead, and the projectors share the topic."""
    assert status["wrong"] == []
    found = status["processes"]
    for role in ("api", "relay", "projector", "timer"):
        assert len([one for one in found if one["role"] == role]) == 2, role
    for role in ("relay", "timer"):
        assert sorted(one["leads"] for one in found if one["role"] == role) == [False, True]
    shares = [one["partitions"] for one in found if one["role"] == "projector"]
    assert all(shares)
    assert sorted(partition for share in shares for partition in share) == list(
        range(status["topic"]["partitions"])
    )


def logged(postgres: EmbeddedPostgres) -> list[int]:
    """Return the positions of all events, in order."""
    return column(postgres, "SELECT notification_id FROM ticketing.ticketing_events ORDER BY notification_id")


def read_by_projectors(postgres: EmbeddedPostgres) -> list[str]:
    """Return what each of them reads at the moment, as it tells itself: the topic, or the log."""
    return column(postgres, "SELECT facts ->> 'reads' FROM ticketing.worker_status WHERE role = 'projector'")


def column(postgres: EmbeddedPostgres, query: LiteralString) -> list[Any]:
    """Return what a query finds in the service's database."""
    with psycopg.connect(postgres.dsn.replace("@/postgres?", "@/ticketing?")) as connection:
        return [value for (value,) in connection.execute(query).fetchall()]


def published(kafka: str, topic_name: str) -> list[int]:
    """Return the positions of all messages."""
    with closing(KafkaConsumer(bootstrap_servers=kafka, auto_offset_reset="earliest")) as consumer:
        partitions = [
            TopicPartition(topic_name, number) for number in consumer.partitions_for_topic(topic_name) or ()
        ]
        consumer.assign(partitions)
        left = sum(consumer.end_offsets(partitions).values())
        positions: list[int] = []
        while len(positions) < left:
            for records in consumer.poll(timeout_ms=1_000).values():
                positions += [int(dict(record.headers)["ce_position"]) for record in records]
        return positions
