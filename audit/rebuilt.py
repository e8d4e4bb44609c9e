"""Comparing read models that are being rebuilt, and those that they are to replace, with the log.

The next one of a projection is a namesake of it, with a suffix, and has a checkpoint of its own.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec
from psycopg import Connection, errors

from audit import reader
from audit.read_models import comparison
from audit.read_models.comparison import Difference, Digests, Expected
from audit.read_models.table import Table
from audit.replay import read

NEXT: Final = "_next"
"""What the name of the one that is being built ends in."""

Progress = Callable[[int, int], None]
"""Told the position that the replay has reached, and that of the log's last event."""


class RebuiltCompared(msgspec.Struct, frozen=True):
    """What the comparison of one projection came to."""

    rows: int
    """Of the next one, as the log says."""
    different: int
    """How many it has otherwise, lacks, or has too many."""
    live_different: int | None
    """Likewise of the one that is read; None where there is none."""
    unapplied: int
    """How many events the next one has parked that the one that is read has not."""


class _Side:
    """The live ones or the next ones: what they must show, and how many of their rows do not."""

    def __init__(self, connection: Connection[Any], names: Sequence[str], suffix: str) -> None:
        reached = comparison.checkpoints(connection, suffix)
        self.reached = {name: reached[name] for name in names if name in reached}
        self.rows: Counter[str] = Counter()
        self.different: Counter[str] = Counter()
        self._suffix = suffix
        self._digests = Digests()
        self.expected = Expected(self.reached, self._emit)

    def compare(self, connection: Connection[Any], on_difference: Callable[[Difference], None]) -> None:
        """Hold the tables against what was told."""

        def note(difference: Difference) -> None:
            self.different[difference.read_model.partition(".")[0]] += 1
            on_difference(difference)

        self.expected.finish()
        comparison.compare(connection, self.reached, self._digests, note, self._suffix)

    def _emit(self, table: Table, row: msgspec.Struct) -> None:
        self.rows[table.projection] += 1
        self._digests.emit(table, row)


def compare_rebuilt(
    dsn: str,
    names: Sequence[str],
    *,
    progress: Progress,
    on_difference: Callable[[Difference], None],
) -> Mapping[str, RebuiltCompared]:
    """Compare the next ones of these projections, and the live ones, from one replay, in one snapshot.

    `on_difference` is told each row of a next one that is not what the log says. A live one that lacks a
    table counts as none. Raises LookupError for a next one of another version than the audit knows.
    """
    with reader.snapshot(dsn) as connection:
        coming, live = _Side(connection, names, NEXT), _Side(connection, names, "")
        if unknown := set(names) - set(coming.reached):
            raise LookupError(f"the audit does not know these versions: {', '.join(sorted(unknown))}")
        last = reader.last_position(connection)
        for rows in reader.batches(connection):
            for position, _, _, topic, state in rows:
                stored = read(topic, state)
                if stored is not None:
                    coming.expected.apply(topic, stored, position)
                    live.expected.apply(topic, stored, position)
            progress(rows[-1][0], last)
        coming.compare(connection, on_difference)
        parked = _parked(connection)
        try:
            live.compare(connection, _pass_over)
        except (errors.UndefinedTable, errors.UndefinedColumn):
            live.reached.clear()
    return {
        name: RebuiltCompared(
            coming.rows[name],
            coming.different[name],
            live.different[name] if name in live.reached else None,
            len(coming.reached[name].passed_over - parked.get(name, set())),
        )
        for name in names
    }


def _parked(connection: Connection[Any]) -> Mapping[str, set[int]]:
    """The positions of the events that each read model has passed over, whatever its version."""
    parked: dict[str, set[int]] = {}
    for name, position in connection.execute("SELECT projection, position FROM ticketing.dead_letters"):
        parked.setdefault(name, set()).add(position)
    return parked


def _pass_over(_: Difference) -> None:
    pass
