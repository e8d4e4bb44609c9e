from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

pytest.register_assert_rewrite("tests.api.contract", "tests.api.grammar")

from tests.api.grammar import Api  # noqa: E402 (after what it is to be read with)
from tests.api.service import Service  # noqa: E402
from tests.postgres_fixtures import Databases  # noqa: E402
from tests.postgres_guard import TEMPLATE  # noqa: E402

Start = Callable[..., Api]


@pytest.fixture(scope="session")
def service(databases: Databases) -> Iterator[Service]:
    """One service for all tests that share it: each has concerts and users of its own."""
    with Service(databases.create(TEMPLATE)) as service:
        yield service


@pytest.fixture
def api(service: Service) -> Iterator[Api]:
    api = Api(service)
    yield api
    api.close()


@pytest.fixture
def start(dsn: str) -> Iterator[Start]:
    """Start a service on a database of the test's own, with other settings or another connection."""
    with ExitStack() as stack:

        def start(*, to: str | None = None, **settings: Any) -> Api:
            service = stack.enter_context(Service(to or dsn, **settings))
            api = Api(service)
            stack.callback(api.close)
            return api

        yield start
