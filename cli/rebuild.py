"""`ticketing rebuild`: makes read models anew from the log while they are being read."""

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from cli.console import ExitCode, Failure, err, out

if TYPE_CHECKING:
    from audit import Difference
    from projections.projection import Projection
    from projections.rebuild import Rebuilt, Tell

HELP = """Make read models anew from the log, while they are being read.

Each is built beside the one that is read, compared with the log, and then takes its place at once. \
It can be interrupted at any moment and run again. \
New versions of the software may bring new versions of read models: --missing builds those; \
the processes of the version before go on with theirs until --remove-old.

\b
Examples:
  ticketing rebuild seat_map
  ticketing rebuild --all
  ticketing migrate && ticketing rebuild --missing
"""

DIFFERENCES_SHOWN: Final = 10


def command(
    names: Annotated[
        list[str] | None, typer.Argument(help="Read models, such as seat_map.", metavar="NAME…")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Rebuild all of them.")] = False,
    missing: Annotated[
        bool, typer.Option("--missing", help="Build those that this version of the software still lacks.")
    ] = False,
    remove_old: Annotated[
        bool,
        typer.Option("--remove-old", help="Remove older versions, which no process may need any more."),
    ] = False,
) -> None:
    """Rebuild what was named, and say what came of it; then remove old versions."""
    from cli.environment import database_failures, database_url, settings_or_fail
    from cli.rebuild_progress import progress
    from infrastructure import schema
    from infrastructure.telemetry import configure_logging
    from projections.rebuild import RebuildError
    from projections.rebuild import remove_old as remove

    wanted = _named(names or [], every=every or (remove_old and not missing and not names))
    if not (wanted or missing):
        raise Failure(f"name a read model ({_all_names()}), or say --all or --missing", ExitCode.WRONG_INPUT)
    settings = settings_or_fail()
    dsn = database_url(settings)
    is_to_build = bool(names) or every or missing
    configure_logging(settings.log_level, settings.log_format)
    with database_failures(settings), progress(err) as tell:
        try:
            unbuilt = schema.unbuilt(dsn)
            if missing:
                wanted = [projection for projection in _known() if projection in (*wanted, *unbuilt)]
            if is_to_build and not wanted:
                out.print("No read model is missing.")
            rebuilt = rebuild(dsn, wanted, tell) if is_to_build else []
            removed = remove(dsn, wanted or _known(), tell) if remove_old else []
        except RebuildError as error:
            raise Failure(str(error)) from None
    for one in rebuilt:
        _say(one)
    for name in removed:
        out.print(f"removed {name}", markup=False)
    if failed := [one.projection.name for one in rebuilt if one.position is None]:
        raise Failure(f"not put in place: {', '.join(failed)}", ExitCode.RULE_BROKEN)


def rebuild(dsn: str, projections: "Sequence[Projection[Any]]", tell: "Tell") -> "Sequence[Rebuilt]":
    """Rebuild these read models from the log, and have the audit compare them before they are read.

    Raises RebuildError, and psycopg's errors where the database is out of reach or refuses.
    """
    from audit import compare_rebuilt
    from infrastructure.feed import PostgresFeed
    from projections.rebuild import Comparison, Step
    from projections.rebuild import rebuild as rebuild_beside

    shown = 0

    def show(difference: "Difference") -> None:
        nonlocal shown
        shown += 1
        if shown <= DIFFERENCES_SHOWN:
            err.print(f"{difference.read_model} {difference.key}: {difference.detail}", markup=False)

    def compare(names: Sequence[str]) -> dict[str, Comparison]:
        what = ", ".join(names)
        found = compare_rebuilt(
            dsn,
            names,
            progress=lambda position, last: tell(Step.COMPARE, what, position, last),
            on_difference=show,
        )
        return {
            name: Comparison(one.rows, one.different, one.unapplied, one.live_different)
            for name, one in found.items()
        }

    feed = PostgresFeed(dsn)
    try:
        return rebuild_beside(dsn, feed, projections, compare=compare, tell=tell)
    finally:
        asyncio.run(feed.close())


def _known() -> "Sequence[Projection[Any]]":
    from projections.registry import PROJECTIONS

    return PROJECTIONS


def _all_names() -> str:
    return ", ".join(projection.name for projection in _known())


def _named(names: Sequence[str], *, every: bool) -> "Sequence[Projection[Any]]":
    """The projections of these names, in the order in which they are always taken."""
    known = {projection.name: projection for projection in _known()}
    for name in names:
        if name not in known:
            raise Failure(
                f"there is no read model {name}, but these: {', '.join(known)}", ExitCode.WRONG_INPUT
            )
    return [projection for name, projection in known.items() if every or name in names]


def _say(rebuilt: "Rebuilt") -> None:
    name = f"{rebuilt.projection.name} v{rebuilt.projection.version}"
    rows, different, unapplied, live_different = rebuilt.comparison
    if rebuilt.position is None:
        kept = f"{rebuilt.projection.name}_next_v{rebuilt.projection.version}"
        line = (
            f"{name} was not put in place: {different:,} of {rows:,} rows are not what the log says, "
            f"{unapplied:,} more events could not be applied; it is kept as {kept} until the next rebuild"
        )
        err.print(line, markup=False)
        return
    before = ""
    if live_different is not None:
        before = f"; of the one before, {live_different:,} differed" if live_different else ", as before"
    line = f"{name}: in place at position {rebuilt.position:,}, {rows:,} rows as the log says{before}"
    out.print(line, markup=False)
    if not rebuilt.removed:
        err.print(
            f"{rebuilt.projection.name}_old_v{rebuilt.projection.version} is still read by somebody: "
            "--remove-old removes it later",
            markup=False,
        )
