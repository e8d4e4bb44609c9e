"""The event log in PostgreSQL, as the command bus uses it: one lock, one clock, two round trips a batch.

The first round trip begins a transaction, takes the append lock, reads the clock, the events of the streams
that the batch touches, and what others have appended since this process last looked. The second inserts and
commits. The lock is taken before the read, so what a batch reads is true at its place in the log, also in
streams that it only reads.
"""

import asyncio
import hashlib
import socket
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, LiteralString

import msgspec
import psycopg
import structlog
from psycopg import AsyncConnection
from psycopg.errors import ReadOnlySqlTransaction
from psycopg.types.numeric import Int8

from aggregates.event import RecordedEvent
from aggregates.registry import AGGREGATES
from aggregates.stream import Aggregate
from commands.abandon_token import ALLOWANCE_S
from commands.ports import (
    Appended,
    BrokenHistory,
    Hearing,
    KeyOfCaller,
    Known,
    LogReplaced,
    LogUnavailable,
    NewEvent,
    OutcomeUnknown,
    Reading,
    RecordedOutcome,
    VersionConflict,
    Wanted,
    Writes,
    evolved,
)
from infrastructure import codec
from infrastructure.round_trips import RoundTrips, Row
from projections.reading import LOOKED_UP_BY_KEYS

APPEND_LOCK = 7_303_014_510

LOCK_WAIT_MS = 2_000
"""Nobody may sit on the append lock: who has waited so long ends the backend that holds it."""

LOCK_IDLE_MS = 500
"""But not one that did something just now: it may have waited as long, and have got the lock this moment.

Nor one that does not wait for its client: it may have got the lock, and not yet its turn on the processor.
"""

NEWER_MAX = 1_000
"""Where others have appended more than this, it costs less to look after the streams that a batch needs."""

CONNECT_TIMEOUT_S = 3

INDEXED = f"{LOOKED_UP_BY_KEYS} -c enable_bitmapscan=off -c jit=off"
"""Every statement here looks a few rows up in a long table, however little the planner knows of it yet.

Left alone it reads the whole log for each batch, until the table has been analysed.
"""

log = structlog.get_logger(__name__)


def _shape(aggregate: Aggregate[Any]) -> str:
    schema = msgspec.json.encode(msgspec.json.schema(aggregate.shape))
    return f"{aggregate.kind}:{aggregate.revision}:{hashlib.sha256(schema).hexdigest()[:16]}"


SNAPSHOT_SHAPES = {aggregate.kind: _shape(aggregate) for aggregate in AGGREGATES if aggregate.shape}
"""By kind. A snapshot is used only by code whose state has the very shape, and comes about the very way."""

LOCK: LiteralString = "SELECT pg_advisory_xact_lock($1)"

EPOCH: LiteralString = """
    SELECT ticketing.log_has_moved(), epoch::text
    FROM ticketing.log_epochs
    ORDER BY number DESC
    LIMIT 1
"""

CLOCK: LiteralString = """
    SELECT clock_timestamp(), last.notification_id, last.state,
           (SELECT epoch::text FROM ticketing.log_epochs ORDER BY number DESC LIMIT 1),
           (SELECT state FROM ticketing.ticketing_events WHERE notification_id = $1)
    FROM (VALUES (1)) AS one
    LEFT JOIN (
        SELECT notification_id, state
        FROM ticketing.ticketing_events
        ORDER BY notification_id DESC
        LIMIT 1
    ) AS last ON true
"""

NEWER_EVENTS: LiteralString = """
    WITH wanted AS MATERIALIZED (
        SELECT wanted.place, wanted.id, coalesce(snapshot.version, wanted.version) AS version,
               snapshot.version AS snapshot_version, snapshot.position, snapshot.shape, snapshot.state
        FROM unnest($1::uuid[], $2::bigint[]) WITH ORDINALITY AS wanted (id, version, place)
        LEFT JOIN ticketing.snapshots AS snapshot
            ON wanted.version = 0 AND snapshot.stream_id = wanted.id AND snapshot.shape = ANY($3)
    )
    SELECT place, snapshot_version, position, shape, state, true AS is_snapshot
    FROM wanted
    WHERE snapshot_version IS NOT NULL
    UNION ALL
    SELECT place, event.originator_version, event.notification_id, event.topic, event.state, false
    FROM wanted
    JOIN ticketing.ticketing_events AS event
        ON event.originator_id = wanted.id AND event.originator_version >= wanted.version
    ORDER BY is_snapshot DESC, position
"""

APPENDED_SINCE: LiteralString = """
    SELECT originator_version, notification_id, topic, state
    FROM ticketing.ticketing_events
    WHERE notification_id > $1
      AND (SELECT max(notification_id) FROM ticketing.ticketing_events) <= $2
    ORDER BY notification_id
"""
"""All of it or, where the log goes on beyond the second position, nothing."""

OUTCOMES: LiteralString = """
    SELECT outcome.caller, outcome.key, outcome.request, outcome.reply, outcome.position
    FROM unnest($1::text[], $2::text[]) AS wanted (caller, key)
    JOIN ticketing.command_outcomes AS outcome USING (caller, key)
"""

HEARD: LiteralString = """
    SELECT heard.token_id, heard.last_heard_at
    FROM ticketing.heard
    WHERE heard.token_id = ANY($1)
"""

LISTENING: LiteralString = "SELECT min(beat_at), max(since) FROM ticketing.hearing"
"""Read before what was heard: a heartbeat that it knows says that what was heard up to then can be read."""

APPEND_EVENTS: LiteralString = """
    INSERT INTO ticketing.ticketing_events (originator_id, originator_version, topic, state)
    SELECT id, version, topic, state
    FROM unnest($1::uuid[], $2::bigint[], $3::text[], $4::bytea[])
        WITH ORDINALITY AS event (id, version, topic, state, place)
    ORDER BY place
    RETURNING notification_id
"""

RECORD_OUTCOMES: LiteralString = """
    INSERT INTO ticketing.command_outcomes
        (caller, key, request, reply, command_id, position, recorded_at)
    SELECT caller, key, request, reply, command_id,
           (SELECT coalesce(max(notification_id), 0) FROM ticketing.ticketing_events), $1
    FROM unnest($2::text[], $3::text[], $4::bytea[], $5::bytea[], $6::uuid[])
        AS outcome (caller, key, request, reply, command_id)
"""

WRITE_NAMES: LiteralString = """
    INSERT INTO ticketing.users (user_id, name)
    SELECT user_id, name FROM unnest($1::uuid[], $2::text[]) AS named (user_id, name)
    ON CONFLICT (user_id) DO UPDATE SET name = excluded.name
"""

TAKE_SNAPSHOTS: LiteralString = """
    INSERT INTO ticketing.snapshots (stream_id, version, position, shape, state)
    SELECT event.originator_id, event.originator_version, event.notification_id, long.shape, long.state
    FROM unnest($1::uuid[], $2::bigint[], $3::text[], $4::bytea[]) AS long (id, version, shape, state)
    JOIN ticketing.ticketing_events AS event
        ON event.originator_id = long.id AND event.originator_version = long.version
    ON CONFLICT (stream_id) DO UPDATE
        SET version = excluded.version, position = excluded.position,
            shape = excluded.shape, state = excluded.state
"""

LAST_POSITION: LiteralString = "SELECT coalesce(max(notification_id), 0) FROM ticketing.ticketing_events"

FIND_EVENTS: LiteralString = """
    SELECT event.notification_id, event.state
    FROM unnest($1::uuid[], $2::bigint[]) WITH ORDINALITY AS wanted (id, version, place)
    JOIN ticketing.ticketing_events AS event
        ON event.originator_id = wanted.id AND event.originator_version = wanted.version
    ORDER BY place
"""

FIND_OUTCOME: LiteralString = """
    SELECT position FROM ticketing.command_outcomes
    WHERE caller = $1 AND key = $2 AND command_id = $3
"""

END_LONG_HOLDERS: LiteralString = """
    SELECT pg_terminate_backend(holder.pid)
    FROM pg_locks AS lock
    JOIN pg_stat_activity AS holder USING (pid)
    WHERE lock.locktype = 'advisory'
      AND lock.database = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND lock.granted
      AND lock.objsubid = 1
      AND (lock.classid::bigint << 32 | lock.objid::bigint) = $1
      AND holder.wait_event_type = 'Client'
      AND holder.xact_start < clock_timestamp() - $2 * interval '1 millisecond'
      AND holder.query_start < clock_timestamp() - $3 * interval '1 millisecond'
"""


BEGIN: LiteralString = "BEGIN ISOLATION LEVEL READ COMMITTED"
COMMIT: LiteralString = "COMMIT"
ROLLBACK: LiteralString = "ROLLBACK"

CONNECTION_LOST = ("57P", "08")
"""SQLSTATE classes that say nothing about what became of a COMMIT: the server ends the session."""


class PostgresEventLog:
    """The log, through one connection of its own that is made anew when it is lost.

    It stays the log that it was at first: in one epoch, with all that was seen of it. Of another one nothing
    is read (LogReplaced).
    """

    def __init__(self, dsn: str, epoch: str | None = None) -> None:
        """`epoch` is the log's, as the rest of this process knows it; None where nothing rests on that."""
        self._dsn = dsn
        self._epoch = epoch
        self._witness: tuple[int, bytes | None] = (0, None)
        self._trips: RoundTrips | None = None
        self._told: set[str] = set()

    async def close(self) -> None:
        """Close the connection."""
        self.lose()

    async def begin(self, wanted: Wanted, deadline: float) -> "PostgresAppend":
        """Take the append lock and read. See `commands.ports.EventLog`."""
        async with self._connected(deadline) as trips:
            append = PostgresAppend(self, trips, deadline)
            while True:
                try:
                    await append.open(wanted)
                except psycopg.errors.LockNotAvailable:
                    await _end_long_holders(trips)
                else:
                    return append

    async def find(self, writes: Writes, deadline: float) -> Sequence[int] | None:
        """Look an append up by what only it can have written. See `commands.ports.EventLog`."""
        async with self._connected(deadline) as trips:
            while True:
                try:
                    found = await trips.ask({BEGIN: (), LOCK: [APPEND_LOCK], **_traces(writes)})
                except psycopg.errors.LockNotAvailable:
                    await trips.ask({ROLLBACK: ()})
                    await _end_long_holders(trips)
                else:
                    await trips.ask({ROLLBACK: ()})
                    return self._found(writes, found)

    @property
    def witness_position(self) -> int:
        """The position of the last event that was seen of the log, 0 before there was one."""
        return self._witness[0]

    def saw(self, position: int, state: bytes) -> None:
        """Remember the last event that this process has read or appended."""
        self._witness = position, state

    def testify(self, epoch: str, state: bytes | None) -> None:
        """Compare the log's epoch, and what stands at the witness's position. Raises LogReplaced."""
        if epoch != self._epoch or state != self._witness[1]:
            raise LogReplaced

    def lose(self) -> None:
        """Drop the connection; what it had not committed the server rolls back."""
        trips, self._trips = self._trips, None
        if trips is not None:
            trips.connection.pgconn.finish()

    def unavailable(self, error: Exception) -> LogUnavailable:
        """Drop the connection, and tell why: each reason once, until something is appended."""
        self.lose()
        reason = str(error).strip() or type(error).__name__
        if reason not in self._told:
            log.warning("event_log_unavailable", error=reason)
        self._told.add(reason)
        return LogUnavailable()

    def has_appended(self) -> None:
        """Take note that the log is there: the next trouble is news."""
        self._told.clear()

    def _found(self, writes: Writes, found: Mapping[LiteralString, Sequence[Row]]) -> Sequence[int] | None:
        if FIND_OUTCOME in found:
            return [position for (position,) in found[FIND_OUTCOME]] or None
        events = found.get(FIND_EVENTS, ())
        if not events or not _are_those(events, writes.events):
            return None
        self.saw(*events[-1])
        return [position for position, _ in events]

    async def _connect(self) -> RoundTrips:
        connection = await AsyncConnection.connect(
            self._dsn,
            autocommit=True,
            connect_timeout=CONNECT_TIMEOUT_S,
            options=f"-c lock_timeout={LOCK_WAIT_MS} {INDEXED}",
            application_name="ticketing-append",
        )
        return RoundTrips(connection)

    async def _require_the_same_log(self, trips: RoundTrips) -> None:
        ((has_moved, epoch),) = (await trips.ask({EPOCH: ()}))[EPOCH]
        self._epoch = self._epoch or epoch
        if has_moved or epoch != self._epoch:
            raise LogReplaced

    @asynccontextmanager
    async def _connected(self, deadline: float) -> AsyncIterator[RoundTrips]:
        """Give the connection, made anew if it was lost. Raises LogUnavailable when it is lost meanwhile."""
        try:
            if self._trips is None or self._trips.connection.closed:
                async with asyncio.timeout_at(deadline):
                    self._trips = await self._connect()
                    await self._require_the_same_log(self._trips)
            with _cut_at(deadline, self._trips.connection):
                yield self._trips
        except (psycopg.OperationalError, OSError, TimeoutError) as error:
            raise self.unavailable(error) from error
        except (VersionConflict, BrokenHistory):
            raise
        except BaseException:
            self.lose()
            raise


class PostgresAppend:
    """An open transaction that holds the append lock. See `commands.ports.Append`."""

    reading: Reading

    def __init__(self, event_log: PostgresEventLog, trips: RoundTrips, deadline: float) -> None:
        self._log = event_log
        self._trips = trips
        self._deadline = deadline

    async def open(self, wanted: Wanted) -> None:
        """Begin, lock, read: one round trip."""
        asked: dict[LiteralString, Sequence[Any]] = {
            BEGIN: (),
            LOCK: [APPEND_LOCK],
            CLOCK: [Int8(self._log.witness_position)],
        }
        if wanted.streams:
            asked[NEWER_EVENTS] = _newer_than(wanted.streams)
        if since := wanted.appended_since:
            asked[APPENDED_SINCE] = [Int8(since), Int8(since + NEWER_MAX)]
        if wanted.keys:
            callers, keys = zip(*wanted.keys, strict=True)
            asked[OUTCOMES] = [list(callers), list(keys)]
        if wanted.silence_of:
            asked |= {LISTENING: (), HEARD: [list(wanted.silence_of)]}
        try:
            rows = await self._trips.ask(asked)
        except psycopg.errors.LockNotAvailable:
            await self.give_up()
            raise
        ((clock_now, position, last_state, epoch, witness),) = rows[CLOCK]
        self._log.testify(epoch, witness)
        now = clock_now.astimezone(UTC)  # in the server's zone, hours could be skipped when adding to it
        if last_state is not None:
            if last := codec.find_form(last_state):
                now = max(now, last.recorded_at + timedelta(microseconds=1))
            self._log.saw(position, last_state)
        newer = rows.get(APPENDED_SINCE, ())
        can_be_told = since > 0 and (bool(newer) or position == since)
        self.reading = Reading(
            now,
            position or 0,
            {},
            {
                KeyOfCaller(caller, key): RecordedOutcome(request, reply, at)
                for caller, key, request, reply, at in rows.get(OUTCOMES, ())
            },
            Hearing(
                _hearing_since(now, *rows[LISTENING][0]) if LISTENING in rows else None,
                {id_: at.astimezone(UTC) for id_, at in rows.get(HEARD, ())},
            ),
            _appended(newer) if can_be_told else None,
        )
        try:
            self._learn(wanted.streams, rows.get(NEWER_EVENTS, ()))
        except BaseException:
            await self.give_up()
            raise

    async def read_more(self, streams: Sequence[Known]) -> None:
        """Read further streams at the same place in the log."""
        try:
            with _cut_at(self._deadline, self._trips.connection):
                rows = await self._trips.ask({NEWER_EVENTS: _newer_than(streams)})
            self._learn(streams, rows[NEWER_EVENTS])
        except (psycopg.OperationalError, OSError) as error:
            raise self._log.unavailable(error) from error

    async def commit(self, writes: Writes) -> Sequence[int]:
        """Append and commit: one round trip."""
        try:
            with _cut_at(self._deadline, self._trips.connection):
                positions = await self._insert(writes)
        except psycopg.errors.UniqueViolation as taken:
            await self.give_up()
            raise VersionConflict from taken
        except (psycopg.Error, OSError) as error:
            self._log.lose()
            if isinstance(error, OSError) or _may_have_committed(error):
                raise OutcomeUnknown from error
            if isinstance(error, psycopg.OperationalError | ReadOnlySqlTransaction):
                raise self._log.unavailable(error) from error
            raise
        except BaseException:
            self._log.lose()
            raise
        self._log.has_appended()
        return positions

    async def give_up(self) -> None:
        """Roll back, and so release the lock."""
        if self._trips.connection.closed:
            return
        try:
            with _cut_at(self._deadline, self._trips.connection):
                await self._trips.ask({ROLLBACK: ()})
        except (psycopg.Error, OSError):
            self._log.lose()

    def _learn(self, streams: Sequence[Known], rows: Sequence[Row]) -> None:
        """Bring what was known up to date; raises VersionConflict where the log tells another past."""
        by_place = defaultdict(list)
        for row in rows:
            by_place[row[0]].append(row)
        for place, known in enumerate(streams, 1):
            self.reading.known[known.stream.name] = _up_to_date(known, by_place.get(place, ()))

    async def _insert(self, writes: Writes) -> Sequence[int]:
        states = [_stored(event, writes) for event in writes.events]
        asked: dict[LiteralString, Sequence[Any]] = {}
        if states:
            asked[APPEND_EVENTS] = _events(writes.events, states)
        else:
            asked[LAST_POSITION] = ()
        if writes.outcomes:
            asked[RECORD_OUTCOMES] = _outcomes(writes)
        if writes.names:
            names = {named.user_id: named.name for named in writes.names}
            asked[WRITE_NAMES] = [list(names), list(names.values())]
        if writes.snapshots:
            asked[TAKE_SNAPSHOTS] = _snapshots(writes.snapshots)
        rows = await self._trips.ask({**asked, COMMIT: ()})
        positions = [position for (position,) in rows.get(APPEND_EVENTS) or rows[LAST_POSITION]]
        if states:
            self._log.saw(positions[-1], states[-1])
        return positions


def _appended(rows: Sequence[Row]) -> Sequence[Appended] | None:
    """Tell of these events; None where one does not say to which stream it belongs."""
    appended = []
    for version, position, topic, state in rows:
        form = codec.find_form(state)
        if form is None:
            return None
        decode = partial(codec.recorded, position, version, topic, form)
        appended.append(Appended(form.stream, version, partial(_read, form.stream, decode)))
    return appended


def _up_to_date(known: Known, rows: Sequence[Row]) -> Known:
    """Add to what is known the events that follow, in the order of their versions.

    Raises VersionConflict where the log tells another past, BrokenHistory where it contradicts itself.
    """
    following: list[RecordedEvent] = []
    read_version = known.version
    expected = known.version + 1
    confirmed = known.version == 0
    for _, version, position, topic, state, is_snapshot in rows:
        if is_snapshot:
            decoded = _snapshotted(known, state)
            known = Known(known.stream, decoded, version, position)
            expected, confirmed = version + 1, False
        elif version < expected:
            confirmed = position == known.position
        elif version == expected:
            decode = partial(codec.decode, position, version, topic, state)
            following.append(_read(f"{known.stream.name}, version {version} ({topic})", decode))
            expected += 1
        else:
            raise BrokenHistory(f"{known.stream.name} lacks version {expected}")
    if not confirmed and read_version == 0:
        raise BrokenHistory(f"{known.stream.name} never had the version {known.version} of its snapshot")
    if not confirmed:
        raise VersionConflict
    return evolved(known, following)


def _read(named: str, decode: Callable[[], RecordedEvent]) -> RecordedEvent:
    try:
        return decode()
    except Exception as error:
        raise BrokenHistory(f"{named}: {type(error).__name__}: {error}") from error


def _snapshotted(known: Known, state: bytes) -> Any:
    try:
        return msgspec.json.decode(state, type=known.stream.aggregate.shape)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BrokenHistory(f"the snapshot of {known.stream.name}: {error}") from error


def _hearing_since(now: datetime, oldest_beat_at: datetime | None, since: datetime | None) -> datetime | None:
    """Q8: nobody's silence counts while a heartbeat is late, also by a clock that was set back."""
    if oldest_beat_at is None or since is None or oldest_beat_at <= now - timedelta(seconds=ALLOWANCE_S):
        return None
    return since.astimezone(UTC)


@contextmanager
def _cut_at(deadline: float, connection: AsyncConnection[Row]) -> Iterator[None]:
    """Cut the connection at the deadline (event loop time): whoever waits on it then learns that it is lost.

    Cancelling the wait would take longer: psycopg would first ask the server to stop, and it may be silent.
    """
    timer = asyncio.get_running_loop().call_at(deadline, _cut, connection)
    try:
        yield
    finally:
        timer.cancel()


def _cut(connection: AsyncConnection[Row]) -> None:
    if not connection.closed:
        line = socket.socket(fileno=connection.fileno())
        with suppress(OSError):
            line.shutdown(socket.SHUT_RDWR)
        line.detach()


async def _end_long_holders(trips: RoundTrips) -> None:
    """End the backend that has sat on the append lock for too long (its process was stopped)."""
    rows = await trips.ask({END_LONG_HOLDERS: [APPEND_LOCK, LOCK_WAIT_MS, LOCK_IDLE_MS]})
    if ended := rows[END_LONG_HOLDERS]:
        log.warning("append_lock_taken_back", backends=len(ended))


def _newer_than(streams: Sequence[Known]) -> Sequence[Any]:
    return [
        [known.stream.id for known in streams],
        [known.version for known in streams],
        list(SNAPSHOT_SHAPES.values()),
    ]


def _events(events: Sequence[NewEvent], states: Sequence[bytes]) -> Sequence[Any]:
    return [
        [event.stream.id for event in events],
        [event.version for event in events],
        [event.event.topic for event in events],
        states,
    ]


def _stored(event: NewEvent, writes: Writes) -> bytes:
    return codec.encode(
        codec.StoredForm(
            event.stream.name,
            event.partition_key,
            writes.recorded_at,
            event.command_id,
            event.correlation_id,
            event.causation_id,
            event.event,
        )
    )


def _outcomes(writes: Writes) -> Sequence[Any]:
    outcomes = writes.outcomes
    return [
        writes.recorded_at,
        [outcome.key.caller for outcome in outcomes],
        [outcome.key.key for outcome in outcomes],
        [outcome.request for outcome in outcomes],
        [outcome.reply for outcome in outcomes],
        [outcome.command_id for outcome in outcomes],
    ]


def _snapshots(long: Sequence[Known]) -> Sequence[Any]:
    return [
        [known.stream.id for known in long],
        [known.version for known in long],
        [SNAPSHOT_SHAPES[known.stream.aggregate.kind] for known in long],
        [msgspec.json.encode(known.state) for known in long],
    ]


def _may_have_committed(error: psycopg.Error) -> bool:
    """Who names what went wrong has not committed: psycopg what it cannot send, the server what it refuses.

    Unless the server named only that it was ending the session.
    """
    if error.sqlstate is None:
        return not isinstance(error, psycopg.DataError | psycopg.ProgrammingError)
    return error.sqlstate.startswith(CONNECTION_LOST)


def _traces(writes: Writes) -> Mapping[LiteralString, Sequence[Any]]:
    """By what an append is found: its events or, without any, an outcome.

    Names alone change nothing when they are written again.
    """
    events, outcomes = writes.events, writes.outcomes
    if events:
        return {FIND_EVENTS: [[event.stream.id for event in events], [event.version for event in events]]}
    return {FIND_OUTCOME: [*outcomes[0].key, outcomes[0].command_id]} if outcomes else {}


def _are_those(found: Sequence[Row], events: Sequence[NewEvent]) -> bool:
    """Whether what stands at the events' versions was appended in the name of their commands."""
    forms = [codec.find_form(state) for _, state in found]
    command_ids = [None if form is None else form.command_id for form in forms]
    return command_ids == [event.command_id for event in events]
