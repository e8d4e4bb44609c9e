"""`ticketing dead-letters`: events that a read model has passed over, since it could not apply them."""

import asyncio
import getpass
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer

from cli.console import ExitCode, Failure, err, out

if TYPE_CHECKING:
    from psycopg import AsyncConnection

    from projections.dead_letters import DeadLetter
    from projections.projection import Projection

HELP = "Events that a read model could not apply, and the later ones of their streams."

LIST_HELP = """List what is parked, in the order of the log; with --all what was dropped, too.

A FAILED one could not be applied in three tries, or cannot be read; one that WAITS follows it in its stream.

\b
Examples:
  ticketing dead-letters list
  ticketing dead-letters list seat_map --json
"""

SHOW_HELP = """Show one with its payload and its whole error.

\b
Example:
  ticketing dead-letters show seat_map 4711
"""

RETRY_HELP = """Apply what is parked, each stream in the order of the log, once its cause is mended.

Exits 1 if any still fails; what stands before it in its stream has been applied.

\b
Examples:
  ticketing dead-letters retry
  ticketing dead-letters retry seat_map --stream seat/FIVE-NIGHTS/2027-05-01T19:30/7
"""

DROP_HELP = """Give one up for good. Who did it, when and why stays on record, and the audit tells of it.

What is parked later of its stream can then be retried.

\b
Example:
  ticketing dead-letters drop seat_map 4711 --reason "a test sale of ours"
"""

ERROR_CHARACTERS = 60
"""Of an error, in a list; `show` has all of it."""

ReadModel = Annotated[str, typer.Argument(help="A read model, such as seat_map.", metavar="NAME")]
AnyReadModel = Annotated[
    str | None, typer.Argument(help="One read model, such as seat_map, instead of all.", metavar="NAME")
]
Position = Annotated[int, typer.Argument(help="Its position in the log.", metavar="POSITION")]
OfStream = Annotated[
    str | None, typer.Option("--stream", help="Of one stream, by its name or id.", metavar="NAME")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print it as JSON.")]


def list_all(
    name: AnyReadModel = None,
    stream: OfStream = None,
    every: Annotated[bool, typer.Option("--all", help="Also those that were dropped.")] = False,
    as_json: AsJson = False,
) -> None:
    """List dead letters."""
    letters = _run(_find(name, stream, dropped=every))
    if as_json:
        _print_json([_told(letter) for letter in letters])
        return
    if not letters:
        out.print("Nothing is parked.")
        return
    _print_table(letters)


def show(name: ReadModel, position: Position, as_json: AsJson = False) -> None:
    """Show one dead letter."""
    letter, payload = _run(_find_one(name, position))
    if as_json:
        _print_json({**_told(letter), "payload": payload})
        return
    told = {**_told(letter), "payload": None if payload is None else bytes(payload).decode()}
    for field, value in told.items():
        if value is not None:
            out.print(f"{field.replace('_', ' '):<15} {value}", markup=False)


def retry(name: AnyReadModel = None, stream: OfStream = None) -> None:
    """Retry streams, and say what came of each."""
    failed = _run(_retry(name, stream))
    if failed:
        raise typer.Exit(ExitCode.RULE_BROKEN)


def drop(
    name: ReadModel,
    position: Position,
    reason: Annotated[str, typer.Option(help="Why; it is kept.", metavar="TEXT")],
    by: Annotated[str | None, typer.Option(help="Who; you, unless said otherwise.")] = None,
) -> None:
    """Drop one dead letter."""
    if not reason.strip():
        raise Failure("--reason: say why it is given up", ExitCode.WRONG_INPUT)
    _run(_drop(name, position, by or getpass.getuser(), reason.strip()))
    out.print(f"{name} {position} was dropped.", markup=False)


def _run(work: Any) -> Any:
    from cli.environment import database_failures, settings_or_fail

    with database_failures(settings_or_fail()):
        return asyncio.run(work)


@asynccontextmanager
async def _connected() -> "AsyncIterator[tuple[str, AsyncConnection[Any]]]":
    from psycopg import AsyncConnection

    from cli.environment import database_url, settings_or_fail
    from projections.projector import SESSION_OPTIONS

    dsn = database_url(settings_or_fail())
    async with await AsyncConnection.connect(dsn, autocommit=True, options=SESSION_OPTIONS) as connection:
        yield dsn, connection


async def _find(name: str | None, stream: str | None, *, dropped: bool) -> "Sequence[DeadLetter]":
    from projections import dead_letters

    async with _connected() as (_, connection):
        return await dead_letters.find_all(
            connection, projection=name, stream_id=_stream_id(stream), dropped=dropped
        )


async def _find_one(name: str, position: int) -> "tuple[DeadLetter, Any]":
    """A dead letter, and what the log has stored at its position."""
    from infrastructure import log_reader
    from projections import dead_letters

    async with _connected() as (_, connection):
        letters = await dead_letters.find_all(connection, projection=name, position=position)
        if not letters:
            raise _no_such(name, position)
        (letter,) = letters
        stored = await log_reader.read_stream(connection, letter.stream_id, after=letter.version - 1, limit=1)
    return letter, stored[0].payload if stored else None


async def _retry(name: str | None, stream: str | None) -> int:
    """Retry one stream after the other; return how many still fail."""
    from infrastructure.feed import PostgresFeed
    from projections import dead_letters, retrying

    failed = 0
    async with _connected() as (dsn, connection):
        letters = await dead_letters.find_all(
            connection, projection=name, stream_id=_stream_id(stream), dropped=False
        )
        waiting = {(letter.projection, letter.stream_id): letter.stream for letter in letters}
        feed = PostgresFeed(dsn)
        for (projection, stream_id), stream_name in waiting.items():
            try:
                done = await retrying.retry(connection, dsn, _known(projection), stream_id, feed.read_at)
            except retrying.StillFails as still:
                failed += 1
                line = f"{projection} {stream_name}: {still.position} still fails: {still.reason}"
                err.print(line, style="red", markup=False)
            else:
                out.print(f"{projection} {stream_name}: {done:,} events applied", markup=False)
        await feed.close()
    if not waiting:
        out.print("Nothing is parked.")
    return failed


async def _drop(name: str, position: int, by: str, reason: str) -> None:
    from projections import dead_letters

    async with _connected() as (_, connection):
        if not await dead_letters.drop(connection, name, position, by=by, reason=reason):
            raise _no_such(name, position)


def _known(name: str) -> "Projection[Any]":
    from projections.registry import PROJECTIONS

    for projection in PROJECTIONS:
        if projection.name == name:
            return projection
    raise Failure(f"there is no read model {name} in this version of the software", ExitCode.WRONG_INPUT)


def _no_such(name: str, position: int) -> Failure:
    return Failure(f"{name} has parked no event at position {position}", ExitCode.WRONG_INPUT)


def _stream_id(stream: str | None) -> UUID | None:
    from aggregates.stream import stream_id

    if stream is None or "/" in stream:
        return None if stream is None else stream_id(stream)
    try:
        return UUID(stream)
    except ValueError:
        raise Failure(
            f"--stream: {stream} is neither a stream's name, like wallet/…, nor its id", ExitCode.WRONG_INPUT
        ) from None


def _told(letter: "DeadLetter") -> dict[str, Any]:
    return {**letter._asdict(), "state": letter.state}


def _print_json(told: Any) -> None:
    import msgspec

    out.print(msgspec.json.format(msgspec.json.encode(told)).decode(), markup=False)


def _print_table(letters: "Sequence[DeadLetter]") -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table("read model", "position", box=None, pad_edge=False)
    table.add_column("stream", overflow="fold")
    for heading in ("topic", "state", "tries", "since", "error"):
        table.add_column(heading)
    for letter in letters:
        lines = (letter.dropped_reason or letter.error or "").splitlines()
        table.add_row(
            letter.projection,
            str(letter.position),
            Text(letter.stream),
            Text(letter.topic),
            letter.state,
            str(letter.tries),
            f"{letter.parked_at:%Y-%m-%d %H:%M:%S}Z",
            Text((lines or [""])[0][:ERROR_CHARACTERS]),
        )
    out.print(table)
