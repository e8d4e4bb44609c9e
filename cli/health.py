"""`ticketing health`: whether the worker that runs here does well, for who looks after containers."""

from typing import Annotated, Final, Literal

import typer

from cli.console import Failure

SILENCE_S_MAX: Final = 5.0
"""A worker tells of itself every second."""

HELP = """Exit 0 if a worker of this role, on this machine or in this container, does well.

It does if it has told the database of itself within the last 5 s: so it runs, is not stuck, and reaches \
the database. For health checks; `ticketing status` tells of the whole service, and an API process answers \
for itself at /healthz and /readyz.

\b
Example:
  docker compose exec relay ticketing health relay
"""


def command(
    role: Annotated[
        Literal["projector", "relay", "timer"], typer.Argument(help="projector, relay or timer.")
    ],
) -> None:
    """Ask the database, and fail where it has not heard of one."""
    import psycopg

    from cli.environment import database_failures, database_url, settings_or_fail
    from infrastructure.worker_status import beats_from_here

    settings = settings_or_fail()
    with database_failures(settings), psycopg.connect(database_url(settings)) as connection:
        does_well = beats_from_here(connection, role, SILENCE_S_MAX)
    if not does_well:
        raise Failure(f"no {role} here has been heard of within the last {SILENCE_S_MAX:.0f} s")
