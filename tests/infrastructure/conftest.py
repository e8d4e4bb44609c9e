"""What the tests of the infrastructure share."""

import socket

import pytest


@pytest.fixture
def unused_port() -> int:
    """Return a port at which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])
