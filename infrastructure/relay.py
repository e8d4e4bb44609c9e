"""The relay: publishes the log to the topic, in its order, and keeps how far it has come.

A batch is published whole, and acknowledged message by message, before the checkpoint moves over it. So a
message may be repeated, as it was, and none is left out. How far the topic goes, and the last event of each
of its partitions, are written in one statement, and only by whoever has published from where it stands: what
a relay writes that was taken for dead comes too late.
"""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial

import msgspec
import psycopg
import structlog
from kafka.errors import KafkaError

from infrastructure import cluster, codec
from infrastructure.cluster import ClusterError
from infrastructure.kafka_client import LastWords, client_options, last_words
from infrastructure.messages import StoredRow
from infrastructure.pause import called, pause
from infrastructure.publisher import NotPublished, Publisher
from infrastructure.settings import Settings
from infrastructure.topic import NotRegistered
from infrastructure.unpublished import Deposed, Unpublished
from projections.feed import OVER_TOPIC_POLL_MIN_S, Pace

BATCH_EVENTS_MAX = 5_000
"""Enough for a backlog to cost little each; few enough to hold them all in memory while they are sent."""

FINISHES_WITHIN_S = 1.0
"""What was begun when the process is asked to stop; where no broker answers, it is given up."""

REST_MIN_S, REST_MAX_S = 0.1, 5.0
"""How long to rest after a failure: twice as long each time."""

FAILURES = (psycopg.Error, OSError, KafkaError, ClusterError, NotPublished, NotRegistered, Deposed)

log = structlog.get_logger(__name__)


class Standing(msgspec.Struct):
    """How far the relay has come, and how it fares."""

    position: int = 0
    """The log up to it is on the topic."""
    published: int = 0
    """How many events this process has published."""
    failures: int = 0
    """How often it had to begin anew."""
    failures_in_a_row: int = 0
    lag_s: float = 0.0
    """How old the last batch's first event was when all of it was published, by the database's clock."""
    failing: int = 0
    """The position of the event that the cluster refuses, 0 if none."""
    error: str = ""
    """Why nothing is published, if nothing is."""


class Relay:
    """Publishes the log for as long as this process leads."""

    def __init__(
        self,
        dsn: str,
        settings: Settings,
        leads: Callable[[], bool],
        *,
        batch_events_max: int = BATCH_EVENTS_MAX,
    ) -> None:
        self.standing = Standing()
        self._dsn = dsn
        self._settings = settings
        self._leads = leads
        self._batch_events_max = batch_events_max

    async def run(self, stop: asyncio.Event) -> None:
        """Publish until `stop` is set; begin anew after whatever fails. Raises LogReplaced."""
        with last_words() as words:
            while not stop.is_set():
                try:
                    await self._begin(stop)
                except FAILURES as error:
                    await pause(self._failed(error, words), stop)

    async def _begin(self, stop: asyncio.Event) -> None:
        """Begin with nothing remembered, and publish until something fails."""
        if not await called(partial(cluster.ensure_topic, self._settings), stop):
            return
        unpublished = await Unpublished.open(self._dsn, self._settings)
        publisher = Publisher(self._settings.kafka_topic, client_options(self._settings))
        giving_up = asyncio.create_task(_give_up_late(publisher, stop))
        try:
            await asyncio.to_thread(publisher.open)
            await self._publish_all(unpublished, publisher, stop)
        finally:
            giving_up.cancel()
            publisher.give_up()
            await unpublished.close()
            await asyncio.to_thread(publisher.close)

    async def _publish_all(self, unpublished: Unpublished, publisher: Publisher, stop: asyncio.Event) -> None:
        pace = Pace(self._batch_events_max, OVER_TOPIC_POLL_MIN_S)
        self.standing.position = unpublished.position
        while not stop.is_set():
            came = await self._publish_batch(unpublished, publisher) if self._leads() else 0
            await pause(pace.wait_s(came), stop)

    async def _publish_batch(self, unpublished: Unpublished, publisher: Publisher) -> int:
        """Publish what follows, and note it; return how many events it was."""
        rows = self._with_care(await unpublished.read(self._batch_events_max))
        if not rows:
            self.standing.lag_s, self.standing.error = 0.0, ""
            return 0
        messages = await unpublished.messages(rows)
        await asyncio.to_thread(publisher.publish, messages)
        self._succeeded(rows, await unpublished.move(messages))
        return len(rows)

    def _with_care(self, rows: Sequence[StoredRow]) -> Sequence[StoredRow]:
        """Take what was refused by itself, and before it what stands before it: so that is published once."""
        if not self.standing.failing:
            return rows
        return [row for row in rows if row.position < self.standing.failing] or rows[:1]

    def _succeeded(self, rows: Sequence[StoredRow], now: datetime) -> None:
        standing = self.standing
        standing.position = rows[-1].position
        standing.published += len(rows)
        standing.failures_in_a_row = 0
        if standing.failing <= standing.position:
            standing.failing, standing.error = 0, ""
        form = codec.find_form(rows[0].state)
        standing.lag_s = 0.0 if form is None else max(0.0, (now - form.recorded_at).total_seconds())

    def _failed(self, error: Exception, words: LastWords) -> float:
        """Say what went wrong; return how long to rest."""
        standing = self.standing
        standing.failures += 1
        standing.failures_in_a_row += 1
        standing.error = " ".join(f"{type(error).__name__}: {error}".split())
        rest_s = _rest_s(standing.failures_in_a_row)
        refused = error.message if isinstance(error, NotPublished) else None
        if refused is None:
            log.warning("relay_failed", error=standing.error, connection=words.text, retry_in_s=rest_s)
        else:
            standing.failing = refused.position
            log.error(
                "message_refused",
                position=refused.position,
                partition=refused.partition,
                value_bytes=len(refused.value),
                error=standing.error,
                retry_in_s=rest_s,
            )
        return rest_s


def _rest_s(failures_in_a_row: int) -> float:
    return float(min(REST_MIN_S * 2 ** min(failures_in_a_row - 1, 10), REST_MAX_S))


async def _give_up_late(publisher: Publisher, stop: asyncio.Event) -> None:
    """Let a batch that has been begun be finished when the process is to stop, if that can be."""
    await stop.wait()
    await asyncio.sleep(FINISHES_WITHIN_S)
    publisher.give_up()
