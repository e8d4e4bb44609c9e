"""`ticketing up`: the whole service on one machine."""

from typing import Annotated

import typer

from cli.console import Failure

HELP = """Run the whole service on this machine, with a PostgreSQL of its own, until Ctrl-C; the data stays.

Starts PostgreSQL (unless DATABASE_URL names one), brings the schema up to date, loads a sample catalogue if \
the log is empty, and runs the API, a projector and a timer; with TICKETING_KAFKA also a relay, and the \
topic between. What dies is started again. \
All of it is kept in TICKETING_DATA_DIR (.ticketing): the data, the generated secrets, the logs.

\b
Examples:
  ticketing up
  ticketing up --api-processes 2 --no-sample
  TICKETING_PORT=8080 TICKETING_DATA_DIR=/var/lib/ticketing ticketing up
"""

API_PROCESSES_MAX = 64


def command(
    api_processes: Annotated[
        int, typer.Option(min=1, max=API_PROCESSES_MAX, help="API processes that share the port.")
    ] = 1,
    sample: Annotated[
        bool, typer.Option("--sample/--no-sample", help="Load the sample catalogue if the log is empty.")
    ] = True,
    restored: Annotated[
        bool,
        typer.Option("--restored", help="The data was restored from a copy of the folder: see `restored`."),
    ] = False,
) -> None:
    """Take the port and the data folder, then run until told to stop."""
    from cli.environment import settings_or_fail
    from cli.listening import listen
    from cli.whole_service import run
    from infrastructure.data_folder import DataFolder, DataFolderError

    settings = settings_or_fail()
    folder = DataFolder(settings.data_dir)
    with listen(settings) as listener:
        try:
            with folder.locked():
                run(settings, folder, listener, api_processes=api_processes, sample=sample, restored=restored)
        except DataFolderError as error:
            raise Failure(str(error)) from None
