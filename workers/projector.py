"""The projector: follows the log and keeps the read models up to date. Any number of them may run."""

import asyncio

from infrastructure.feed import PostgresFeed
from infrastructure.settings import Settings
from infrastructure.worker_status import Facts, WorkerStatus
from projections.projector import Projector
from projections.registry import PROJECTIONS

ROLE = "projector"


async def run(settings: Settings, stop: asyncio.Event) -> None:
    """Run one projector process until `stop` is set. Raises SettingsError without a database."""
    dsn = settings.required_database_url
    feed = PostgresFeed(dsn)
    projector = Projector(dsn, feed, PROJECTIONS)
    status = WorkerStatus(dsn, ROLE, lambda: facts(projector))
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(status.run(stop))
        await projector.run(stop)
    await feed.close()


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
