"""What of the log is not on the topic yet, where the log goes on in another epoch."""

import psycopg
import pytest

from commands.ports import LogReplaced
from infrastructure import topic
from infrastructure.epochs import settle
from infrastructure.settings import Settings
from infrastructure.unpublished import Unpublished
from tests.aggregates.given import ANN, BEN
from tests.asynchronous import asynchronous
from tests.commands.sale import Sale
from tests.commands.steps import registered
from tests.projections.tables import write_log


@asynchronous
async def test_nothing_is_published_in_another_epoch_than_it_was_recorded_in(
    dsn: str, connection: psycopg.Connection[tuple[object, ...]]
) -> None:
    """A message is the same whenever it is published: whoever has seen it knows it again by its id."""
    settings = Settings(kafka_topic="ticketing.test", kafka_partitions=2)
    topic.register(dsn, settings)
    sale = Sale()
    sale.done(registered(ANN), registered(BEN))
    unpublished = await Unpublished.open(dsn, settings)
    try:
        settle(dsn, restored=True)
        write_log(connection, sale.log.events)
        with pytest.raises(LogReplaced):
            await unpublished.read(10)
    finally:
        await unpublished.close()
