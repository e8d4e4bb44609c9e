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
