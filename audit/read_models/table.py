"""A table of a read model: its columns, and what a row of it looks like when it is compared."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from psycopg.sql import SQL, Composed, Identifier


class Table(msgspec.Struct, frozen=True, eq=False):
    """One table of one projection, known by the shape of its rows."""

    projection: str
    name: str
    row: type[msgspec.Struct]
    """A field for each column, the columns of the key first."""
    key_length: int = 1
    as_text: tuple[str, ...] = ()
    """Columns of ids and dates, which are read as text."""

    @property
    def title(self) -> str:
        """What to call it in a report."""
        return f"{self.projection}.{self.name}"

    def select(self, schema: str) -> Composed:
        """The statement that reads all rows, in no particular order."""
        columns = SQL(", ").join(
            SQL("{}::text").format(Identifier(column)) if column in self.as_text else Identifier(column)
            for column in self.row.__struct_fields__
        )
        return SQL("SELECT {} FROM {}").format(columns, Identifier(schema, self.name))


Emit = Callable[[Table, msgspec.Struct], None]
"""Told each row that a table must have, once nothing more may change it, or at the checkpoint."""

Follow = Callable[[Any, int], None]
"""`follow(stored, position)`: one event, as the read model must take it in."""


class Expectation(ABC):
    """What the tables of one projection must show: it keeps the rows that may still change."""

    def __init__(self, emit: Emit) -> None:
        """Start before the first event; rows go to `emit`."""
        self.emit = emit

    @abstractmethod
    def follows(self) -> Mapping[str, Follow]:
        """What to do with each topic that it listens to."""

    @abstractmethod
    def finish(self) -> None:
        """Emit the rows that are left, as they stand at the checkpoint."""


def json_text(value: Any) -> str:
    """JSON in one form: members in the order of their names, no spaces."""
    return msgspec.json.encode(msgspec.to_builtins(value), order="sorted").decode()
