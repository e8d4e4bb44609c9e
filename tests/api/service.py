"""The API as one process runs it, with a projector beside it, on a free port and in a thread of its own."""

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import AsyncExitStack, contextmanager
from http import HTTPStatus
from http.client import HTTPConnection
from types import TracebackType
from typing import Any, Self, TypeVar

import uvloop

from api.connections import REQUEST_S
from api.server import http_server, running_services, serve
from api.services import Services
from commands.bus import Answer
from commands.command import Command
from infrastructure.feed import PostgresFeed
from infrastructure.settings import Settings
from projections.projector import Projector
from projections.registry import PROJECTIONS
from tests.infrastructure.proxy import Proxy

T = TypeVar("T")

ADMIN_KEY = "the-admin-key"
SECRET = "the secret that signs the tokens of these tests"

WITHIN_S = 20.0
"""Nothing here takes so long; the machine may be busy."""

LOOK_EVERY_S = 0.01


class Service:
    """Starts when it is entered, and then answers; it ends cleanly."""

    services: Services
    """What its handlers share."""
    store: Proxy
    """Its way to PostgreSQL where it is `proxied`, for a test to cut. The projector has another."""

    def __init__(
        self,
        dsn: str,
        *,
        projects: bool = True,
        proxied: bool = False,
        waits: bool = True,
        request_s: float = REQUEST_S,
        **settings: Any,
    ) -> None:
        """Without `projects` another one keeps the read models; without `waits` it need not be ready."""
        self._request_s = request_s
        self.dsn = dsn
        self._proxied = proxied
        self._projects = projects
        self._waits = waits
        self.settings = settings_of(**settings)
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=2_048)
        self.address: tuple[str, int] = self._listener.getsockname()[:2]
        self._loop = uvloop.new_event_loop()
        self._projecting: asyncio.Task[None] | None = None
        self._ended: Future[None] = Future()
        self._thread = threading.Thread(target=self._run, name="api")

    def __enter__(self) -> Self:
        self._thread.start()
        self.until(lambda: self._answers("/readyz" if self._waits else "/healthz"))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._ended.done():
            self.soon(self._stop)
        self._thread.join()
        self._ended.result()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Do something where the service runs."""
        return self.start(work).result(WITHIN_S)

    def start(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Begin something where the service runs."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def soon(self, do: Callable[[], None]) -> None:
        """Call something where the service runs."""
        self._loop.call_soon_threadsafe(do)

    def do(self, command: Command) -> Answer:
        """Send a command past HTTP, as the timer does; it is not refused."""
        (answer,) = self.do_all([command])
        return answer

    def do_all(self, commands: Iterable[Command]) -> Sequence[Answer]:
        """Send commands together past HTTP; none of them is refused."""

        async def execute() -> Sequence[Answer]:
            return await asyncio.gather(*(self.services.bus.execute(command) for command in commands))

        answers = self.run(execute())
        assert [one.outcome for one in answers if isinstance(one.outcome, Exception)] == []
        return answers

    @property
    def connections(self) -> Sequence[Any]:
        """Those that are open, as the server holds them."""
        return list(self._server.server_state.connections)

    @contextmanager
    def without_projector(self) -> Iterator[None]:
        """Let the read models stay where they are."""
        self.run(self._stop_projector())
        yield
        self.soon(self._start_projector)

    def until(self, condition: Callable[[], object]) -> None:
        """Wait until the condition holds."""
        deadline = time.monotonic() + WITHIN_S
        while not condition():
            assert time.monotonic() < deadline, "waited in vain"
            if self._ended.done():
                self._ended.result()
            time.sleep(LOOK_EVERY_S)

    def _answers(self, path: str) -> bool:
        connection = HTTPConnection(*self.address, timeout=WITHIN_S)
        try:
            connection.request("GET", path)
            return connection.getresponse().status == HTTPStatus.OK
        except OSError:
            return False
        finally:
            connection.close()

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
                runner.run(self._serve())
        except BaseException as error:  # noqa: BLE001 (raised again in the test's own thread)
            self._ended.set_exception(error)
        else:
            self._ended.set_result(None)
        finally:
            self._listener.close()

    async def _serve(self) -> None:
        async with AsyncExitStack() as stack:
            dsn = self.dsn
            if self._proxied:
                self.store = await stack.enter_async_context(Proxy(dsn))
                dsn = self.store.dsn
            self.services = services = await stack.enter_async_context(running_services(self.settings, dsn))
            self._server = http_server(services)
            if self._projects:
                self._start_projector()
            stack.push_async_callback(self._stop_projector)
            await serve(self._server, self._listener, request_s=self._request_s)

    def _stop(self) -> None:
        self._server.should_exit = True

    def _start_projector(self) -> None:
        self._projector_stops = asyncio.Event()
        self._projecting = self._loop.create_task(self._project(self._projector_stops))

    async def _project(self, stop: asyncio.Event) -> None:
        feed = PostgresFeed(self.dsn)
        await Projector(self.dsn, feed, PROJECTIONS).run(stop)
        await feed.close()

    async def _stop_projector(self) -> None:
        if self._projecting is not None:
            self._projector_stops.set()
            await self._projecting


def settings_of(**values: Any) -> Settings:
    """Make settings of these values, without a file `.env` that may lie around."""
    make: Any = Settings
    settings: Settings = make(
        _env_file=None, **{"admin_key": ADMIN_KEY, "token_secrets": (SECRET,), **values}
    )
    return settings
