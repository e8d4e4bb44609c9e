"""The Kafka of the tests themselves: fetched whole, and as lasting as a test wants it."""

import os
import signal
import socket
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Final

import psutil
import pytest
from kafka import KafkaConsumer, KafkaProducer
from kafka.admin import KafkaAdminClient, NewTopic
from kafka.structs import TopicPartition

from tests.cli.running_service import wait_until
from tests.kafka.broker import Broker
from tests.kafka.programs import KafkaError, caches, programs
from tests.kafka_fixtures import GIVEN

ROOT: Final = Path(__file__).parents[1]

CACHES: Final = caches()
"""`pytester` gives its runs another home."""

SKIPPED_TESTS = """
    def test_that_needs_a_broker(kafka): pass
    def test_that_needs_one_too(kafka): pass
    def test_that_needs_its_own(own_kafka): pass
"""


def write_maven(folder: Path, does: str) -> None:
    """Put a program in Maven's place, which does that with the folder that it is asked to fill."""
    program = folder / "mvn"
    program.write_text(
        f"""#!/bin/sh
        for argument; do
            case $argument in -DoutputDirectory=*) folder=${{argument#*=}} ;; esac
        done
        mkdir -p "$folder"
        {does}
        """
    )
    program.chmod(0o700)


def publish(address: str, topic: str, value: bytes) -> None:
    with closing(KafkaProducer(bootstrap_servers=address, acks="all")) as producer:
        producer.send(topic, value=value, partition=0).get(timeout=10)


def published(address: str, topic: str) -> list[bytes | None]:
    with closing(
        KafkaConsumer(bootstrap_servers=address, auto_offset_reset="earliest", consumer_timeout_ms=5000)
    ) as consumer:
        partition = TopicPartition(topic, 0)
        consumer.assign([partition])
        end = consumer.end_offsets([partition])[partition]
        return [next(consumer).value for _ in range(end)]


def make_topic(address: str, topic: str) -> None:
    with closing(KafkaAdminClient(bootstrap_servers=address)) as admin:
        admin.create_topics([NewTopic(topic, 1, 1)])


def test_the_broker_of_the_run_takes_messages_and_gives_them_back(kafka: str, topic_name: str) -> None:
    make_topic(kafka, topic_name)
    publish(kafka, topic_name, b"a message")
    assert published(kafka, topic_name) == [b"a message"]


def test_a_broker_comes_back_at_its_address_with_what_it_had(own_kafka: Broker) -> None:
    address = own_kafka.address
    make_topic(address, "kept")
    publish(address, "kept", b"before a kill")
    own_kafka.kill()
    assert own_kafka.pid is None
    own_kafka.start()
    publish(address, "kept", b"before a stop")
    own_kafka.stop()
    own_kafka.start()
    assert own_kafka.address == address
    assert published(address, "kept") == [b"before a kill", b"before a stop"]


def test_a_suspended_broker_stands_still_and_can_still_be_stopped_in_order(own_kafka: Broker) -> None:
    assert own_kafka.pid is not None
    process = psutil.Process(own_kafka.pid)
    own_kafka.suspend()
    wait_until(lambda: process.status() == psutil.STATUS_STOPPED, "suspended")
    own_kafka.resume()
    wait_until(lambda: process.status() != psutil.STATUS_STOPPED, "resumed")
    own_kafka.suspend()
    own_kafka.stop()
    assert not process.is_running()
    assert "shut down completed" in own_kafka.log_file.read_text()


def test_a_broker_that_cannot_start_says_why(own_kafka: Broker) -> None:
    own_kafka.stop()
    with (
        socket.create_server(("127.0.0.1", own_kafka.port)),
        pytest.raises(KafkaError, match=r"did not start: .*in use"),
    ):
        own_kafka.start()


def test_a_fetch_that_was_cut_off_leaves_nothing_that_a_later_run_would_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kafka: str
) -> None:
    jars = programs().jars
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    write_maven(tmp_path, 'touch "$folder/half.jar"; kill -9 $PPID')
    fetch = "from tests.kafka.programs import programs; programs()"
    cut_off = subprocess.run([sys.executable, "-c", fetch], cwd=ROOT, timeout=20, check=False)
    assert cut_off.returncode == -signal.SIGKILL
    assert list(tmp_path.glob("**/half.jar"))
    write_maven(tmp_path, f'cp {jars}/* "$folder"')
    assert {jar.name for jar in programs().jars.iterdir()} == {jar.name for jar in jars.iterdir()}
    assert not list(tmp_path.glob("**/half.jar"))
    write_maven(tmp_path, "exit 1")
    assert programs().formatted.exists(), "what is there is not fetched again"


def test_a_fetch_that_fails_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    write_maven(tmp_path, "echo '[ERROR] out of reach'; exit 1")
    with pytest.raises(KafkaError, match=r"mvn did not fetch Kafka: \[ERROR\] out of reach"):
        programs()


@pytest.mark.parametrize(
    ("ci", "outcome"), [("false", pytest.ExitCode.OK), ("true", pytest.ExitCode.TESTS_FAILED)]
)
def test_a_machine_without_java_skips_in_one_line_and_fails_in_ci(
    ci: str, outcome: pytest.ExitCode, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, kafka: str
) -> None:
    monkeypatch.setenv("CI", ci)
    monkeypatch.delenv(GIVEN, raising=False)
    monkeypatch.setenv("PATH", os.fspath(pytester.path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(CACHES))
    pytester.makepyfile(SKIPPED_TESTS)
    plugins = ("-p", "tests.kafka_fixtures", "-p", "tests.skipped_tests")
    result = pytester.runpytest_subprocess(*plugins, "-rs")
    assert result.ret == outcome
    (skipped,) = (line for line in result.outlines if line.startswith("SKIPPED"))
    assert skipped.startswith("SKIPPED [3]")
    assert skipped.endswith(": there is no Java here to run Kafka with")


def test_a_broker_that_is_there_already_is_used_as_it_is(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(GIVEN, "broker.example:9092")
    monkeypatch.setenv("PATH", os.fspath(pytester.path))
    pytester.makepyfile("def test_that_needs_a_broker(kafka): assert kafka == 'broker.example:9092'")
    pytester.runpytest_subprocess("-p", "tests.kafka_fixtures").assert_outcomes(passed=1)
