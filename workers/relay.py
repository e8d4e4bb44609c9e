"""The relay process: publishes the log to the topic. One leads; any number of others stand by."""

import asyncio

from infrastructure.collector import IN_BATCHES, collect_rarely
from infrastructure.leader import Leader
from infrastructure.relay import Relay
from infrastructure.settings import Settings
from infrastructure.worker_status import Facts, WorkerStatus

ROLE = "relay"


async def run(settings: Settings, stop: asyncio.Event) -> None:
    """Run one relay process until `stop` is set. Raises SettingsError without a database or without Kafka."""
    collect_rarely(IN_BATCHES)
    dsn = settings.required_database_url
    leader = Leader(dsn, ROLE)
    relay = Relay(dsn, settings, lambda: leader.leads)
    status = WorkerStatus(dsn, ROLE, lambda: facts(leader, relay))
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(status.run(stop))
        await leader.lead(lambda: relay.run(stop), stop)


def facts(leader: Leader, relay: Relay) -> Facts:
    """What it tells about itself."""
    standing = relay.standing
    return {
        "leads": leader.leads,
        "position": standing.position,
        "published": standing.published,
        "failures": standing.failures,
        "lag_s": standing.lag_s,
        "failing": standing.failing,
        "error": standing.error,
    }
