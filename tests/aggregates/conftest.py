"""What tests of decisions share: a machine whose own clock shows another time than UTC."""

import time
from collections.abc import Iterator

import pytest


@pytest.fixture
def machine_elsewhere(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let the machine stand far from Greenwich."""
    with monkeypatch.context() as elsewhere:
        elsewhere.setenv("TZ", "Pacific/Auckland")
        time.tzset()
        yield
    time.tzset()
