"""One API process: what it is made of, from top to bottom, and how it starts and ends."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import structlog
import uvicorn
from prometheus_client import CollectorRegistry
from psycopg import AsyncConnection

from api.app import create_app
from api.board import Board
from api.connections import REQUEST_S, BoundedHttp, allow_many_connections, cut_off_who_stalls
from api.readiness import Readiness
from api.services import Services
from commands.bus import CommandBus
from infrastructure.audits import Audits
from infrastructure.collector import BETWEEN_ANSWERS, collect_rarely
from infrastructure.epochs import Epochs, read_epochs
from infrastructure.event_log import PostgresEventLog
from infrastructure.hearing import Hearing
from infrastructure.read_models import ReadModels
from infrastructure.settings import Settings
from infrastructure.telemetry import CommandMetrics, HttpMetrics, SaleMetrics
from infrastructure.tokens import TokenSigner

DRAIN_S = 5
"""How long requests that have begun may go on once the process is told to stop."""

CONNECT_TIMEOUT_S = 5

KEEP_ALIVE_S = 75
"""Longer than the pause between two polls of an impatient client; patient ones connect anew."""

BACKLOG = 2_048

HEARING_BEGINS_WITHIN_S = 2.0
"""Who bears a token is turned away before it does. After that a process that cannot write tells so."""

log = structlog.get_logger(__name__)


async def run(settings: Settings, dsn: str, *, fd: int | None = None) -> None:
    """Serve until SIGTERM or SIGINT; then finish what has begun, and drain the command bus."""
    allow_many_connections()
    collect_rarely(BETWEEN_ANSWERS)
    async with running_services(settings, dsn) as services:
        log.info("api_starts", host=settings.host, port=settings.port, fd=fd)
        await serve(http_server(services), None if fd is None else socket.socket(fileno=fd))
        log.info("api_stops")


async def serve(
    server: uvicorn.Server, listener: socket.socket | None, *, request_s: float = REQUEST_S
) -> None:
    """Serve until told to stop; where that is cut off, listen no longer."""
    async with asyncio.TaskGroup() as tasks:
        connections = server.server_state.connections
        cutting_off = tasks.create_task(cut_off_who_stalls(connections, request_s), name="cutting-off")
        try:
            await server.serve(None if listener is None else [listener])
        finally:
            cutting_off.cancel()
            for listening in getattr(server, "servers", ()):
                listening.close()


def http_server(services: Services) -> uvicorn.Server:
    """Serve the application, at the address that the settings say unless it is given a listening socket.

    A socket that is handed to `uvicorn.Config` as a descriptor is taken for a Unix socket: without
    TCP_NODELAY every answer would then wait 40 ms for an acknowledgement.
    """
    settings = services.settings
    config = uvicorn.Config(
        create_app(services),  # endpoints answer for their errors: no middleware is needed
        host=settings.host,
        port=settings.port,
        ssl_certfile=settings.tls_cert,
        ssl_keyfile=settings.tls_key,
        http=BoundedHttp,
        loop="none",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=DRAIN_S,
    )
    return uvicorn.Server(config)


@asynccontextmanager
async def running_services(settings: Settings, dsn: str) -> AsyncIterator[Services]:
    """Wire everything, keep it running, and at the end stop it in the order in which it is needed.

    Should a part of it fail for good, whoever uses it is cancelled: the process ends, and is started anew.
    """
    registry = CollectorRegistry()
    epochs = await _epochs(dsn)
    event_log = PostgresEventLog(dsn, epochs.current)
    bus = CommandBus(event_log, CommandMetrics(registry), settings.service_rules)
    hearing = Hearing(dsn)
    stop = asyncio.Event()
    async with AsyncExitStack() as stack:
        stack.push_async_callback(event_log.close)
        read_models = await stack.enter_async_context(ReadModels(dsn))
        tasks = await stack.enter_async_context(asyncio.TaskGroup())
        board = Board(dsn, read_models, epochs)
        services = Services(
            settings=settings,
            dsn=dsn,
            bus=bus,
            signer=TokenSigner(settings.required_token_secrets, epochs),
            read_models=read_models,
            board=board,
            hearing=hearing,
            registry=registry,
            http_metrics=HttpMetrics(registry),
            sale_metrics=SaleMetrics(registry),
            readiness=Readiness(),
            audits=Audits(dsn, read_models),
        )
        batching = tasks.create_task(bus.run(), name="command-bus")
        tasks.create_task(hearing.run(stop), name="hearing")
        refreshing = tasks.create_task(board.run(), name="board")
        await hearing.wait_until_it_counts(HEARING_BEGINS_WITHIN_S)
        try:
            yield services
        finally:
            bus.close()
            await batching
            stop.set()
            refreshing.cancel()


async def _epochs(dsn: str) -> Epochs:
    async with await AsyncConnection.connect(dsn, connect_timeout=CONNECT_TIMEOUT_S) as connection:
        return await read_epochs(connection)
