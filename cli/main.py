"""The `ticketing` command: which word runs what."""

import sys
from importlib.metadata import version
from typing import Annotated

import typer

from cli import (
    audit,
    catalogue,
    dead_letters,
    health,
    migrate,
    postgres,
    processes,
    rebuild,
    restored,
    rush,
    status,
    topic,
    up,
)
from cli.console import EXIT_CODES_HELP, OneLineErrors

HELP = """A fair queue, seats that sell once, and books that balance: an event-sourced ticketing service.

\b
Begin with:
  ticketing up
  ticketing rush --buyers 1000 --concert FIVE-NIGHTS

Settings come from the environment or a file .env.
"""

app = typer.Typer(
    cls=OneLineErrors,
    help=HELP,
    epilog=EXIT_CODES_HELP,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.command("up", help=up.HELP)(up.command)
app.command("rush", help=rush.HELP)(rush.command)
app.command("audit", help=audit.HELP)(audit.command)
app.command("status", help=status.HELP)(status.command)
app.command("health", help=health.HELP)(health.command)
app.command("migrate", help=migrate.HELP)(migrate.command)
app.command("restored", help=restored.HELP)(restored.command)
app.command("postgres", help=postgres.HELP, context_settings=postgres.CONTEXT)(postgres.command)
app.command("rebuild", help=rebuild.HELP)(rebuild.command)
app.command("api", help=processes.API_HELP)(processes.api)
app.command("relay", help=processes.RELAY_HELP)(processes.relay)
app.command("project", help=processes.PROJECT_HELP)(processes.project)
app.command("timer", help=processes.TIMER_HELP)(processes.timer)

catalogue_app = typer.Typer(cls=OneLineErrors, help="Concerts, performances and seats from a file.")
catalogue_app.command("load", help=catalogue.LOAD_HELP)(catalogue.load)
catalogue_app.command("schema", help=catalogue.SCHEMA_HELP)(catalogue.schema)
catalogue_app.command("sample", help=catalogue.SAMPLE_HELP)(catalogue.sample)
app.add_typer(catalogue_app, name="catalogue")

topic_app = typer.Typer(cls=OneLineErrors, help="The Kafka topic, for those who read it.")
topic_app.command("schema", help=topic.SCHEMA_HELP)(topic.schema)
app.add_typer(topic_app, name="topic")

dead_letters_app = typer.Typer(cls=OneLineErrors, help=dead_letters.HELP)
dead_letters_app.command("list", help=dead_letters.LIST_HELP)(dead_letters.list_all)
dead_letters_app.command("show", help=dead_letters.SHOW_HELP)(dead_letters.show)
dead_letters_app.command("retry", help=dead_letters.RETRY_HELP)(dead_letters.retry)
dead_letters_app.command("drop", help=dead_letters.DROP_HELP)(dead_letters.drop)
app.add_typer(dead_letters_app, name="dead-letters")


@app.callback(invoke_without_command=True)
def main(
    context: typer.Context,
    show_version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """Print the version or the help where no command is given."""
    if show_version:
        typer.echo(f"ticketing {version('ticketing')}")
    elif context.invoked_subcommand is None:
        typer.echo(context.get_help())


if __name__ == "__main__":
    sys.exit(app())
