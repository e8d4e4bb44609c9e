"""Ports for servers that are told where to listen, and begin to a moment later."""

import random
import socket
from collections.abc import Iterator
from typing import Final

OF_BROKERS: Final = range(20_000, 30_000)
OF_SERVICES: Final = range(10_000, 20_000)
"""Below those that systems give away, to whoever connects or asks for any port: so it is still free then."""


def free_ports(among: range) -> Iterator[int]:
    """Go through ports where nobody listens. Many are chosen from, so that two who choose at once differ."""
    return (port for port in random.SystemRandom().sample(among, len(among)) if _is_free(port))


def _is_free(port: int) -> bool:
    try:
        with socket.create_server(("127.0.0.1", port)):
            return True
    except OSError:
        return False
