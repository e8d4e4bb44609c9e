"""What of the log is not on the topic yet: read as messages, and noted once they are published."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, LiteralString

from psycopg import AsyncConnection

from commands.ports import LogReplaced
from infrastructure import codec, stray_events
from infrastructure.codec import StoredForm
from infrastructure.epochs import HAS_MOVED, Epochs, read_epochs
from infrastructure.feed import PostgresFeed
from infrastructure.messages import Message, Place, StoredRow, Whose, message, opaque_message
from infrastructure.settings import Settings
from infrastructure.topic import NotRegistered
from projections.partitions import partition_of

DEADLINE_S = 10.0
"""No reading takes so long, and no writing of a checkpoint: the store is out of reach, whatever it says."""

CONNECT_TIMEOUT_S = 3

TOPIC: LiteralString = """
    SELECT topic.position, partition, last_position
    FROM ticketing.topic
    CROSS JOIN ticketing.topic_partitions
    ORDER BY partition
"""

EPOCH: LiteralString = "SELECT epoch FROM ticketing.log_epochs ORDER BY number DESC LIMIT 1"

MOVE: LiteralString = """
    WITH moved AS (
        UPDATE ticketing.topic SET position = %(until)s WHERE position = %(after)s
        RETURNING position
    ), noted AS (
        UPDATE ticketing.topic_partitions AS published
        SET last_position = newest.position
        FROM moved
        CROSS JOIN unnest(%(partitions)s::int[], %(positions)s::bigint[]) AS newest (partition, position)
        WHERE published.partition = newest.partition
    )
    SELECT clock_timestamp() FROM moved
"""


class Deposed(Exception):
    """Somebody else has moved the checkpoint."""

    def __init__(self) -> None:
        super().__init__("another relay has moved the checkpoint")


class Unpublished:
    """The log beyond the topic's position, over connections that end with it."""

    def __init__(
        self,
        dsn: str,
        connection: AsyncConnection[Any],
        epochs: Epochs,
        position: int,
        last_positions: Mapping[int, int],
    ) -> None:
        self.position = position
        """The log up to it is on the topic."""
        self._feed = PostgresFeed(dsn)
        self._connection = connection
        self._epochs = epochs
        self._last_positions = dict(last_positions)

    @classmethod
    async def open(cls, dsn: str, settings: Settings) -> "Unpublished":
        """Connect, and read how far the topic goes. Raises LogReplaced and NotRegistered."""
        connection = await AsyncConnection.connect(
            dsn, autocommit=True, connect_timeout=CONNECT_TIMEOUT_S, application_name="ticketing-relay"
        )
        try:
            async with asyncio.timeout(DEADLINE_S):
                await _require_same_log(connection)
                epochs = await read_epochs(connection)
                rows = await (await connection.execute(TOPIC)).fetchall()
        except BaseException:
            connection.pgconn.finish()
            raise
        if not rows:
            connection.pgconn.finish()
            raise NotRegistered(settings)
        return cls(dsn, connection, epochs, rows[0][0], {row[1]: row[2] for row in rows})

    async def close(self) -> None:
        """Close the connections."""
        await self._feed.close()
        self._connection.pgconn.finish()

    async def read(self, limit: int) -> Sequence[StoredRow]:
        """Return up to `limit` events that follow, in whole appends. Raises LogReplaced.

        What was recorded in an epoch that has begun meanwhile would get another's name.
        """
        async with asyncio.timeout(DEADLINE_S):
            rows = await self._feed.read_rows(self.position, limit)
            if rows and await self._epoch() != self._epochs.current:
                raise LogReplaced
        return [StoredRow(*row) for row in rows]

    async def messages(self, rows: Sequence[StoredRow]) -> Sequence[Message]:
        """Make messages of what was read, each behind the one before it in its partition."""
        forms = [codec.find_form(row.state) for row in rows]
        strays = await self._strays([row.position for row, form in zip(rows, forms, strict=True) if not form])
        newest = dict(self._last_positions)
        made: list[Message] = []
        for row, form in zip(rows, forms, strict=True):
            whose = form or strays[row.position]
            partition = partition_of(whose.partition_key, len(newest))
            place = Place(self._epochs.recorded_in(row.position), partition, newest[partition])
            made.append(_message(row, whose, place))
            newest[partition] = row.position
        return made

    async def move(self, published: Sequence[Message]) -> datetime:
        """Note that these messages are on the topic; return the database's time. Raises Deposed."""
        newest = {one.partition: one.position for one in published}
        until = published[-1].position
        moved = {
            "after": self.position,
            "until": until,
            "partitions": list(newest),
            "positions": list(newest.values()),
        }
        async with asyncio.timeout(DEADLINE_S):
            row = await (await self._connection.execute(MOVE, moved)).fetchone()
        if row is None:
            raise Deposed
        self.position = until
        self._last_positions.update(newest)
        now: datetime = row[0]
        return now

    async def _epoch(self) -> str:
        ((epoch,),) = await (await self._connection.execute(EPOCH)).fetchall()
        return str(epoch)

    async def _strays(self, positions: Sequence[int]) -> Mapping[int, Whose]:
        if not positions:
            return {}
        async with asyncio.timeout(DEADLINE_S):
            return await stray_events.find(self._connection, positions)


def _message(row: StoredRow, whose: StoredForm | Whose, place: Place) -> Message:
    return opaque_message(row, whose, place) if isinstance(whose, Whose) else message(row, whose, place)


async def _require_same_log(connection: AsyncConnection[Any]) -> None:
    row = await (await connection.execute(HAS_MOVED)).fetchone()
    if row is None or row[0]:
        raise LogReplaced
