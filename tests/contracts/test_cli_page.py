"""The page of the command line names every command and every option, and no other."""

import re
from collections.abc import Iterator
from pathlib import Path

import typer
from click import Argument, Command, Group

from cli.main import app

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "cli.md"
SECTION = re.compile(r"^## (ticketing [a-z ]+)\n(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)
FIRST_CELL = re.compile(r"^\| (`.*?) \|", re.MULTILINE)


def test_the_page_lists_every_command_with_its_options() -> None:
    on_the_page = {
        name: set(re.findall(r"`(.+?)`", " ".join(FIRST_CELL.findall(text))))
        for name, text in SECTION.findall(PAGE.read_text())
    }
    assert on_the_page == dict(_commands(typer.main.get_command(app), "ticketing"))


def _commands(command: Command, name: str) -> Iterator[tuple[str, set[str]]]:
    if isinstance(command, Group) or hasattr(command, "commands"):
        for word, inner in command.commands.items():
            yield from _commands(inner, f"{name} {word}")
        return
    words: set[str] = set()
    for parameter in command.params:
        if isinstance(parameter, Argument) or parameter.param_type_name == "argument":
            words.add(str(parameter.name).upper())
        else:
            words |= {*parameter.opts, *parameter.secondary_opts}
    yield name, words
