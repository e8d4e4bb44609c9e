"""The page about the command line says what the command line is."""

import re
from collections.abc import Iterator
from pathlib import Path

from typer.core import TyperGroup
from typer.main import get_command

from cli.console import ExitCode
from cli.main import app

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "cli.md").read_text(encoding="utf-8")


def options_by_command(command: object, path: str) -> Iterator[tuple[str, set[str]]]:
    """Yield each command with its long options, but for `--help`."""
    if isinstance(command, TyperGroup):
        for name, inner in command.commands.items():
            yield from options_by_command(inner, f"{path} {name}")
    params = getattr(command, "params", [])
    options = {option for param in params for option in (*param.opts, *param.secondary_opts)}
    if options or not isinstance(command, TyperGroup):
        yield path, {option for option in options if option.startswith("--")} - {"--help"}


def documented() -> Iterator[tuple[str, set[str]]]:
    """Yield each row of the table of commands."""
    for row in re.finditer(r"^\| `(ticketing[^`]*)` \|(.*)\|$", PAGE, re.MULTILINE):
        _, options = row[2].split(" | ")
        yield row[1], set(re.findall(r"--[a-z-]+", options))


def test_the_page_lists_every_command_with_its_options() -> None:
    assert dict(documented()) == dict(options_by_command(get_command(app), "ticketing"))


def test_the_page_lists_every_exit_code() -> None:
    assert re.findall(r"^\| (\d+) \|", PAGE, re.MULTILINE) == [str(code.value) for code in ExitCode]
