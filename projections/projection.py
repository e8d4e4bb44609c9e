"""What a projection is: a read model's tables, and what each kind of event changes in them.

Events are applied in batches. A batch is first folded in memory, event by event, and then written with a few
statements, each of which takes all its rows as one JSON document. So a thousand events cost about as many
statements as one.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from hashlib import sha256
from typing import Any, Generic, LiteralString, NamedTuple, Protocol, TypeVar

import msgspec
from psycopg import AsyncConnection
from psycopg.sql import SQL, Identifier
from psycopg.types.json import Json

from aggregates.event import Event, RecordedEvent
from projections.feed import Unreadable

_encode = msgspec.json.Encoder().encode


class Write(NamedTuple):
    """One statement and its rows, which it reads with `json_to_recordset(%s)`.

    `{schema}` stands for the projection's schema. While a batch is written nobody else writes these tables,
    so a statement may take a row's old value and write the new one.
    """

    statement: LiteralString
    rows: Sequence[msgspec.Struct]


class Batch(Protocol):
    """What some events that follow each other change, before it is written."""

    def writes(self) -> Iterable[Write]:
        """Return the statements in the order in which they are to be executed."""
        ...


B = TypeVar("B", bound=Batch)

Handler = Callable[[B, Any, RecordedEvent], None]
"""`handler(batch, recorded.event, recorded)` notes in the batch what the event changes."""


class Projection(NamedTuple, Generic[B]):
    """A read model: it can be thrown away and made again from the log.

    Each version has a schema of its own, so that the next one can be built beside the one that is read. To
    change what is stored, raise the version.
    """

    name: str
    version: int
    definition: LiteralString
    """The tables as SQL, within `{schema}`."""
    batch: Callable[[], B]
    handlers: Mapping[type[Event], Handler[B]]
    """What it listens to; it passes over all other events."""

    @property
    def schema(self) -> str:
        """The schema that holds its tables."""
        return f"{self.name}_v{self.version}"

    @property
    def tables(self) -> str:
        """The SQL that makes the schema and its tables, once."""
        return in_schema("CREATE SCHEMA {schema};\n", self.schema) + in_schema(self.definition, self.schema)

    @property
    def checksum(self) -> str:
        """By which tables are known that were made by another SQL."""
        return sha256(self.tables.encode()).hexdigest()

    def listens_to(self, event: Event) -> bool:
        """Whether the event could change anything here; one of an unknown topic always could."""
        if isinstance(event, Unreadable):
            return event.meant is None or event.meant in self.handlers
        return type(event) in self.handlers

    async def apply(self, connection: AsyncConnection[Any], events: Sequence[RecordedEvent]) -> None:
        """Write what these events change, which follow those applied before.

        The caller has locked the checkpoint, and moves it in the same transaction. Events of parked streams
        come later than events of other streams that follow them, and none that is unreadable comes at all.
        """
        for write in self.fold(events).writes():
            if write.rows:
                statement = in_schema(write.statement, self.schema).encode()
                await connection.execute(statement, [Json(write.rows, _encode)])

    def fold(self, events: Iterable[RecordedEvent]) -> B:
        """Note what the events change, without writing it."""
        batch = self.batch()
        handlers = self.handlers
        for recorded in events:
            handler = handlers.get(type(recorded.event))
            if handler is not None:
                handler(batch, recorded.event, recorded)
        return batch


@cache
def in_schema(statement: LiteralString, schema: str) -> str:
    """Put the schema's name where the statement says `{schema}`."""
    return SQL(statement).format(schema=Identifier(schema)).as_string()
