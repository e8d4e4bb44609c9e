"""How `ticketing` talks to a person: lines on two streams, one line for what went wrong, and exit codes."""

import os
import sys
from collections.abc import Sequence
from enum import IntEnum
from typing import Any, Final, NoReturn, TextIO

from rich.console import Console
from typer import TyperException
from typer.core import TyperGroup

WIDTH_OF_FILES: Final = 240
"""Tables in a file or a pipe are as wide as they need; a terminal says how wide it is."""


class _Console(Console):
    """A console that does not end like a broken rule when nobody reads on, as in `ticketing audit | head`."""

    def on_broken_pipe(self) -> NoReturn:
        """Write nothing more, and end as other commands do then; rich would end with 1."""
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), self.file.fileno())
        sys.exit(ExitCode.NOBODY_READS)


def _console(stream: TextIO, *, stderr: bool) -> Console:
    width = None if stream.isatty() else WIDTH_OF_FILES
    return _Console(stderr=stderr, highlight=False, soft_wrap=True, width=width)


out: Final = _console(sys.stdout, stderr=False)
"""What was asked for goes here."""
err: Final = _console(sys.stderr, stderr=True)
"""Progress and what went wrong go here, so that output can be piped."""


class ExitCode(IntEnum):
    """What a script can tell by how `ticketing` ended."""

    DONE = 0
    RULE_BROKEN = 1
    WRONG_INPUT = 2
    """A wrong option, setting or file."""
    NOT_AVAILABLE = 3
    """Something it needs cannot be reached, or is taken."""
    NOBODY_READS = 141
    """What shells say of a program whose output was closed (128 + SIGPIPE)."""


EXIT_CODES_HELP: Final = (
    "Exit codes: 0 done; 1 a rule was broken; 2 a wrong option, setting or file; "
    "3 something needed cannot be reached, or is taken (database, service, port, data folder)."
)


class Failure(TyperException):
    """Something that the user can put right, said in one line."""

    def __init__(self, message: str, exit_code: ExitCode = ExitCode.NOT_AVAILABLE) -> None:
        super().__init__(" ".join(message.split()))
        self.exit_code = exit_code


class OneLineErrors(TyperGroup):
    """A command group that says what went wrong in one line, without boxes and tracebacks."""

    def main(self, args: Sequence[str] | None = None, *rest: Any, **extra: Any) -> Any:
        """Run the command; every end is an exit code."""
        try:
            code = super().main(args, *rest, **{**extra, "standalone_mode": False})
        except TyperException as error:
            _say_and_exit(error)
        except OSError as error:
            # A disk that is full must not end like a broken rule.
            subject = f"{error.filename}: " if error.filename else ""
            _say_and_exit(Failure(f"{subject}{(error.strerror or str(error)).lower()}"))
        sys.exit(code if isinstance(code, int) else ExitCode.DONE)


def _say_and_exit(error: TyperException) -> NoReturn:
    context = getattr(error, "ctx", None)
    message = error.format_message()
    if context is None:
        err.print(f"ticketing: {message}", markup=False)
    else:
        path = context.command_path
        err.print(f"{path}: {message} (See '{path} --help'.)", markup=False)
    sys.exit(error.exit_code)
