"""`ticketing postgres`: PostgreSQL's own programs, on the database of this service."""

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final

import typer

from cli.console import ExitCode, Failure

HELP = """Run one of PostgreSQL's own programs on the database of this service.

It is told where that is: at DATABASE_URL, or else the embedded PostgreSQL of TICKETING_DATA_DIR. Where \
`ticketing up` does not run that, it is started for as long as the program runs. The programs come with it.

\b
Examples:
  ticketing postgres psql
  ticketing postgres pg_dump --format=custom --file=ticketing.dump
  ticketing postgres pg_basebackup --pgdata=base --checkpoint=fast
"""

CONTEXT: Final[dict[str, Any]] = {"ignore_unknown_options": True, "allow_interspersed_args": False}
"""What follows the program's name is the program's."""


def command(
    program: Annotated[str, typer.Argument(help="psql, pg_dump, pg_restore, pg_basebackup, …")],
    arguments: Annotated[list[str] | None, typer.Argument(help="What the program is told.")] = None,
) -> None:
    """Run it to its end, and end as it does."""
    from cli.environment import settings_or_fail
    from infrastructure.data_folder import DataFolder, DataFolderError, DataFolderInUse
    from infrastructure.embedded_postgres import EmbeddedPostgres, EmbeddedPostgresError

    settings = settings_or_fail()
    told = arguments or []
    if settings.database_url is not None:
        raise typer.Exit(_run(program, told, settings.database_url.get_secret_value()))
    folder = DataFolder(settings.data_dir)
    postgres = EmbeddedPostgres(folder.postgres, folder.postgres_log)
    try:
        with folder.locked(), postgres:
            code = _run(program, told, postgres.dsn)
    except DataFolderInUse:
        code = _run(program, told, postgres.dsn)
    except (DataFolderError, EmbeddedPostgresError) as error:
        raise Failure(str(error)) from None
    raise typer.Exit(code)


def _run(program: str, arguments: Sequence[str], dsn: str) -> int:
    from infrastructure.embedded_postgres import programs

    executable = programs() / program
    if program != executable.name or not executable.is_file():
        raise Failure(f"PostgreSQL brings no program {program!r}", ExitCode.WRONG_INPUT)
    before = signal.signal(signal.SIGINT, _leave_it_to_the_program)
    try:
        environment = {**os.environ, **_variables(dsn)}
        return subprocess.run([executable, *arguments], env=environment, check=False).returncode
    finally:
        signal.signal(signal.SIGINT, before)


def _variables(dsn: str) -> Mapping[str, str]:
    """Say where the database is, as all of the programs take it: passwords are not for the process list."""
    from psycopg.pq import Conninfo

    return {
        option.envvar.decode(): option.val.decode()
        for option in Conninfo.parse(dsn.encode())
        if option.envvar and option.val is not None
    }


def _leave_it_to_the_program(*_: object) -> None:
    """Wait on: Ctrl-C has reached the program, too."""
