"""All that `ticketing up` runs, from the first process to the last line on the terminal."""

import asyncio
import os
import shlex
import shutil
import signal
import socket
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

from aggregates.ids import ConcertCode
from cli.catalogue_file import SAMPLE, WrongCatalogue, read
from cli.catalogue_loading import NotLoaded, is_announced, load, log_is_empty
from cli.console import Failure, err, out
from cli.environment import database_failures, make_topic_or_go_on, settle_epoch
from cli.one_process import LIFELINE_VARIABLE
from infrastructure import schema
from infrastructure.data_folder import DataFolder
from infrastructure.embedded_postgres import EmbeddedPostgres
from infrastructure.settings import ADMIN_KEY, TOKEN_SECRET, Settings, without_kafka_password, without_secrets
from workers.supervisor import ChildFailed, Lifeline, PostgresChild, ProcessChild, Supervisor, keep_logs_short

API_STOPS_WITHIN_S: Final = 6.0
"""What has begun is finished within 5 s; what then is not is cut off."""

WORKERS_STOP_WITHIN_S: Final = 1.5
"""Their rounds are short. With PostgreSQL's stop it adds up to less than the 10 s that we have."""

SAMPLE_CONCERT: Final = ConcertCode("FIVE-NIGHTS")
"""The first of the sample catalogue, if it was loaded."""

READY_POLL_S: Final = 0.05
READY_ASK_S_MAX: Final = 2.0

READY_EXPECTED_WITHIN_S: Final = 30.0
"""After so long it is time to say where to look."""


def run(
    settings: Settings,
    folder: DataFolder,
    listener: socket.socket,
    *,
    api_processes: int,
    sample: bool,
    restored: bool,
) -> None:
    """Run until SIGINT, SIGTERM or the terminal's end. Raises Failure where it cannot start."""
    with Lifeline() as lifeline:
        service = _WholeService(settings, folder, listener, lifeline, api_processes)
        asyncio.run(_until_told_to_stop(service, sample=sample, restored=restored))


async def _until_told_to_stop(service: "_WholeService", *, sample: bool, restored: bool) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if number is signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN:
            continue  # started by nohup: it is to outlive the terminal
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    running = asyncio.create_task(service.run(sample=sample, restored=restored))
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
    if stop.is_set():
        err.print("Stopping …")
    stopping.cancel()
    running.cancel()
    await service.stop()
    with suppress(asyncio.CancelledError):
        await running
    err.print("Stopped; the data stays.")


class _WholeService:
    """PostgreSQL, relay, projector, timer and API, in the order in which they need each other."""

    def __init__(
        self,
        settings: Settings,
        folder: DataFolder,
        listener: socket.socket,
        lifeline: Lifeline,
        api_processes: int,
    ) -> None:
        self._settings = settings
        self._folder = folder
        self._listener = listener
        self._lifeline = lifeline
        self._api_processes = api_processes
        self._postgres = EmbeddedPostgres(folder.postgres, folder.postgres_log)
        self._dsn = self._postgres.dsn
        if settings.database_url is not None:
            self._dsn = settings.database_url.get_secret_value()
        self._supervisor = Supervisor(lambda line: err.print(line, markup=False))
        self._log_files = [folder.postgres_log]

    async def run(self, *, sample: bool, restored: bool) -> None:
        """Start everything, say where it is, and keep it running until cancelled."""
        began_at = time.monotonic()
        environment = self._environment()
        try:
            if self._settings.database_url is None:
                await self._supervisor.start(PostgresChild(self._postgres))
            await self._prepare_log(sample=sample, restored=restored)
            await self._supervisor.start(*self._workers(without_secrets(environment)))
            await self._supervisor.start(*self._api_children(without_kafka_password(environment)))
        except ChildFailed as failure:
            raise Failure(str(failure)) from None
        await self._until_ready()
        self._say_where(time.monotonic() - began_at, await _next_step(self._dsn))
        await keep_logs_short(self._log_files)

    async def stop(self) -> None:
        """Stop everything: the API first, PostgreSQL last."""
        await self._supervisor.stop()

    async def _prepare_log(self, *, sample: bool, restored: bool) -> None:
        with database_failures(self._settings):
            await asyncio.to_thread(schema.migrate, self._dsn)
            await asyncio.to_thread(settle_epoch, self._dsn, restored=restored)
            if self._settings.kafka is not None:
                await asyncio.to_thread(make_topic_or_go_on, self._settings, self._dsn)
            if await asyncio.to_thread(schema.unbuilt, self._dsn):
                await self._build_read_models()
            if not sample or not await log_is_empty(self._dsn):
                return
            try:
                loaded = await load(self._dsn, read(SAMPLE))
            except (WrongCatalogue, NotLoaded) as error:
                raise Failure(str(error)) from None
        err.print(f"Loaded the sample catalogue: {', '.join(one.code for one in loaded)}.", markup=False)

    async def _build_read_models(self) -> None:
        """Build those that this version of the software lacks, in a process that ends with us.

        The versions before are removed where nobody else can be using them: in a PostgreSQL of our own.
        """
        options = ["--missing", "--remove-old"] if self._settings.database_url is None else ["--missing"]
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-P", "-m", "cli.main", "rebuild", *options,
            env={**without_kafka_password(without_secrets(os.environ)), "DATABASE_URL": self._dsn},
        )  # fmt: skip
        try:
            if await process.wait():
                raise Failure("the read models of this version could not be built")
        finally:
            if process.returncode is None:
                process.kill()

    def _environment(self) -> dict[str, str]:
        """Everything that we know, and the secrets."""
        generated = self._folder.secrets()
        return {
            **os.environ,
            ADMIN_KEY: generated.admin_key,
            TOKEN_SECRET: generated.token_secret,
            **self._given_secrets(),
            "DATABASE_URL": self._dsn,
            LIFELINE_VARIABLE: str(self._lifeline.reading_end),
        }

    def _given_secrets(self) -> dict[str, str]:
        """The secrets of our settings, of which some may stand in `.env`."""
        given = {}
        if self._settings.admin_key is not None:
            given[ADMIN_KEY] = self._settings.admin_key.get_secret_value()
        if self._settings.token_secrets is not None:
            secrets = [secret.get_secret_value() for secret in self._settings.token_secrets]
            given[TOKEN_SECRET] = ",".join(secrets)
        return given

    def _workers(self, environment: dict[str, str]) -> list[ProcessChild]:
        """All that answer nobody; of them, only who speaks to Kafka gets to know its password."""
        timer = self._child("timer", without_kafka_password(environment))
        if self._settings.kafka is None:
            return [self._child("project", without_kafka_password(environment)), timer]
        return [self._child("relay", environment), self._child("project", environment), timer]

    def _api_children(self, environment: dict[str, str]) -> list[ProcessChild]:
        descriptor = self._listener.fileno()
        names = ["api"] if self._api_processes == 1 else [f"api-{n + 1}" for n in range(self._api_processes)]
        return [
            self._child("api", environment, "--fd", str(descriptor), name=name, descriptors=(descriptor,))
            for name in names
        ]

    def _child(
        self,
        command: str,
        environment: dict[str, str],
        *options: str,
        name: str | None = None,
        descriptors: tuple[int, ...] = (),
    ) -> ProcessChild:
        name = name or command
        log_file = self._folder.logs / f"{name}.log"
        self._log_files.append(log_file)
        return ProcessChild(
            name,
            [sys.executable, "-P", "-m", "cli.main", command, *options],
            environment=environment,
            descriptors=(self._lifeline.reading_end, *descriptors),
            log_file=log_file,
            stop_within_s=API_STOPS_WITHIN_S if command == "api" else WORKERS_STOP_WITHIN_S,
        )

    async def _until_ready(self) -> None:
        """Ask /readyz until it says yes; after a while, say where to look meanwhile."""
        clock = asyncio.get_running_loop().time
        patient_until = clock() + READY_EXPECTED_WITHIN_S
        while not await _is_ready(self._listener):
            await asyncio.sleep(READY_POLL_S)
            if clock() > patient_until:
                patient_until = clock() + READY_EXPECTED_WITHIN_S
                err.print(f"Still not ready; the logs may say why: {self._folder.logs}", markup=False)

    def _say_where(self, seconds: float, next_step: str) -> None:
        host = f"[{self._settings.host}]" if ":" in self._settings.host else self._settings.host
        url = f"http://{host}:{self._settings.port}"
        for line in (
            f"Ready after {seconds:.1f} s.",
            f"  API        {url}  (docs: {url}/docs)",
            f"  admin key  {self._admin_key_in_words()}",
            f"  data, logs {self._folder.path}, {self._folder.logs}",
            f"  try        {_own_name()} {next_step}",
            "Ctrl-C stops it; the data stays.",
        ):
            out.print(line, markup=False)

    def _admin_key_in_words(self) -> str:
        """The generated key is shown on a terminal, where its owner looks, but not written into a log."""
        if self._settings.admin_key is not None:
            return f"as in {ADMIN_KEY}"
        place = f"in {self._folder.path / 'secrets.json'}"
        return f"{self._folder.secrets().admin_key}  ({place})" if out.is_terminal else place


async def _next_step(dsn: str) -> str:
    """What can be done with what there is."""
    if await is_announced(dsn, SAMPLE_CONCERT):
        return f"rush --buyers 1000 --concert {SAMPLE_CONCERT}"
    return "catalogue load FILE"


async def _is_ready(listener: socket.socket) -> bool:
    host, port = listener.getsockname()[:2]
    try:
        async with asyncio.timeout(READY_ASK_S_MAX):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                writer.write(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                return b" 200 " in await reader.readline()
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return False


def _own_name() -> str:
    """How this command was called, so that the next one can be copied from the terminal."""
    called = Path(sys.argv[0])
    found = shutil.which("ticketing")
    if called.name != "ticketing" or (found is not None and Path(found).samefile(called)):
        return "ticketing"
    return shlex.quote(str(called))
