"""The projector as a process: it follows the log until it is asked to stop."""

import asyncio

import psycopg
import pytest
from pydantic import SecretStr
from structlog.testing import capture_logs

from commands.ports import LogReplaced
from infrastructure import topic
from infrastructure.epochs import settle
from infrastructure.settings import Settings, SettingsError
from projections import queue
from projections.projector import Projector
from projections.registry import PROJECTIONS
from tests.aggregates.given import ANN, CODE
from tests.asynchronous import asynchronous, until
from tests.commands.sale import Sale
from tests.commands.steps import inside, on_sale
from tests.projections.read_models import ListFeed, connect
from tests.projections.tables import write_log
from workers import projector
from workers.projector import facts

DEADLINE_S = 30.0

REACHED = "SELECT min(position) FROM ticketing.projection_checkpoints"


def test_what_is_recorded_while_it_runs_is_projected_and_then_it_stops(dsn: str) -> None:
    sale = Sale()
    sale.done(on_sale(), inside(ANN))

    async def run() -> None:
        stop = asyncio.Event()
        running = asyncio.create_task(projector.run(Settings(database_url=SecretStr(dsn)), stop))
        reader = await connect(dsn)
        with psycopg.connect(dsn, autocommit=True) as connection:
            write_log(connection, sale.log.events)
        async with asyncio.timeout(DEADLINE_S):
            while (await queue.find_line(reader, CODE)).position < len(sale.log.events):
                assert not running.done()
            stop.set()
            await running
        await reader.close()

    asyncio.run(run())


@asynchronous
async def test_without_a_broker_it_says_so_in_a_line_of_ours(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("infrastructure.kafka_client.BOOTSTRAP_TIMEOUT_MS", 200)
    settings = Settings(database_url=SecretStr(dsn), kafka=("127.0.0.1:1",))
    topic.register(dsn, settings)
    stop = asyncio.Event()
    with capture_logs() as logs:
        running = asyncio.create_task(projector.run(settings, stop))
        await until(lambda: [entry for entry in logs if entry["event"] == "topic_lost"])
        stop.set()
        await running


def test_it_needs_a_database() -> None:
    with pytest.raises(SettingsError, match="DATABASE_URL"):
        asyncio.run(projector.run(Settings(database_url=None), asyncio.Event()))


def test_it_tells_how_far_the_slowest_read_model_is_and_how_many_are_left_behind() -> None:
    running = Projector("", ListFeed([]), PROJECTIONS)
    for position, standing in enumerate(running.standings.values(), start=1):
        standing.positions = {0: 100 * position}
        standing.lag_s = position / 10
    running.standings["queue"].failures = 7
    running.standings["queue"].failures_in_a_row = 2

    told = facts(running)

    assert (told["position"], told["lag_s"]) == (100, 0.7)
    assert (told["failures"], told["left_behind"], told["store_losses"]) == (7, 1, 0)
    assert told["positions"]["queue"] == 300


@asynchronous
async def test_one_that_follows_a_topic_ends_when_the_log_goes_on_in_another_epoch(
    dsn: str, connection: psycopg.Connection[tuple[object, ...]]
) -> None:
    """It knows nothing of what was lost, and would take it for what follows."""
    settings = Settings(database_url=SecretStr(dsn), kafka=("127.0.0.1:1",))
    topic.register(dsn, settings)
    sale = Sale()
    sale.done(on_sale(), inside(ANN))
    running = asyncio.create_task(projector.run(settings, asyncio.Event()))
    write_log(connection, sale.log.events[:1])
    await until(lambda: connection.execute(REACHED).fetchone() == (1,))
    settle(dsn, restored=True)
    write_log(connection, sale.log.events[1:])
    await asyncio.wait([running], timeout=DEADLINE_S)
    with pytest.raises(ExceptionGroup) as ended:
        running.result()
    assert ended.group_contains(LogReplaced)
