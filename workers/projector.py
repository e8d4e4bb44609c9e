"""The projector: follows the log and keeps the read models up to date. Any number of them may run."""

import asyncio
from typing import TYPE_CHECKING

from psycopg import AsyncConnection

from commands.ports import LogReplaced
from infrastructure.collector import IN_BATCHES, collect_rarely
from infrastructure.epochs import Epochs, read_epochs
from infrastructure.feed import PostgresFeed
from infrastructure.kafka_client import client_options
from infrastructure.settings import Settings
from infrastructure.worker_status import Facts, WorkerStatus
from projections.feed import AnotherEpoch
from projections.projector import Projector
from projections.registry import PROJECTIONS

if TYPE_CHECKING:
    from infrastructure.kafka_topic import KafkaTopic

ROLE = "projector"

CONNECT_TIMEOUT_S = 5


async def run(settings: Settings, stop: asyncio.Event) -> None:
    """Run one projector process until `stop` is set. Raises SettingsError and LogReplaced."""
    dsn = settings.required_database_url
    feed = PostgresFeed(dsn)
    topic = None if settings.kafka is None else _topic(settings, feed)
    collect_rarely(IN_BATCHES)
    projector = Projector(dsn, feed, PROJECTIONS, topic=topic)
    status = WorkerStatus(dsn, ROLE, lambda: {**facts(projector), **of_topic(projector, topic)})
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(status.run(stop))
        try:
            await projector.run(stop)
        except AnotherEpoch:
            raise LogReplaced from None
    if topic is not None:
        await topic.close()
    await feed.close()


def _topic(settings: Settings, feed: PostgresFeed) -> "KafkaTopic":
    # Its library takes its time to load, and needs memory, which who has no Kafka is spared.
    from infrastructure.kafka_topic import KafkaTopic  # noqa: PLC0415

    async def epochs() -> Epochs:
        async with await AsyncConnection.connect(
            settings.required_database_url,
            connect_timeout=CONNECT_TIMEOUT_S,
            application_name="ticketing-projector-epochs",
        ) as connection:
            return await read_epochs(connection)

    return KafkaTopic(settings.kafka_topic, client_options(settings), feed, epochs)


def facts(projector: Projector) -> Facts:
    """What it tells about itself, of all projections together and of each."""
    standings = projector.standings
    return {
        "position": min(standing.position for standing in standings.values()),
        "lag_s": max(standing.lag_s for standing in standings.values()),
        "failures": sum(standing.failures for standing in standings.values()),
        "store_losses": projector.store_losses,
        "parked": sum(standing.parked for standing in standings.values()),
        "left_behind": sum(standing.failures_in_a_row > 0 for standing in standings.values()),
        "positions": {name: standing.position for name, standing in standings.items()},
    }


def of_topic(projector: Projector, topic: "KafkaTopic | None") -> Facts:
    """What it tells about the topic, if it follows one."""
    if topic is None:
        return {}
    return {
        "partitions": topic.partitions,
        "reads": "log" if projector.reads_the_log else "topic",
        "topic_failures": topic.failures,
    }
