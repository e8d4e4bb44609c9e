"""What can be done to the topic, to the broker that has it, and to the relays that fill it.

Nobody is hit by any of it: commands need no Kafka, and read models fall back on the log.
"""

import asyncio
import random
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Final

from tests.faults.kind import (
    BRIEFLY,
    EVERYBODY,
    LONG_ENOUGH_TO_BE_MISSED,
    NOBODY,
    Kind,
    Struck,
    leader,
    stop_leader,
)
from tests.faults.product import Product
from tests.kafka.broker import Broker
from workers.relay import ROLE as RELAY

AWAY_S: Final = (12.0, 20.0)
"""Longer than anybody waits for an answer from it."""

PROJECTORS: Final = ("project-1", "project-2")

UNDER_WAY_AFTER_S: Final = 0.3
"""Events come all the time: by then there are some that have come no further."""


@asynccontextmanager
async def kill_relay(product: Product, _: random.Random) -> AsyncIterator[Struck]:
    """Kill the relay that leads."""
    name = await leader(product, RELAY)
    product.signal(name, signal.SIGKILL)
    yield Struck(name, NOBODY)


@asynccontextmanager
async def kill_relay_while_publishing(product: Product, _: random.Random) -> AsyncIterator[Struck]:
    """Kill the relay that leads between messages that it has sent and the word that they have arrived."""
    name = await leader(product, RELAY)
    async with _suspended(_broker(product)):
        await asyncio.sleep(UNDER_WAY_AFTER_S)
        product.signal(name, signal.SIGKILL)
    yield Struck(name, NOBODY)


@asynccontextmanager
async def kill_postgres_while_publishing(product: Product, _: random.Random) -> AsyncIterator[Struck]:
    """Kill the server between messages and the note that they are on the topic."""
    async with _suspended(_broker(product)):
        await asyncio.sleep(UNDER_WAY_AFTER_S)
        product.signal("postgres", signal.SIGKILL)
    yield Struck("", EVERYBODY)


@asynccontextmanager
async def end_broker(product: Product, _: random.Random) -> AsyncIterator[Struck]:
    """Kill the broker, and start it again with what it had written."""
    broker = _broker(product)
    broker.kill()
    try:
        yield Struck("", NOBODY)
    finally:
        await asyncio.to_thread(broker.start)


@asynccontextmanager
async def suspend_broker(product: Product, _: random.Random) -> AsyncIterator[Struck]:
    """Stop the broker wherever it is: its connections stay, and nobody answers."""
    async with _suspended(_broker(product)):
        yield Struck("", NOBODY)


@asynccontextmanager
async def delete_topic(product: Product, _: random.Random) -> AsyncIterator[Struck]:
    """Delete the topic with messages that nobody has read; the relay makes it anew, without any."""
    for projector in PROJECTORS:
        product.signal(projector, signal.SIGSTOP)
    try:
        await asyncio.sleep(UNDER_WAY_AFTER_S)
        await product.delete_topic()
    finally:
        for projector in PROJECTORS:
            product.signal(projector, signal.SIGCONT)
    yield Struck("", NOBODY)
    await product.expect_topic_from_here()


@asynccontextmanager
async def _suspended(broker: Broker) -> AsyncIterator[None]:
    broker.suspend()
    try:
        yield
    finally:
        broker.resume()


def _broker(product: Product) -> Broker:
    assert product.broker is not None
    return product.broker


def _has_broker(product: Product) -> bool:
    return product.broker is not None


KINDS_OF_KAFKA: Final[Mapping[str, Kind]] = {
    "relay killed": Kind(kill_relay, possible=_has_broker, is_death=True),
    "relay killed while publishing": Kind(kill_relay_while_publishing, possible=_has_broker),
    "relay stopped while it leads": Kind(partial(stop_leader, RELAY), LONG_ENOUGH_TO_BE_MISSED, _has_broker),
    "PostgreSQL killed while publishing": Kind(kill_postgres_while_publishing, possible=_has_broker),
    "broker killed": Kind(end_broker, possible=_has_broker, is_death=True),
    "broker away": Kind(end_broker, AWAY_S, _has_broker),
    "broker stopped": Kind(suspend_broker, LONG_ENOUGH_TO_BE_MISSED, _has_broker),
    "topic deleted": Kind(delete_topic, BRIEFLY, _has_broker),
}
