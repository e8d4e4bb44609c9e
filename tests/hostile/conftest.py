"""What these tests share: the API in this process, and a whole service with a sale in it."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.api.conftest import api, service, start
from tests.cli.running_service import RunningService, free_port, running_service

__all__ = ["api", "service", "start"]


@pytest.fixture(scope="session")
def whole_service() -> Iterator[RunningService]:
    """`ticketing up`, as talkative as it can be; its users run in one process of the test run."""
    folder = Path(tempfile.mkdtemp(prefix="ticketing-hostile-"))
    folder.chmod(0o711)  # root has PostgreSQL run by another account
    with running_service(folder / "data", free_port(), "--no-sample", TICKETING_LOG_LEVEL="debug") as running:
        yield running
    shutil.rmtree(folder)
