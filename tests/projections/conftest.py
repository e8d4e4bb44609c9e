from collections.abc import Iterator

import pytest

from tests.projections.read_models import ReadModels


@pytest.fixture
def read_models(dsn: str) -> Iterator[ReadModels]:
    with ReadModels(dsn) as models:
        yield models
