"""What tests of commands share: what is logged meanwhile, which is not printed then."""

from collections.abc import Iterator, Sequence

import pytest
from structlog.testing import capture_logs
from structlog.typing import EventDict


@pytest.fixture(autouse=True)
def logs() -> Iterator[Sequence[EventDict]]:
    """What is logged."""
    with capture_logs() as logs:
        yield logs
