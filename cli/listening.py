"""The socket on which the API listens: bound before all else, so that a taken port is one clear line."""

import errno
import os
import socket
import stat
import time
from typing import Final

from cli.console import ExitCode, Failure
from infrastructure.settings import Settings

BACKLOG: Final = 2_048
"""A whole crowd comes at once; who is not accepted yet waits in the kernel."""


LEFTOVERS_S: Final = 1.0
"""Processes whose supervisor was killed end about so soon, and the port with them."""

RETRY_PAUSE_S: Final = 0.05


def listen(settings: Settings) -> socket.socket:
    """Listen on TICKETING_HOST and TICKETING_PORT, or fail with the reason."""
    host, port = settings.host, settings.port
    try:
        return _listening_socket(host, port)
    except socket.gaierror as error:
        raise Failure(f"TICKETING_HOST: {host}: {error.strerror}", ExitCode.WRONG_INPUT) from None
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise Failure(
                f"port {port} of {host} is taken: stop what listens there, or set TICKETING_PORT to another"
            ) from None
        raise Failure(f"cannot listen on port {port} of {host}: {error.strerror}") from None


def _listening_socket(host: str, port: int) -> socket.socket:
    family, _, _, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    deadline = time.monotonic() + LEFTOVERS_S
    while True:
        try:
            return socket.create_server(address[:2], family=family, backlog=BACKLOG)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or time.monotonic() > deadline:
                raise
        time.sleep(RETRY_PAUSE_S)


def inherited(descriptor: int) -> int:
    """Return an inherited listening socket's file descriptor, or fail where it is none."""
    try:
        is_socket = stat.S_ISSOCK(os.fstat(descriptor).st_mode)
    except OSError:
        is_socket = False
    if not is_socket:
        raise Failure(f"--fd: {descriptor} is not an inherited socket", ExitCode.WRONG_INPUT)
    return descriptor
