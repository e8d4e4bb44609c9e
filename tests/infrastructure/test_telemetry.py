"""What the service logs: one JSON object a line, whoever has something to say."""

import json
import subprocess
import sys

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
