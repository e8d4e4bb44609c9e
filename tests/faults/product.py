"""The whole product as in production, on a PostgreSQL of its own: two of each process, and who restarts them.

`ticketing up` runs PostgreSQL, an API process, a projector and a timer; it is started again whenever it ends,
as by an init. A second API process, projector and timer run beside it, as on another machine: a supervisor
keeps them running, and a proxy stands between them and PostgreSQL. With Kafka there is a broker, and a relay
on either side.
"""

import asyncio
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Final, LiteralString, Self

import aiohttp
import psutil
from confluent_kafka.admin import AdminClient
from psycopg import AsyncConnection
from psycopg.conninfo import make_conninfo

from cli.one_process import LIFELINE_VARIABLE
from infrastructure.data_folder import DataFolder
from infrastructure.embedded_postgres import EmbeddedPostgres
from tests.asynchronous import until
from tests.cli.running_service import TICKETING, _named, free_port
from tests.faults.clock import Clock, compiled
from tests.faults.disk import Disk
from tests.infrastructure.proxy import Proxy
from tests.kafka.broker import Broker
from workers.supervisor import Lifeline, ProcessChild, Supervisor

TOPIC: Final = "ticketing.events"
"""As it is called unless the settings say otherwise."""

READY_WITHIN_S: Final = 60.0
STOPS_WITHIN_S: Final = 20.0
PUBLISHED_WITHIN_S: Final = 20.0

LOOK_EVERY_S: Final = 0.05

INIT_PAUSE_S: Final = 0.2
"""So long an init waits before it starts a service again."""

CONNECT_TIMEOUT_S: Final = 3
ASK_S_MAX: Final = 2.0

BESIDE: Final = ("api", "project", "timer")

TOPIC_POSITION: LiteralString = "SELECT position FROM ticketing.topic"
LOG_POSITION: LiteralString = "SELECT coalesce(max(notification_id), 0) FROM ticketing.ticketing_events"

ROLE_BESIDE: Final = "beside"
"""As whom these connect: so the database can tell whose a session is."""

ROLE_UNDER_UP: Final = "postgres"
"""As whom all others do."""


class Product:
    """Starts when it is entered, and then serves at `urls`; it ends cleanly."""

    proxy: Proxy
    """Between PostgreSQL and what runs beside `up`."""
    started_in_s: float
    """So long all of it took to start, but for the broker."""

    def __init__(self, folder: Path, *, kafka: bool = False) -> None:
        """`folder` is for its data and logs; anyone may pass through it."""
        self.disk = Disk(folder / "data")
        self.broker = Broker(folder / "kafka") if kafka else None
        self.on_topic_after = 0
        """The topic has all of the log behind this position; nobody knows what it has before."""
        self.admin_key = "the-admin-key-of-a-service-whose-processes-die"
        self.logs = folder / "logs"
        self.ports = (free_port(), free_port())
        self.urls: Sequence[str] = [f"http://127.0.0.1:{port}" for port in self.ports]
        self._folder = folder
        data_folder = DataFolder(self.disk.folder)
        self.postgres_logs = data_folder.logs
        self.dsn = EmbeddedPostgres(data_folder.postgres, data_folder.postgres_log).dsn
        library = compiled(folder)
        self.can_jump = library is not None
        """Whether clocks can be made to jump."""
        self.clocks = [Clock(folder / f"clock-{number}", library) for number in (1, 2)]
        """Of the processes that `up` runs, and of those beside it."""
        self.lifeline = Lifeline()
        self._beside: Sequence[str] = (*BESIDE, "relay") if kafka else BESIDE
        self._stack = AsyncExitStack()
        self._up: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        self.logs.mkdir()
        self._stack.enter_context(self.disk)
        self.proxy = await self._stack.enter_async_context(Proxy(self.dsn))
        try:
            await self._start_broker()
            began = time.monotonic()
            await self._start()
        except BaseException:
            await self._stack.aclose()
            raise
        self.started_in_s = time.monotonic() - began
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    def pid(self, name: str) -> int | None:
        """Return the id of `up`, `postgres`, `api-1`, `api-2` and so on; None while it is gone."""
        process = self._processes().get(name)
        return None if process is None else process.pid

    @property
    def is_whole(self) -> bool:
        """Whether every process runs, under who is to look after it."""
        is_broker_there = self.broker is None or self.broker.pid is not None
        up_and_postgres = 2
        return is_broker_there and len(self._processes()) == up_and_postgres + 2 * len(self._beside)

    def signal(self, name: str, number: signal.Signals) -> bool:
        """Send a signal; false where there is nobody to get it."""
        pid = self.pid(name)
        if pid is None:
            return False
        with suppress(ProcessLookupError):
            os.kill(pid, number)
            return True
        return False

    def name_at(self, port: int) -> str:
        """Return which of those beside `up` has this port at its end of a connection."""
        return next(
            name
            for name, process in self._processes().items()
            if name.endswith("-2") and any(line.laddr.port == port for line in process.net_connections())
        )

    async def connect(self) -> AsyncConnection[Any]:
        """Connect to PostgreSQL, past the proxy."""
        return await AsyncConnection.connect(
            self.dsn, autocommit=True, connect_timeout=CONNECT_TIMEOUT_S, application_name="faults"
        )

    async def delete_topic(self) -> None:
        """Delete the topic, with all that is on it."""
        assert self.broker is not None
        admin = AdminClient({"bootstrap.servers": self.broker.address})
        deleting = admin.delete_topics([TOPIC], operation_timeout=ASK_S_MAX)[TOPIC]
        await asyncio.to_thread(deleting.result, ASK_S_MAX + 1)

    async def expect_topic_from_here(self) -> None:
        """Note that the topic was deleted, and that what was published until now may have gone with it."""
        async with await self.connect() as connection:
            self.on_topic_after = await _position(connection, TOPIC_POSITION)

    async def published(self) -> int:
        """Wait until all that has been recorded by now is on the topic; return the position of the last."""
        async with asyncio.timeout(PUBLISHED_WITHIN_S), await self.connect() as connection:
            end = await _position(connection, LOG_POSITION)
            while await _position(connection, TOPIC_POSITION) < end:  # noqa: ASYNC110
                await asyncio.sleep(LOOK_EVERY_S)
        return end

    def environment(self, clock: Clock) -> dict[str, str]:
        """The settings, and nothing of whoever runs this."""
        ours = {name: value for name, value in os.environ.items() if not name.startswith("TICKETING_")}
        ours.pop("DATABASE_URL", None)
        kafka = {} if self.broker is None else {"TICKETING_KAFKA": self.broker.address}
        return {
            **ours,
            **clock.environment,
            **kafka,
            "TICKETING_DATA_DIR": str(self.disk.folder),
            "TICKETING_ADMIN_KEY": self.admin_key,
            "TICKETING_TOKEN_SECRET": "the token secret of a service whose processes die",
            "TICKETING_LOG_FORMAT": "json",
        }

    async def _start_broker(self) -> None:
        if self.broker is not None:
            self._stack.callback(self.broker.kill)
            await asyncio.to_thread(self.broker.start)

    async def _start(self) -> None:
        keeping = asyncio.create_task(self._keep_up())
        self._stack.push_async_callback(self._end_up, keeping)
        await self._until_ready(self.urls[0])
        async with await self.connect() as connection:
            await connection.execute(f"CREATE ROLE {ROLE_BESIDE} SUPERUSER LOGIN")
        supervisor = Supervisor(self._note)
        self._stack.callback(self.lifeline.__exit__, None, None, None)
        self._stack.push_async_callback(supervisor.stop)
        await supervisor.start(*(self._child(command) for command in self._beside))
        await self._until_ready(self.urls[1])

    async def _keep_up(self) -> None:
        """Run `up`, and again whenever it ends."""
        while True:
            with (self.logs / "up.log").open("ab") as log:
                self._up = await asyncio.create_subprocess_exec(
                    *TICKETING,
                    *("up", "--no-sample"),
                    env={**self.environment(self.clocks[0]), "TICKETING_PORT": str(self.ports[0])},
                    cwd=self._folder,
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            code = await self._up.wait()
            self._note(f"up ended with {code}")
            await asyncio.sleep(INIT_PAUSE_S)

    async def _end_up(self, keeping: asyncio.Task[None]) -> None:
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)
        if self._up is not None and self._up.returncode is None:
            self._up.terminate()
            async with asyncio.timeout(STOPS_WITHIN_S):
                await self._up.wait()

    def _child(self, command: str) -> ProcessChild:
        environment = self.environment(self.clocks[1])
        return ProcessChild(
            f"{command}-2",
            [sys.executable, "-P", "-m", "cli.main", command],
            environment={
                **environment,
                "DATABASE_URL": make_conninfo(self.proxy.dsn, user=ROLE_BESIDE),
                "TICKETING_PORT": str(self.ports[1]),
                LIFELINE_VARIABLE: str(self.lifeline.reading_end),
            },
            descriptors=(self.lifeline.reading_end,),
            log_file=self.logs / f"{command}-2.log",
            stop_within_s=STOPS_WITHIN_S / 2,
        )

    async def _until_ready(self, url: str) -> None:
        ready = asyncio.create_task(_wait_for(f"{url}/readyz"))
        await until(ready.done, READY_WITHIN_S)

    def _processes(self) -> Mapping[str, psutil.Process]:
        beside = {
            f"{name}-2": one for name, one in _named(psutil.Process().children()) if name in self._beside
        }
        if self._up is None or self._up.returncode is not None:
            return beside
        try:
            up = psutil.Process(self._up.pid)
            under = dict(_named(up.children()))
        except psutil.NoSuchProcess:
            return beside
        numbered = {name if name == "postgres" else f"{name}-1": one for name, one in under.items()}
        return {"up": up, **beside, **numbered}

    def _note(self, line: str) -> None:
        with (self.logs / "supervisor.log").open("a") as log:
            log.write(f"{time.strftime('%H:%M:%S')} {line}\n")


async def _position(connection: AsyncConnection[Any], query: LiteralString) -> int:
    row = await (await connection.execute(query)).fetchone()
    assert row is not None
    return int(row[0])


async def _wait_for(address: str) -> None:
    timeout = aiohttp.ClientTimeout(total=ASK_S_MAX)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        while True:
            with suppress(aiohttp.ClientError, TimeoutError):
                async with session.get(address) as answer:
                    if answer.ok:
                        return
            await asyncio.sleep(LOOK_EVERY_S)
