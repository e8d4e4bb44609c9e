"""Runs the broker of a test run, for as long as that run lives: `python -m tests.kafka.guard FOLDER`."""

import sys
from pathlib import Path

from tests.kafka.broker import Broker
from tests.shared_server import guarded, serve_until_the_end


def guard(folder: Path) -> None:
    """Start the broker, say where it listens, and end it when the run has ended."""
    with guarded(folder), Broker(folder) as broker:
        serve_until_the_end(folder, broker.address)


if __name__ == "__main__":
    guard(Path(sys.argv[1]))
