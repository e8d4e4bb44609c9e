"""One rush from its first look at the service to the audit of its log."""

import asyncio
import signal
import sys
import time
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from typing import Any, Final, NamedTuple, TypeVar
from urllib.parse import quote, urlsplit

from audit import Report
from audit import run as audit_log
from cli.console import ExitCode, Failure, err
from cli.crowd import service_audit
from cli.crowd.answers import Concert, Concerts
from cli.crowd.calls import NoAnswer, Service, UnexpectedAnswer, in_words
from cli.crowd.connections import Connections, NotHttp
from cli.crowd.crowd import Crowd
from cli.crowd.display import show_progress
from cli.crowd.report import RushReport, report
from cli.crowd.visit import Visit, Wish
from cli.environment import database_failures
from infrastructure.data_folder import DataFolder, DataFolderError
from infrastructure.settings import Settings

T = TypeVar("T")

API: Final = "/api/v1"

FIRST_LOOK_S_MAX: Final = 5
"""Where nothing answers at all, this says so soon."""


class Rush(NamedTuple):
    """What was asked for."""

    url: str
    arrival: str
    """How the arrivals came about, in words."""
    arrivals: Sequence[float]
    connections: int
    wish: Wish


def run(rush: Rush) -> RushReport:
    """Run it, and show on standard error how it goes. Raises Failure."""
    return _finish(_run(rush))


def audit(rush: Rush, settings: Settings, position: int) -> Report | None:
    """Have the service audit its log up to `position`, or audit it from here, or say why neither can be.

    Raises Failure.
    """
    admin_key = _admin_key(rush, settings)
    if admin_key is not None:
        try:
            return _finish(_audit(rush, admin_key, position))
        except (service_audit.AuditFailed, NoAnswer, UnexpectedAnswer) as error:
            raise Failure(f"the rush is over, but its audit failed: {error}") from None
    if settings.database_url is None:
        err.print("The log was not audited: set TICKETING_ADMIN_KEY to the service's, or DATABASE_URL.")
        return None
    with database_failures(settings):
        return audit_log(settings.database_url.get_secret_value())


def _finish(work: Coroutine[Any, Any, T]) -> T:
    if sys.platform == "win32":
        return asyncio.run(work)
    import uvloop

    return uvloop.run(work)


def _connections(rush: Rush) -> Connections:
    return Connections(f"{rush.url}{API}", rush.connections)


async def _run(rush: Rush) -> RushReport:
    async with _connections(rush) as connections:
        await _require_on_sale(connections, rush)
        service = Service(connections)
        crowd = Crowd(service, rush.wish, rush.arrivals)
        began_at = time.perf_counter()
        _send_home_on_interrupt(crowd)
        visits = await _watched(crowd)
        return report(
            concert=rush.wish.concert,
            url=rush.url,
            arrival=rush.arrival,
            interrupted=crowd.sent_home.is_set(),
            visits=visits,
            measured=service.measured,
            seconds=crowd.seconds,
            seconds_in_all=time.perf_counter() - began_at,
        )


async def _audit(rush: Rush, admin_key: str, position: int) -> Report:
    async with _connections(rush) as connections:
        return await service_audit.audit(Service(connections), admin_key, position)


async def _require_on_sale(connections: Connections, rush: Rush) -> None:
    """Fail early, and in one line, where no buyer could get anywhere."""
    code = rush.wish.concert
    try:
        one = await connections.ask("GET", f"/concerts/{quote(code, safe='')}", within_s=FIRST_LOOK_S_MAX)
        all_of_them = await connections.ask("GET", "/concerts", within_s=FIRST_LOOK_S_MAX)
    except (OSError, NotHttp) as error:
        raise Failure(
            f"no service answers at {rush.url} ({in_words(error)}): start it with `ticketing up`"
        ) from None
    concert, concerts = Concert.of(one.body), Concerts.of(all_of_them.body)
    if concerts is None:
        raise Failure(f"what answers at {rush.url} is not this service")
    if concert is None:
        codes = ", ".join(item.code for item in concerts.items) or "none"
        raise Failure(f"--concert: there is no {code} at {rush.url}; there is {codes}", ExitCode.WRONG_INPUT)
    if concert.sales != "OPEN":
        raise Failure(f"{code} is not on sale: open it with POST /api/v1/admin/concerts/{code}/sales/open")


def _send_home_on_interrupt(crowd: Crowd) -> None:
    """The first Ctrl-C sends everyone home, the second ends it at once."""
    loop = asyncio.get_running_loop()

    def interrupted() -> None:
        loop.remove_signal_handler(signal.SIGINT)
        err.print("Sending everyone home …")
        crowd.send_home()

    if sys.platform != "win32":
        loop.add_signal_handler(signal.SIGINT, interrupted)


async def _watched(crowd: Crowd) -> Sequence[Visit]:
    watching = asyncio.create_task(show_progress(crowd, err))
    try:
        return await crowd.run()
    finally:
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching


def _admin_key(rush: Rush, settings: Settings) -> str | None:
    """The key of the settings; the data folder's goes to the service of this machine alone."""
    if settings.admin_key is not None:
        return settings.admin_key.get_secret_value()
    parts = urlsplit(rush.url)
    if (parts.hostname, parts.port) != (settings.host, settings.port):
        return None
    try:
        secrets = DataFolder(settings.data_dir).known_secrets()
    except DataFolderError as error:
        raise Failure(str(error)) from None
    return None if secrets is None else secrets.admin_key
