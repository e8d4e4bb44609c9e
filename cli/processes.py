"""`ticketing api`, `relay`, `project`, `timer`: one process each, any number of each, for production."""

import asyncio
import signal
from typing import TYPE_CHECKING, Annotated, Final

import typer

if TYPE_CHECKING:
    from infrastructure.settings import Settings

SIGNAL_AGAIN_EVERY_S: Final = 0.1

API_HELP = """Serve the API in one process, until SIGTERM or Ctrl-C.

Needs DATABASE_URL and TICKETING_TOKEN_SECRET, and a schema made by `ticketing migrate`. \
Several processes may share one inherited listening socket (--fd), or stand behind a proxy with a port each.

\b
Examples:
  export DATABASE_URL=postgresql://ticketing@db/ticketing
  export TICKETING_TOKEN_SECRET=…
  ticketing api
"""

RELAY_HELP = """Publish the log to the Kafka topic, in its order, until SIGTERM or Ctrl-C.

Needs DATABASE_URL, TICKETING_KAFKA, and a schema and a topic made by `ticketing migrate`. \
Any number may run: one leads, the others stand by.

\b
Example:
  export DATABASE_URL=postgresql://ticketing@db/ticketing
  export TICKETING_KAFKA=kafka-1:9092,kafka-2:9092
  ticketing relay
"""

PROJECT_HELP = """Keep the read models up to date in one process, until SIGTERM or Ctrl-C.

Needs DATABASE_URL, and a schema made by `ticketing migrate`. Any number may run at once. \
With TICKETING_KAFKA they share the partitions of the topic; where it lacks something, they read the log.

\b
Example:
  DATABASE_URL=postgresql://ticketing@db/ticketing ticketing project
"""

TIMER_HELP = """Do what becomes due: let people in, end holds and tokens, open and close sales.

Runs until SIGTERM or Ctrl-C. Needs DATABASE_URL, and a schema made by `ticketing migrate`. \
Any number may run: one leads, the others stand by.

\b
Example:
  DATABASE_URL=postgresql://ticketing@db/ticketing ticketing timer
"""


def api(
    fd: Annotated[
        int | None,
        typer.Option(min=0, help="Serve on this inherited listening socket, in place of TICKETING_PORT."),
    ] = None,
) -> None:
    """Serve the API."""
    from api import server
    from cli.environment import require_schema, settings_failures, settings_or_fail
    from cli.listening import inherited, listen
    from cli.one_process import run_process

    settings = settings_or_fail()
    with settings_failures():
        _ = settings.required_token_secrets
    require_schema(settings)
    descriptor = listen(settings).detach() if fd is None else inherited(fd)

    async def serve(settings: "Settings", stop: asyncio.Event) -> None:
        repeating = asyncio.create_task(_repeat_sigterm(stop))
        await server.run(settings, settings.required_database_url, fd=descriptor)
        repeating.cancel()

    run_process(settings, serve)


async def _repeat_sigterm(stop: asyncio.Event) -> None:
    """Have the server hear a signal that came before it listened for signals."""
    await stop.wait()
    while True:
        signal.raise_signal(signal.SIGTERM)
        await asyncio.sleep(SIGNAL_AGAIN_EVERY_S)


def relay() -> None:
    """Run a relay."""
    from cli.environment import require_schema, require_topic, settings_failures, settings_or_fail
    from cli.one_process import run_process
    from workers import relay as relay_process

    settings = settings_or_fail()
    with settings_failures():
        _ = settings.required_kafka
    require_schema(settings)
    require_topic(settings)
    run_process(settings, relay_process.run)


def project() -> None:
    """Run a projector."""
    from cli.environment import require_schema, require_topic_if_any, settings_or_fail
    from cli.one_process import run_process
    from workers import projector

    settings = settings_or_fail()
    require_schema(settings)
    require_topic_if_any(settings)
    run_process(settings, projector.run)


def timer() -> None:
    """Run a timer."""
    from cli.environment import require_schema, settings_or_fail
    from cli.one_process import run_process
    from workers import timer as timer_process

    settings = settings_or_fail()
    require_schema(settings)
    run_process(settings, timer_process.run)
