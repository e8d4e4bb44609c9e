"""A projector that follows a topic loses the store, and finds it again."""

import asyncio
from collections.abc import Sequence
from typing import Any, LiteralString

import psycopg
import pytest

from infrastructure.feed import PostgresFeed
from projections.feed import Reading
from projections.partitions import Positions
from projections.projector import Projector
from projections.registry import PROJECTIONS
from tests.projections.partitioned import register
from tests.projections.read_models import projecting

END_PROJECTORS: LiteralString = """
    SELECT pg_terminate_backend(pid)
    FROM pg_stat_activity
    WHERE application_name IN ('ticketing-projector', 'ticketing-feed') AND datname = current_database()
"""


class MissingTopic:
    """A topic that is out of reach. See `projections.feed.Topic`."""

    partitions: Sequence[int] = ()

    async def read(self, after: Positions, limit: int) -> Reading | None:  # noqa: ARG002 (as a topic has it)
        """Have everything read from the log."""
        return None


def test_a_store_that_was_lost_and_is_back_is_not_taken_for_lost_once_more(
    dsn: str, connection: psycopg.Connection[Any]
) -> None:
    """Projector and feed have a connection each; the longest rest would follow when the outage is over."""
    register(connection, 5)

    async def run() -> None:
        feed = PostgresFeed(dsn)
        async with projecting(Projector(dsn, feed, PROJECTIONS, topic=MissingTopic())) as projector:
            await projector.advance()
            connection.execute(END_PROJECTORS)
            with pytest.raises(psycopg.OperationalError):
                await projector.advance()
            await projector.close()
            await projector.advance()
        await feed.close()

    asyncio.run(run())
