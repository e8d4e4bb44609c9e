"""The projector: applies the log to the read models, each event exactly once, whoever else does the same.

A batch of events and the checkpoint behind it are written in one transaction, whose first statement locks the
checkpoints: what another projector applied in the meantime is passed over. Projections that stand at the same
position share the reading, the decoding and the transaction. One that fails is left behind, to be tried again
on its own; the others go on.

The events come from the log, or over a topic, of which each projector takes some partitions. The log has all
that the topic has, and goes on where the topic does not: what is missing on it is read from the log, and
everything is while the topic is late or one of its partitions stands still, whoever's it is.

Where an event is at fault, it is found by halving the batch; what stands before it is applied. It is tried
TRIES_MAX times and then parked, in the transaction that moves the checkpoint beyond it, and with it what
follows in its stream (`projections.dead_letters`). A fault of the store, or of a statement, parks nothing.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any

import msgspec
import psycopg
import structlog
from psycopg import AsyncConnection

from aggregates.event import RecordedEvent
from projections import checkpoints, dead_letters
from projections.feed import (
    OVER_TOPIC_POLL_MIN_S,
    POLL_MIN_S,
    AnotherEpoch,
    Feed,
    Pace,
    Reading,
    Topic,
    Unreadable,
    reading_of_log,
    stream_id_of,
    topic_of,
)
from projections.partitions import Positions
from projections.projection import Projection
from projections.reading import LOOKED_UP_BY_KEYS
from projections.standstill import LOOK_EVERY_S, Standstill

BATCH_EVENTS_MAX = 5_000
"""More than the longest append, few enough to be applied within a fraction of a second."""

BATCH_DEADLINE_S = 30.0
"""No batch takes so long, and no wait for a checkpoint: the store is out of reach, whatever it says."""

CONNECT_TIMEOUT_S = 3

REST_MIN_S, REST_MAX_S = 0.1, 5.0
"""How long to rest after a failure: twice as long each time."""

TRIES_MAX = 3
"""An event that cannot be applied is parked after so many, with the rests of a failure in between."""

SESSION_OPTIONS = f"-c timezone=UTC {LOOKED_UP_BY_KEYS}"

log = structlog.get_logger(__name__)


class Standing(msgspec.Struct):
    """How far one projection has come, and how it fares."""

    positions: Positions = {}
    """By partition; those of other projectors as they were when last looked at."""
    events: int = 0
    """How many events this process has applied or, where they do not concern it, passed over."""
    lag_s: float = 0.0
    """How old the last batch's first event was when it was applied, by the database's clock; 0 when idle."""
    waiting_since: datetime | None = None
    """When the first event was recorded that it has read and not applied, None where there is none."""
    failures: int = 0
    """How often a batch could not be applied."""
    parked: int = 0
    """How many events this process has parked."""
    failing: int = 0
    """The position of the event that could not be applied when it was last tried by itself."""
    tries: int = 0
    """How often that one was."""
    failures_in_a_row: int = 0
    rests_until: float = 0.0
    """When it is tried again after a failure, by the event loop's clock."""

    @property
    def position(self) -> int:
        """Up to where all of the log has been applied."""
        return min(self.positions.values(), default=0)


class Projector:
    """Applies a feed to some projections, over one connection that is made anew when it is lost."""

    def __init__(
        self,
        dsn: str,
        feed: Feed,
        projections: Sequence[Projection[Any]],
        *,
        topic: Topic | None = None,
        batch_events_max: int = BATCH_EVENTS_MAX,
    ) -> None:
        self.standings: Mapping[str, Standing] = {projection.name: Standing() for projection in projections}
        self.store_losses = 0
        """How often the store was out of reach."""
        self._dsn = dsn
        self._feed = feed
        self._topic = topic
        self._epoch: str | None = None
        self._standstill = Standstill()
        self._next_look = 0.0
        self._projections = projections
        self._batch_events_max = batch_events_max
        self._connection: AsyncConnection[Any] | None = None

    @property
    def reads_the_log(self) -> bool:
        """Whether the events come from the log itself, and not over a topic."""
        return self._topic is None or self._standstill.lasts

    async def run(self, stop: asyncio.Event) -> None:
        """Follow the log until `stop` is set, and finish what has been begun. Raises AnotherEpoch."""
        pace = Pace(self._batch_events_max, POLL_MIN_S if self._topic is None else OVER_TOPIC_POLL_MIN_S)
        losses_in_a_row = 0
        while not stop.is_set():
            try:
                async with asyncio.timeout(BATCH_DEADLINE_S):
                    wait_s = pace.wait_s(await self.advance())
                losses_in_a_row = 0
            except (psycopg.Error, OSError) as error:
                self._lose_connection()
                self.store_losses += 1
                losses_in_a_row += 1
                wait_s = _rest_s(losses_in_a_row)
                log.warning("projector_lost_the_store", error=str(error).strip(), retry_in_s=wait_s)
            await _wait(stop, wait_s)
        self._lose_connection()

    async def advance(self) -> int:
        """Take every projection one batch further; return how many events the longest batch had.

        Raises psycopg.Error or OSError where the store is out of reach, and AnotherEpoch; nothing is half
        done then.
        """
        connection = await self._connected()
        await self._look(connection)
        longest = 0
        for projections in self._groups():
            longest = max(longest, await self._advance_group(connection, projections))
        await self._settle(connection)
        return longest

    async def close(self) -> None:
        """Close the connection; what it had not committed the server rolls back."""
        self._lose_connection()

    def _lose_connection(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.pgconn.finish()

    async def _connected(self) -> AsyncConnection[Any]:
        if self._connection is None or self._connection.closed:
            connection = await AsyncConnection.connect(
                self._dsn,
                autocommit=True,
                prepare_threshold=0,
                connect_timeout=CONNECT_TIMEOUT_S,
                options=SESSION_OPTIONS,
                application_name="ticketing-projector",
            )
            try:
                self._require_epoch(await checkpoints.epoch(connection))
                await checkpoints.begin(connection, self._projections)
                await self._find_positions(connection)
            except BaseException:
                connection.pgconn.finish()
                raise
            self._connection = connection
            with suppress(psycopg.Error, OSError):  # a feed that has lost the store as we have says so once
                await self._feed.last_position()
        return self._connection

    def _require_epoch(self, current: str | None) -> None:
        """The log itself never tells what it has lost; who follows it alone goes on."""
        self._epoch = self._epoch or current
        if self._topic is not None and (current is None or current != self._epoch):
            raise AnotherEpoch

    async def _find_positions(self, connection: AsyncConnection[Any]) -> None:
        reached = await checkpoints.positions(connection, self._projections)
        for name, standing in self.standings.items():
            standing.positions = reached[name]

    async def _settle(self, connection: AsyncConnection[Any]) -> None:
        """Readers wait for a position of the log, whichever partitions the events up to it are of.

        What other projectors have applied becomes known with it.
        """
        if self._topic is not None:
            reached = await checkpoints.settle(connection, self._projections)
            for name, standing in self.standings.items():
                standing.positions = reached[name]

    async def _look(self, connection: AsyncConnection[Any]) -> None:
        """See from time to time how the topic does, and how other projectors do with their partitions.

        What fails here stands still for another reason.
        """
        now = asyncio.get_running_loop().time()
        if self._topic is None or now < self._next_look:
            return
        self._next_look = now + LOOK_EVERY_S
        self._standstill.look(
            now,
            log=await self._feed.last_position(),
            topic=await checkpoints.topic_position(connection) or 0,
            partitions=_hindmost(
                standing.positions for standing in self.standings.values() if not standing.failures_in_a_row
            ),
        )

    def _groups(self) -> Iterable[Sequence[Projection[Any]]]:
        """Return those that are not resting, together where they stand at the same position."""
        now = asyncio.get_running_loop().time()
        groups: dict[tuple[int, ...], list[Projection[Any]]] = {}
        for projection in self._projections:
            standing = self.standings[projection.name]
            if standing.rests_until <= now:
                groups.setdefault(tuple(standing.positions.values()), []).append(projection)
        return groups.values()

    async def _advance_group(
        self, connection: AsyncConnection[Any], projections: Sequence[Projection[Any]]
    ) -> int:
        after = self.standings[projections[0].name].positions
        try:
            reading = await self._read(after)
        except (psycopg.Error, OSError):
            raise
        except Exception:
            log.exception("feed_cannot_be_read", after=min(after.values()))
            for projection in projections:
                self._leave_behind(projection)
            return 0
        events = reading.events
        for projection in projections:
            standing = self.standings[projection.name]
            standing.waiting_since = events[0].recorded_at if events else None
            standing.lag_s = standing.lag_s if events else 0.0
        if events:
            await self._apply_or_part(connection, projections, reading)
        return len(events)

    async def _read(self, after: Positions) -> Reading:
        reading = None
        if self._topic is not None:
            reading = await self._topic.read(after, self._batch_events_max)
        if reading is None or self._standstill.lasts:
            position = min(after.values())
            events = await self._feed.read(position, self._batch_events_max)
            reading = reading_of_log(events, position, len(after))
        return reading

    async def _apply_or_part(
        self,
        connection: AsyncConnection[Any],
        projections: Sequence[Projection[Any]],
        reading: Reading,
    ) -> None:
        """Apply the events in one transaction; where that fails, to each projection in one of its own."""
        failing = self.standings[projections[0].name].failing
        if len(projections) == 1 and failing == reading.events[0].position:
            reading = reading.first(1)
        try:
            await self._apply(connection, projections, reading)
        except AnotherEpoch:
            raise
        except Exception as error:
            if connection.closed:
                raise
            if len(projections) == 1:
                await self._find_fault(connection, projections[0], reading, error)
                return
            for projection in projections:
                await self._apply_or_part(connection, [projection], reading)

    async def _find_fault(
        self,
        connection: AsyncConnection[Any],
        projection: Projection[Any],
        reading: Reading,
        error: Exception,
    ) -> None:
        """Apply what can be applied of a batch that failed, up to the event that cannot."""
        if not dead_letters.is_of_the_event(error):
            after = min(reading.after.values())
            log.error("projection_failed", projection=projection.name, after=after, exc_info=error)
            self._leave_behind(projection)
        elif len(reading.events) == 1:
            await self._fail(connection, projection, reading, error)
        else:
            first = reading.first(len(reading.events) // 2)
            await self._apply_or_part(connection, [projection], first)
            if not first.advances(self.standings[projection.name].positions):
                await self._apply_or_part(connection, [projection], reading.following(first))

    async def _fail(
        self,
        connection: AsyncConnection[Any],
        projection: Projection[Any],
        reading: Reading,
        error: Exception,
    ) -> None:
        """Leave the projection behind for a while, or park the one event, which it cannot apply."""
        recorded = reading.events[0]
        standing = self.standings[projection.name]
        standing.tries = standing.tries + 1 if standing.failing == recorded.position else 1
        standing.failing = recorded.position
        log.error(
            "event_not_applied", projection=projection.name, position=recorded.position,
            stream=recorded.stream, topic=topic_of(recorded), tries=standing.tries, exc_info=error,
        )  # fmt: skip
        self._leave_behind(projection)
        if standing.tries >= TRIES_MAX and projection.listens_to(recorded.event):
            letter = dead_letters.letter(recorded, dead_letters.error_text(error), standing.tries)
            await self._park(connection, projection, reading, letter)

    async def _park(
        self,
        connection: AsyncConnection[Any],
        projection: Projection[Any],
        reading: Reading,
        letter: dead_letters.Letter,
    ) -> None:
        """Pass over an event, unless another projector has gone beyond it in the meantime."""
        standing = self.standings[projection.name]
        partitions = len(standing.positions)
        async with connection.pipeline(), connection.transaction():
            locked = await checkpoints.lock(
                connection, [projection], self._dsn, _to_lock(reading, partitions)
            )
            self._require_epoch(locked.epoch)
            at = locked.positions[projection.name]
            parks = _can_apply(reading, at) and bool(reading.beyond(at, partitions))
            if parks:
                await dead_letters.park(connection, projection, [letter])
                await checkpoints.move(connection, [projection], reading.until)
        standing.positions = _joined(standing.positions, at, reading.until if parks else {})
        standing.parked += parks
        standing.events += parks
        standing.failures_in_a_row, standing.rests_until = 0, 0.0
        if parks:
            log.error(
                "event_parked", projection=projection.name, position=letter.position, stream=letter.stream
            )

    async def _apply(
        self,
        connection: AsyncConnection[Any],
        projections: Sequence[Projection[Any]],
        reading: Reading,
    ) -> None:
        partitions = len(self.standings[projections[0].name].positions)
        all_readable = not any(type(recorded.event) is Unreadable for recorded in reading.events)
        applied: dict[str, int] = {}
        parked: dict[str, int] = {}
        async with connection.pipeline(), connection.transaction():
            to_lock = _to_lock(reading, partitions)
            locked = await checkpoints.lock(connection, projections, self._dsn, to_lock)
            self._require_epoch(locked.epoch)
            moving = [one for one in projections if _can_apply(reading, locked.positions[one.name])]
            for projection in moving:
                pending = reading.beyond(locked.positions[projection.name], partitions)
                applied[projection.name] = len(pending)
                if not all_readable or projection.name in locked.parking:
                    pending, letters = await _sort_out(connection, projection, pending)
                    await dead_letters.park(connection, projection, letters)
                    parked[projection.name] = len(letters)
                await projection.apply(connection, pending)
            if moving:
                await checkpoints.move(connection, moving, reading.until)
        for projection in projections:
            at = locked.positions[projection.name]
            standing = self.standings[projection.name]
            moved: Positions = reading.until if projection in moving else {}
            standing.positions = _joined(standing.positions, at, moved)
            standing.waiting_since = None
            standing.failures_in_a_row = 0
            standing.parked += parked.get(projection.name, 0)
            if projection in moving:
                standing.events += applied[projection.name]
                standing.lag_s = (locked.now - reading.events[0].recorded_at).total_seconds()

    def _leave_behind(self, projection: Projection[Any]) -> None:
        standing = self.standings[projection.name]
        standing.failures += 1
        standing.failures_in_a_row += 1
        now = asyncio.get_running_loop().time()
        standing.rests_until = now + _rest_s(standing.failures_in_a_row)


def _to_lock(reading: Reading, partitions: int) -> Iterable[int] | None:
    """Which partitions to lock; None for all that there are by now, where all are in the reading."""
    return None if len(reading.until) == partitions else reading.until


def _can_apply(reading: Reading, at: Positions) -> bool:
    """Whether these events follow what has been applied, and not all of them have been.

    They do not where the log has been given other partitions meanwhile.
    """
    return reading.until.keys() == at.keys() and reading.connects_to(at) and reading.advances(at)


def _joined(positions: Positions, at: Positions, until: Positions) -> Positions:
    """The positions as they were found, and moved on; those of other partitions as they were."""
    found = {**({} if len(at) >= len(positions) else positions), **at}
    return {one: max(position, until.get(one, 0)) for one, position in found.items()}


def _hindmost(positions: Iterable[Positions]) -> Positions:
    """The position of whichever projection has the longest way to go, by partition.

    Who has been given a partition may be of another version, and not have all projections that we have.
    """
    hindmost: dict[int, int] = {}
    for each in positions:
        for one, position in each.items():
            hindmost[one] = min(position, hindmost.get(one, position))
    return hindmost


async def _sort_out(
    connection: AsyncConnection[Any], projection: Projection[Any], events: Sequence[RecordedEvent]
) -> tuple[Sequence[RecordedEvent], Sequence[dead_letters.Letter]]:
    """Part what is to be applied from what is to be parked. The checkpoint is locked."""
    stream_ids = {stream_id_of(recorded) for recorded in events if projection.listens_to(recorded.event)}
    parked = await dead_letters.parked_streams(connection, projection, stream_ids)
    return dead_letters.sort_out(projection, events, parked)


def _rest_s(failures_in_a_row: int) -> float:
    return float(min(REST_MIN_S * 2 ** min(failures_in_a_row - 1, 10), REST_MAX_S))


async def _wait(stop: asyncio.Event, wait_s: float) -> None:
    """Wait so long, or until `stop` is set."""
    with suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), wait_s)
