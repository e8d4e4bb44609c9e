"""The epochs of the log: what a restore from a backup, or a failover, leaves of what was answered before.

A log that was restored shares its beginning with the one that is lost, and goes on otherwise. So it goes on
in a new epoch, whose positions begin beyond any that was ever given: a position means one event for ever, in
the log or lost. Of the epochs before, the log holds what was recorded up to the boundary, and nothing else.
"""

import math
from bisect import bisect_right
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any, LiteralString, NamedTuple
from uuid import UUID

import psycopg
from psycopg import AsyncConnection, Connection
from psycopg.rows import TupleRow
from psycopg.sql import SQL, Identifier

from aggregates.errors import TokenInvalid, TokenLost
from infrastructure import codec
from infrastructure.event_log import APPEND_LOCK

CONNECT_TIMEOUT_S = 5

LOCK_WAIT_S = 10
"""Appends take milliseconds; whoever holds the lock for so long is looked at by a person."""

EPOCHS: LiteralString = """
    SELECT number, epoch, after_position, after_recorded_at, first_position
    FROM ticketing.log_epochs
    ORDER BY number
"""

HAS_MOVED: LiteralString = "SELECT ticketing.log_has_moved()"

NOTE_WHEREABOUTS: LiteralString = """
    UPDATE ticketing.log_epochs
    SET whereabouts = ticketing.whereabouts() || whereabouts
    WHERE number = (SELECT max(number) FROM ticketing.log_epochs)
      AND NOT whereabouts ?& (SELECT array_agg(key) FROM jsonb_object_keys(ticketing.whereabouts()) AS key)
"""

LAST_EVENTS: LiteralString = """
    SELECT notification_id, state
    FROM ticketing.ticketing_events
    ORDER BY notification_id DESC
    LIMIT 100
"""
"""More than one, since what stands last may be no event that can be read."""

BEGIN_EPOCH: LiteralString = """
    INSERT INTO ticketing.log_epochs
        (number, epoch, after_position, after_recorded_at, first_position, whereabouts)
    SELECT max(number) + 1, gen_random_uuid(), %(position)s, %(recorded_at)s,
           greatest(%(position)s + 1, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint),
           ticketing.whereabouts()
    FROM ticketing.log_epochs
    RETURNING number, epoch, after_position, after_recorded_at, first_position
"""
"""Positions go on at the microseconds since 1970: whatever was lost had fewer events than microseconds, so no
lost position is given again, also where one backup is restored twice. They stay below 2^53 until 2255.
"""

MOVE_POSITIONS: LiteralString = """
    SELECT setval(pg_get_serial_sequence('ticketing.ticketing_events', 'notification_id'), %s, false)
"""

FORGET_LOST: Sequence[LiteralString] = (
    "DELETE FROM ticketing.command_outcomes WHERE position > %s",
    "DELETE FROM ticketing.snapshots WHERE position > %s",
    "DELETE FROM ticketing.dead_letters WHERE position > %s",
)

LOWER_TOPIC: Sequence[LiteralString] = (
    "UPDATE ticketing.topic SET position = least(position, %s)",
    "UPDATE ticketing.topic_partitions SET last_position = least(last_position, %s)",
)
"""What was published of the lost part is passed over by whoever reads it."""

HOLD_CHECKPOINTS: LiteralString = "LOCK TABLE ticketing.projection_checkpoints IN EXCLUSIVE MODE"
"""Who is applying what came over the topic is waited for, and the next one sees that another epoch began."""

CONTRADICTING_READ_MODELS: LiteralString = """
    SELECT projection, version
    FROM ticketing.projection_schemas AS made
    WHERE to_regnamespace(projection || '_v' || version) IS NULL
       OR EXISTS (
           SELECT FROM ticketing.projection_checkpoints AS checkpoint
           WHERE checkpoint.projection = made.projection AND checkpoint.version = made.version
             AND checkpoint.position > %s
       )
"""

FORGET_READ_MODEL: Sequence[LiteralString] = (
    "DELETE FROM ticketing.projection_checkpoints WHERE projection = %s AND version = %s",
    "DELETE FROM ticketing.projection_schemas WHERE projection = %s AND version = %s",
)


class Epoch(NamedTuple):
    """One epoch, and the boundary behind which it began."""

    number: int
    epoch: UUID
    after_position: int
    after_recorded_at: datetime | None
    first_position: int

    @property
    def kept_until(self) -> float:
        """Up to when the log holds what was recorded before this epoch, in seconds since 1970."""
        return -math.inf if self.after_recorded_at is None else self.after_recorded_at.timestamp()


class Epochs:
    """All epochs of a log, in their order, as they were when a process began."""

    def __init__(self, epochs: Sequence[Epoch]) -> None:
        first, last = epochs[0], epochs[-1]
        self.current = str(last.epoch)
        """What signed tokens are marked with."""
        self._names = [str(epoch.epoch) for epoch in epochs]
        self._first_positions = [epoch.first_position for epoch in epochs]
        self._restores = epochs[1:]
        self._kept_until = {self.current: math.inf}
        kept_until = math.inf
        for before, after in reversed(list(pairwise(epochs))):
            kept_until = min(kept_until, after.kept_until)
            self._kept_until[str(before.epoch)] = kept_until
        self._kept_until[""] = self._kept_until[str(first.epoch)]  # before tokens were marked

    def knows(self, epoch: str) -> bool:
        """Whether the epoch is one of this log's."""
        return epoch in self._kept_until

    def recorded_in(self, position: int) -> str:
        """Return the epoch in which what stands at this position was recorded."""
        return self._names[bisect_right(self._first_positions, position) - 1]

    def has_lost(self, position: int) -> bool:
        """Whether what was recorded at this position is no longer in the log."""
        return any(epoch.after_position < position < epoch.first_position for epoch in self._restores)

    def require_kept(self, epoch: str, issued_at: float) -> None:
        """Raise TokenLost for a token that was issued in a part of the log that is lost.

        An epoch that this log does not know began in such a part. Raises TokenInvalid where nothing is lost.
        """
        kept_until = self._kept_until.get(epoch, -math.inf)
        if issued_at <= kept_until:
            return
        if not self._restores:
            raise TokenInvalid
        if math.isinf(kept_until):
            raise TokenLost(self._restores[-1].after_recorded_at)
        raise TokenLost(datetime.fromtimestamp(kept_until, UTC))


async def read_epochs(connection: AsyncConnection[Any]) -> Epochs:
    """Read all epochs of the log."""
    cursor = await connection.execute(EPOCHS)
    return Epochs([Epoch(*row) for row in await cursor.fetchall()])


def settle(dsn: str, *, restored: bool = False) -> Epoch | None:
    """Begin a new epoch if the database shows that this log was restored; return it, None if there is none.

    `restored` says so where the database does not show it. Any number of processes may call it at once: one
    begins the epoch. What stands beside the log and contradicts it is removed with that; the read models
    among it are made again by `schema.migrate`. Raises psycopg's errors.
    """
    with psycopg.connect(
        dsn, autocommit=True, connect_timeout=CONNECT_TIMEOUT_S, application_name="ticketing-epochs"
    ) as connection:
        if not restored and not _has_moved(connection):
            connection.execute(NOTE_WHEREABOUTS)
            return None
        with connection.transaction():
            connection.execute("SELECT set_config('lock_timeout', %s, true)", [f"{LOCK_WAIT_S}s"])
            connection.execute("SELECT pg_advisory_xact_lock(%s)", [APPEND_LOCK])
            return _begin(connection) if restored or _has_moved(connection) else None


def _has_moved(connection: Connection[TupleRow]) -> bool:
    row = connection.execute(HAS_MOVED).fetchone()
    return row is not None and bool(row[0])


def _begin(connection: Connection[TupleRow]) -> Epoch:
    position, recorded_at = _last_event(connection)
    cursor = connection.execute(BEGIN_EPOCH, {"position": position, "recorded_at": recorded_at})
    (begun,) = cursor.fetchall()
    epoch = Epoch(*begun)
    connection.execute(MOVE_POSITIONS, [epoch.first_position])
    for statement in (*FORGET_LOST, *LOWER_TOPIC):
        connection.execute(statement, [position])
    connection.execute(HOLD_CHECKPOINTS)
    for projection, version in connection.execute(CONTRADICTING_READ_MODELS, [position]).fetchall():
        schema = Identifier(f"{projection}_v{version}")
        connection.execute(SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(schema))
        for statement in FORGET_READ_MODEL:
            connection.execute(statement, [projection, version])
    return epoch


def _last_event(connection: Connection[TupleRow]) -> tuple[int, datetime | None]:
    """Where the log ends, and the last time that can be read in it."""
    last = connection.execute(LAST_EVENTS).fetchall()
    forms = (codec.find_form(state) for _, state in last)
    recorded_at = next((form.recorded_at for form in forms if form is not None), None)
    return last[0][0] if last else 0, recorded_at
