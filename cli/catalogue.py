"""`ticketing catalogue load`: concerts, performances and seats from a file, through the commands."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.console import ExitCode, Failure, out

if TYPE_CHECKING:
    from cli.catalogue_loading import Loaded

LOAD_HELP = """Load concerts, their performances and their seats from a YAML or JSON file.

Adds what is missing and changes nothing that is there, so loading a file again does nothing. \
The whole file is checked before any of it is loaded. \
It goes into DATABASE_URL, or into the PostgreSQL of a running `ticketing up`.

Dates are the venue's: 2027-05-01, or {in_days: 30}, counted from the day on which the concert was first \
loaded. `ticketing catalogue sample` prints an example, `ticketing catalogue schema` the format.

\b
Examples:
  ticketing catalogue load season.yaml
  ticketing catalogue sample > season.yaml
"""

SCHEMA_HELP = """Print the JSON Schema of the file that `load` takes.

\b
Example:
  ticketing catalogue schema > catalogue.schema.json
"""

SAMPLE_HELP = """Print the sample that `ticketing up` loads into an empty log: an example to begin with.

\b
Example:
  ticketing catalogue sample > season.yaml
"""


def load(file: Annotated[Path, typer.Argument(help="YAML, or JSON if its name ends in .json.")]) -> None:
    """Load the file, and say what became of each concert."""
    from cli.catalogue_file import WrongCatalogue, read
    from cli.catalogue_loading import NotLoaded
    from cli.catalogue_loading import load as load_into
    from cli.environment import database_failures, database_url, settings_or_fail, settle_epoch

    settings = settings_or_fail()
    try:
        catalogue = read(file)
    except WrongCatalogue as error:
        raise Failure(str(error), ExitCode.WRONG_INPUT) from None
    try:
        with database_failures(settings):
            dsn = database_url(settings)
            settle_epoch(dsn)
            loaded = asyncio.run(load_into(dsn, catalogue))
    except NotLoaded as error:
        raise Failure(f"{file}: {error}", ExitCode.WRONG_INPUT) from None
    for one in loaded:
        out.print(_line(one), markup=False)


def _line(loaded: "Loaded") -> str:
    done = [
        *(["announced"] if loaded.announced else []),
        *([f"{loaded.performances_added} performances added"] if loaded.performances_added else []),
        *(["sales opened"] if loaded.sales_opened else []),
    ]
    line = f"{loaded.code}: {', '.join(done) or 'already there'}"
    if loaded.differences:
        line += f" (the log has other {', '.join(loaded.differences)}; left so)"
    return line


def schema() -> None:
    """Print the JSON Schema."""
    import msgspec

    from cli.catalogue_format import json_schema

    out.print(msgspec.json.format(msgspec.json.encode(json_schema())).decode(), markup=False)


def sample() -> None:
    """Print the sample."""
    from cli.catalogue_file import SAMPLE

    out.print(SAMPLE.read_text(encoding="utf-8"), markup=False, end="")
