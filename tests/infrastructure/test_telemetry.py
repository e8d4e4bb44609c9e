"""What the service logs: one JSON object a line, whoever has something to say."""

import json
import subprocess
import sys

import pytest

SPEAKS = """
import logging
import structlog
from infrastructure.telemetry import configure_logging

configure_logging("info", "json")
structlog.get_logger().info("ours", place=3, forged="two\\nlines")
logging.getLogger("uvicorn.error").warning("a library's %s", "message")
try:
    raise ValueError("broken")
except ValueError:
    logging.getLogger("uvicorn.error").exception("a library's failure")
structlog.get_logger().debug("too quiet")
"""

NO_BROKER = """
from kafka.admin import KafkaAdminClient
from kafka.errors import KafkaTimeoutError
from infrastructure.kafka_client import last_words, open_client
from infrastructure.telemetry import configure_logging

configure_logging("{level}", "text")
with last_words() as words:
    try:
        open_client(
            KafkaAdminClient, dict(bootstrap_servers="127.0.0.1:{port}", bootstrap_timeout_ms=200)
        )
    except KafkaTimeoutError:
        print(words.text)
"""


def test_every_message_is_one_json_object_on_a_line_of_its_own() -> None:
    spoken = subprocess.run(
        [sys.executable, "-c", SPEAKS], capture_output=True, text=True, timeout=20, check=True
    )
    messages = [json.loads(line) for line in spoken.stderr.splitlines()]
    assert [message["event"] for message in messages] == [
        "ours",
        "a library's message",
        "a library's failure",
    ]
    assert messages[0]["forged"] == "two\nlines"
    assert [message["level"] for message in messages] == ["info", "warning", "error"]
    assert "ValueError: broken" in messages[2]["exception"]
    assert all(message["timestamp"].endswith("Z") for message in messages)


@pytest.mark.parametrize(("level", "speaks"), [("info", False), ("debug", True)])
def test_kafka_python_is_heard_only_by_those_who_log_everything(
    level: str, *, speaks: bool, unused_port: int
) -> None:
    """It says many lines a second while no broker answers."""
    spoken = subprocess.run(
        [sys.executable, "-c", NO_BROKER.format(level=level, port=unused_port)],
        capture_output=True,
        text=True,
        timeout=20,
        check=True,
    )
    assert ("Bootstrap failed" in spoken.stderr) is speaks
    assert bool(spoken.stderr) is speaks
    assert "ECONNREFUSED" in spoken.stdout


def test_a_line_that_cannot_be_written_fails_nothing() -> None:
    """The disk of the logs may be full when there is most to say."""
    goes_on = f"{SPEAKS}\nprint('went on')"
    with open("/dev/full", "w") as full:  # noqa: PTH123 (a device, on which every write fails)
        spoken = subprocess.run(
            [sys.executable, "-c", goes_on],
            stdout=subprocess.PIPE,
            stderr=full,
            text=True,
            timeout=20,
            check=False,
        )
    assert spoken.stdout == "went on\n"
