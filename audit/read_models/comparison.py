"""Comparing every row of every read model with the log, each partition at its checkpoint, in one snapshot.

What a row must be is told again from the events (`Expectation`), and what it is is read from its table. Rows
are not kept to be compared: each is reduced to a 64-bit digest of all its columns (Python's SipHash of their
JSON, keyed anew in each process) and added into one of 4,096 sums per table, by which a changed, missing or
surplus row cannot fail to be found (but for one chance in 2⁶⁴). So memory does not grow with the read models;
it grows with what may still change: live tokens, open reservations, and the seats and payments of
performances that are not over.

Only where sums differ is the log read a second time, for the rows that belong to those sums, to count and
describe what differs; memory then grows with that.

A projection stands at a position for each partition of the topic, and must show the events of each up to
there: exactly what readers are told. One that has no checkpoint, since it never ran here, is not compared.

What a projection has parked or dropped (`ticketing.dead_letters`) it has not applied, so it is left out of
what its rows must be: they are compared as exactly as others, and what was left out is told beside. Only
where the rows of other streams rest on it, or where it was dropped for good, differences cannot be told from
what that brings about; they are counted apart, as explained.
"""

from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec
from psycopg import Connection
from psycopg.types.json import set_json_loads

from audit import reader
from audit.partitions import partition_of
from audit.read_models import (
    concerts,
    deadlines,
    payments,
    queue,
    reservations,
    seat_map,
    wallet_entries,
)
from audit.read_models.table import Emit, Expectation, Follow, Table, json_text
from audit.replay import read
from audit.stored import Stored


class ReadModel(msgspec.Struct, frozen=True):
    """A projection as the audit knows it: the version whose tables these are."""

    version: int
    expectation: type[Expectation]
    tables: tuple[Table, ...]


READ_MODELS: Final[Mapping[str, ReadModel]] = {
    "concerts": ReadModel(1, concerts.Concerts, (concerts.CONCERTS,)),
    "seat_map": ReadModel(1, seat_map.SeatMap, (seat_map.PERFORMANCES, seat_map.SEATS)),
    "queue": ReadModel(2, queue.Queue, (queue.QUEUES, queue.PERFORMANCES, queue.ADMISSIONS, queue.TOKENS)),
    "reservations": ReadModel(2, reservations.Reservations, (reservations.RESERVATIONS,)),
    "payments": ReadModel(
        1, payments.Payments, (payments.CONCERTS, payments.RESERVATIONS, payments.PAYMENTS)
    ),
    "wallet_entries": ReadModel(
        2, wallet_entries.WalletEntries, (wallet_entries.WALLETS, wallet_entries.ENTRIES)
    ),
    "deadlines": ReadModel(
        2,
        deadlines.Deadlines,
        (deadlines.HOLDS, deadlines.TOKENS, deadlines.SALES, deadlines.PERFORMANCES),
    ),
}

SUMS: Final = 4_096
"""Per table: 32 KB, and few enough rows to each that reading them again is quick."""

_encode = msgspec.json.Encoder().encode

WORD: Final = (1 << 64) - 1

FOUNDATIONS: Final = ("concert/", "queue/")
"""Streams on whose events rows of other streams rest: a seat has no place without its performance."""

Row = tuple[Any, ...]


class Parked(msgspec.Struct, frozen=True):
    """What one projection has passed over, and so is not compared."""

    events: int
    """That are parked, to be retried."""
    streams: int
    """That these belong to."""
    dropped: int
    """Events that were given up for good."""
    explained: int = 0
    """How many rows differ where that may come of it."""


class Reached(NamedTuple):
    """How far a projection has come, and what it has left out."""

    positions: tuple[int, ...]
    """Of each partition; without a topic, of the log."""
    passed_over: frozenset[int] = frozenset()
    """The positions of what it has parked or dropped."""
    parked: Parked | None = None
    explains: bool = False
    """Whether other rows than those of the parked streams may differ for it."""


Checkpoints = Mapping[str, Reached]
"""By projection."""


class Compared(msgspec.Struct, frozen=True):
    """How many rows were compared with the log, those that are missing included, and how many differ."""

    compared: int
    different: int
    parked: dict[str, Parked] = {}
    """By projection, of those that have passed over anything."""


class Difference(msgspec.Struct, frozen=True):
    """A row of a read model that is not what the log says."""

    read_model: str
    """Projection and table."""
    key: str
    detail: str


class Expected:
    """All read models' expectations, each following the log as far as its checkpoints."""

    def __init__(self, checkpoints: Checkpoints, emit: Emit) -> None:
        """Start before the first event; rows go to `emit`."""
        self._following = [
            (reached, READ_MODELS[name].expectation(emit)) for name, reached in checkpoints.items()
        ]
        self._same_until = 0
        self._follows: dict[str, list[Follow]] = {}
        self._pass_checkpoints(0)

    def apply(self, topic: str, stored: Stored[Any], position: int) -> None:
        """Take in one event, in the order of the log."""
        if position > self._same_until:
            self._pass_checkpoints(position)
        for follow in self._follows.get(topic, ()):
            follow(stored, position)

    def finish(self) -> None:
        """The log is over, whatever the checkpoints say."""
        for _, expectation in self._following:
            expectation.finish()
        self._following.clear()

    def _pass_checkpoints(self, position: int) -> None:
        """Follow, from this position up to the next checkpoint, with those that have come so far."""
        self._follows.clear()
        self._same_until = 1 << 63
        for reached, expectation in self._following:
            if max(reached.positions) < position:
                expectation.finish()
            else:
                self._follow(reached, expectation, position)
        self._following = [one for one in self._following if max(one[0].positions) >= position]

    def _follow(self, reached: Reached, expectation: Expectation, position: int) -> None:
        lowest = min(reached.positions)
        self._same_until = min(self._same_until, lowest if lowest >= position else max(reached.positions))
        for topic, follow in expectation.follows().items():
            following = _all_but(reached.passed_over, follow) if reached.passed_over else follow
            if lowest < position:
                following = _up_to(reached.positions, following)
            self._follows.setdefault(topic, []).append(following)


def _up_to(positions: Sequence[int], follow: Follow) -> Follow:
    """Follow the events of each partition up to its position."""

    def follow_reached(stored: Any, position: int) -> None:
        if position <= positions[partition_of(stored.partition_key, len(positions))]:
            follow(stored, position)

    return follow_reached


def _all_but(passed_over: frozenset[int], follow: Follow) -> Follow:
    """Follow all events but these."""

    def follow_others(stored: Any, position: int) -> None:
        if position not in passed_over:
            follow(stored, position)

    return follow_others


class Digests:
    """The sums of one side, by table."""

    def __init__(self) -> None:
        """Start with no rows."""
        self.sums: dict[Table, array[int]] = {
            table: array("Q", bytes(8 * SUMS)) for model in READ_MODELS.values() for table in model.tables
        }
        self.rows = 0

    def emit(self, table: Table, row: msgspec.Struct) -> None:
        """Add a row as an expectation tells it."""
        self.add(table, msgspec.structs.astuple(row))

    def add(self, table: Table, row: Row) -> None:
        """Add a row."""
        digest = hash(_encode(row)) & WORD
        sums = self.sums[table]
        index = digest % SUMS
        sums[index] = (sums[index] + digest) & WORD
        self.rows += 1

    def unlike(self, other: "Digests") -> dict[Table, set[int]]:
        """Which sums differ, of those tables that have any."""
        found = {
            table: {index for index in range(SUMS) if sums[index] != other.sums[table][index]}
            for table, sums in self.sums.items()
        }
        return {table: indexes for table, indexes in found.items() if indexes}


def _digest(row: Row) -> int:
    return hash(_encode(row)) & WORD


def checkpoints(connection: Connection[Any], suffix: str = "") -> Checkpoints:
    """How far each projection that ran here has come, or rather its namesake with this suffix.

    To be called before the snapshot is taken: no table may be replaced by a newer one that it does not see.
    """
    connection.execute("LOCK TABLE ticketing.projection_schemas IN ACCESS SHARE MODE")
    rows = connection.execute(
        """
        SELECT projection, version, array_agg(position ORDER BY partition)
        FROM ticketing.projection_checkpoints
        GROUP BY projection, version
        """
    ).fetchall()
    return {
        name: _reached(connection, row_name, tuple(positions))
        for row_name, version, positions in rows
        if row_name.endswith(suffix) and (name := row_name.removesuffix(suffix)) in READ_MODELS
        if READ_MODELS[name].version == version
    }


def _reached(connection: Connection[Any], projection: str, positions: tuple[int, ...]) -> Reached:
    rows = connection.execute(
        """
        SELECT position, stream, dropped_at IS NOT NULL
        FROM ticketing.dead_letters
        WHERE projection = %s
        """,
        (projection,),
    ).fetchall()
    if not rows:
        return Reached(positions)
    parked = [stream for _, stream, is_dropped in rows if not is_dropped]
    dropped = len(rows) - len(parked)
    return Reached(
        positions,
        frozenset(place for place, _, _ in rows),
        Parked(len(parked), len(set(parked)), dropped),
        explains=dropped > 0 or any(_is_foundation(stream) for stream in parked),
    )


def _is_foundation(stream: str) -> bool:
    """Whether other rows rest on it; who knows, where nothing but its id could be read."""
    return stream.startswith(FOUNDATIONS) or "/" not in stream


def compare(
    connection: Connection[Any],
    reached: Checkpoints,
    expected: Digests,
    on_difference: Callable[[Difference], None] | None = None,
    suffix: str = "",
) -> Compared:
    """Compare the tables with what a replay expects of them; `suffix` as in `checkpoints`."""
    actual = Digests()
    for table in _tables(reached):
        for row in _rows(connection, table, suffix):
            actual.add(table, row)
    different = missing = 0
    explained: Counter[str] = Counter()
    if suspects := actual.unlike(expected):
        for difference, is_missing in _differences(connection, reached, suspects, suffix):
            missing += is_missing
            projection = difference.read_model.partition(".")[0]
            if reached[projection].explains:
                explained[projection] += 1
                continue
            different += 1
            if on_difference is not None:
                on_difference(difference)
    parked = {
        name: msgspec.structs.replace(one.parked, explained=explained[name])
        for name, one in reached.items()
        if one.parked is not None
    }
    return Compared(actual.rows + missing, different, parked)


def _differences(
    connection: Connection[Any], reached: Checkpoints, suspects: Mapping[Table, set[int]], suffix: str
) -> Iterator[tuple[Difference, bool]]:
    """Each row that differs, and whether the read model lacks it."""
    expected = _expected_rows(connection, reached, suspects)
    for table in suspects:
        wanted = expected[table]
        for row in _rows(connection, table, suffix):
            if _digest(row) % SUMS in suspects[table]:
                told = wanted.pop(row[: table.key_length], None)
                if told != row:
                    yield Difference(table.title, _key(table, row), _unlike(table, row, told)), False
        for row in wanted.values():
            yield Difference(table.title, _key(table, row), "the row is missing"), True


def _expected_rows(
    connection: Connection[Any], reached: Checkpoints, suspects: Mapping[Table, set[int]]
) -> Mapping[Table, dict[Row, Row]]:
    """Replay once more, and keep the rows that belong to the sums in question, by their key."""
    kept: dict[Table, dict[Row, Row]] = {table: {} for table in suspects}

    def emit(table: Table, row: msgspec.Struct) -> None:
        if table in suspects:
            values = msgspec.structs.astuple(row)
            if _digest(values) % SUMS in suspects[table]:
                kept[table][values[: table.key_length]] = values

    expected = Expected(reached, emit)
    for rows in reader.batches(connection):
        for position, _, _, topic, state in rows:
            stored = read(topic, state)
            if stored is not None:
                expected.apply(topic, stored, position)
    expected.finish()
    return kept


def _key(table: Table, row: Row) -> str:
    return " ".join(str(value) for value in row[: table.key_length])


def _unlike(table: Table, row: Row, told: Row | None) -> str:
    if told is None:
        return "the row is surplus"
    columns = zip(table.row.__struct_fields__, row, told, strict=True)
    return "; ".join(f"{column} is {is_}, not {must}" for column, is_, must in columns if is_ != must)


def _tables(reached: Iterable[str]) -> Iterator[Table]:
    for name in reached:
        yield from READ_MODELS[name].tables


def _rows(connection: Connection[Any], table: Table, suffix: str) -> Iterator[Row]:
    schema = f"{table.projection}{suffix}_v{READ_MODELS[table.projection].version}"
    with connection.cursor("audit_read_model", binary=True) as cursor:
        set_json_loads(_load_json, cursor)
        cursor.execute(table.select(schema))
        while rows := cursor.fetchmany(reader.FETCHED_ROWS):
            yield from rows


def _load_json(text: str | bytes) -> str:
    return json_text(msgspec.json.decode(text))
