"""The projector: each event once, whoever else projects, whatever is killed, whatever fails."""

import asyncio
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import product
from typing import Any, LiteralString
from uuid import UUID, uuid5

import msgspec
import psycopg
import pytest

from aggregates.event import RecordedEvent
from aggregates.ids import UserId
from aggregates.queue import NumbersIssued, QueueAdvanced
from aggregates.token import TokenIssued
from projections import checkpoints, queue
from projections.projection import Projection, Write
from projections.projector import Projector
from projections.registry import PROJECTIONS
from tests.aggregates.given import CODE
from tests.cli.running_service import wait_until
from tests.commands.sale import Sale
from tests.commands.steps import PRICE, let_in, on_sale, pay, reserve, waiting
from tests.projections import tables
from tests.projections.read_models import ListFeed, connect, project, projecting

DEADLINE_S = 30.0
POLL_S = 0.001

PEOPLE = [UserId(uuid5(UUID(int=0), f"buyer {number}")) for number in range(1, 41)]

END_PROJECTORS: LiteralString = """
    SELECT pg_terminate_backend(pid)
    FROM pg_stat_activity
    WHERE application_name = 'ticketing-projector' AND datname = current_database()
"""

HAS_HELD: LiteralString = """
    SELECT xact_start < clock_timestamp() - make_interval(secs => %s::float8)
    FROM pg_stat_activity
    WHERE pid = %s
"""


@cache
def sold_out() -> Sequence[RecordedEvent]:
    """The log of a sale in which forty people buy a seat each."""
    sale = Sale()
    sale.done(on_sale(seats=len(PEOPLE)), *[waiting(buyer, balance=PRICE) for buyer in PEOPLE])
    for number, buyer in enumerate(PEOPLE, start=1):
        sale.done(let_in((number, buyer)), reserve(buyer, number), pay(buyer))
    return sale.log.events


@pytest.fixture
def expected(dsn: str, connection: psycopg.Connection[Any]) -> Any:
    """What one undisturbed projector makes of it."""
    project(dsn, sold_out())
    rows = tables.projected(connection)
    tables.empty(connection)
    return rows


async def run_until(projectors: Sequence[Projector], names: Iterable[str], position: int) -> None:
    """Run them until these projections have come so far."""
    stop = asyncio.Event()
    async with asyncio.timeout(DEADLINE_S), asyncio.TaskGroup() as running:
        for projector in projectors:
            running.create_task(projector.run(stop))
        for projector, name in product(projectors, names):
            while projector.standings[name].position < position:
                await asyncio.sleep(POLL_S)
                assert projector.store_losses < 10
        stop.set()


NAMES = [projection.name for projection in PROJECTIONS]


def test_two_racing_projectors_apply_each_event_once(
    dsn: str, connection: psycopg.Connection[Any], expected: Any
) -> None:
    feed = ListFeed(sold_out())
    racing = [Projector(dsn, feed, PROJECTIONS, batch_events_max=size) for size in (7, 11)]

    asyncio.run(run_until(racing, NAMES, len(sold_out())))

    assert tables.projected(connection) == expected
    for name in NAMES:
        assert sum(projector.standings[name].events for projector in racing) == len(sold_out())
        assert [projector.standings[name].failures for projector in racing] == [0, 0]


def test_a_projector_whose_session_is_ended_again_and_again_goes_on(
    dsn: str, connection: psycopg.Connection[Any], expected: Any
) -> None:
    projector = Projector(dsn, ListFeed(sold_out()), PROJECTIONS, batch_events_max=50)

    async def end_its_session_now_and_then() -> None:
        while projector.store_losses < 3:
            await asyncio.to_thread(connection.execute, END_PROJECTORS)

    async def run() -> None:
        await asyncio.gather(run_until([projector], NAMES, len(sold_out())), end_its_session_now_and_then())

    asyncio.run(run())

    assert tables.projected(connection) == expected


class _Nothing(msgspec.Struct):
    pass


class _Batch:
    """Writes nothing, but with a statement that the test chooses."""

    statement: LiteralString = "SELECT json_typeof(%s)"

    def writes(self) -> Iterable[Write]:
        return [Write(self.statement, [_Nothing()])]

    def issued(self, _event: TokenIssued, recorded: RecordedEvent) -> None:
        """Pass over it."""


def odd_projection(statement: LiteralString) -> Projection[Any]:
    """A projection that executes this with every batch."""

    class Batch(_Batch):
        pass

    Batch.statement = statement
    return Projection("odd", 1, "", Batch, {TokenIssued: Batch.issued})


def test_a_batch_that_is_cut_off_in_the_middle_leaves_nothing(
    dsn: str, connection: psycopg.Connection[Any]
) -> None:
    cut_off = odd_projection("SELECT pg_terminate_backend(pg_backend_pid()) WHERE json_typeof(%s) = 'array'")
    before = tables.projected(connection)

    async def run() -> None:
        async with projecting(Projector(dsn, ListFeed(sold_out()), [*PROJECTIONS, cut_off])) as projector:
            with pytest.raises(psycopg.OperationalError):
                await projector.advance()

    asyncio.run(run())

    connection.execute("DELETE FROM ticketing.projection_checkpoints WHERE projection = 'odd'")
    assert tables.projected(connection) == before


FAILURES: Sequence[LiteralString] = (
    "SELECT * FROM nowhere, (SELECT %s::json) AS rows",
    "this is not SQL %s",
    "SELECT %s, %s",
)


@pytest.mark.parametrize("failing", FAILURES)
def test_a_projection_with_a_broken_statement_is_left_behind_and_the_others_go_on(
    dsn: str, connection: psycopg.Connection[Any], expected: Any, failing: LiteralString
) -> None:
    broken = odd_projection(failing)
    projector = Projector(dsn, ListFeed(sold_out()), [broken, *PROJECTIONS], batch_events_max=100)

    asyncio.run(run_until([projector], NAMES, len(sold_out())))

    assert projector.standings["odd"].position == 0
    assert projector.standings["odd"].failures > 0
    assert projector.standings["odd"].waiting_since == sold_out()[0].recorded_at
    assert {projector.standings[name].failures for name in NAMES} == {0}
    connection.execute("DELETE FROM ticketing.projection_checkpoints WHERE projection = 'odd'")
    assert tables.projected(connection) == expected


def test_a_projection_that_was_mended_catches_up(dsn: str) -> None:
    mended = odd_projection("this is not SQL %s")

    async def run() -> Projector:
        projector = Projector(dsn, ListFeed(sold_out()), [mended, *PROJECTIONS], batch_events_max=100)
        await projector.advance()
        mended.batch.statement = "SELECT json_typeof(%s)"  # type: ignore[attr-defined]
        await run_until([projector], ["odd", *NAMES], len(sold_out()))
        return projector

    standing = asyncio.run(run()).standings["odd"]

    assert (standing.failures, standing.failures_in_a_row) == (1, 0)


def test_a_feed_that_cannot_be_read_leaves_the_read_models_as_they_are(dsn: str) -> None:
    class UnreadableFeed(ListFeed):
        async def read(self, after: int, limit: int) -> Sequence[RecordedEvent]:
            events = await super().read(after, limit)
            raise msgspec.DecodeError(f"{events[0].position} is not an event")

    async def run() -> Projector:
        async with projecting(Projector(dsn, UnreadableFeed(sold_out()), PROJECTIONS)) as projector:
            assert await projector.advance() == 0
            return projector

    standings = asyncio.run(run()).standings

    assert {(standing.position, standing.failures) for standing in standings.values()} == {(0, 1)}


def test_a_holder_of_the_checkpoints_that_has_gone_silent_is_ended(
    dsn: str, connection: psycopg.Connection[Any], expected: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints, "HELD_S_MAX", 0.1)
    monkeypatch.setattr(checkpoints, "LOCK_LOOK_S", 0.05)
    monkeypatch.setattr(checkpoints, "SILENT_S", 0.1)
    with psycopg.connect(dsn) as silent:
        silent.execute("SELECT * FROM ticketing.projection_checkpoints FOR UPDATE")

        project(dsn, sold_out())

        with pytest.raises(psycopg.OperationalError):
            silent.execute("SELECT 1")
    assert tables.projected(connection) == expected


def test_who_comes_later_does_not_wait_as_long_again(dsn: str, connection: psycopg.Connection[Any]) -> None:
    """Over a topic nobody wants the checkpoints of a stopped projector before its partitions stand still."""

    async def lock() -> None:
        async with await psycopg.AsyncConnection.connect(dsn) as later, later.pipeline():
            await checkpoints.lock(later, PROJECTIONS, dsn)

    with psycopg.connect(dsn) as silent:
        silent.execute("SELECT * FROM ticketing.projection_checkpoints FOR UPDATE")
        held = [checkpoints.HELD_S_MAX, silent.info.backend_pid]
        wait_until(lambda: connection.execute(HAS_HELD, held).fetchone() == (True,), "held for long")
        asyncio.run(asyncio.wait_for(lock(), checkpoints.HELD_S_MAX - 0.2))
        silent.close()


def test_a_holder_of_the_checkpoints_that_is_slow_but_at_work_is_not_ended(
    dsn: str, connection: psycopg.Connection[Any], expected: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints, "HELD_S_MAX", 0.1)
    monkeypatch.setattr(checkpoints, "LOCK_LOOK_S", 0.05)
    monkeypatch.setattr(checkpoints, "SILENT_S", DEADLINE_S)
    with psycopg.connect(dsn) as slow, ThreadPoolExecutor() as others:
        slow.execute("SELECT * FROM ticketing.projection_checkpoints FOR UPDATE")
        waiting = others.submit(project, dsn, sold_out())
        at_work_until = time.monotonic() + 1.0
        while time.monotonic() < at_work_until:
            slow.execute("SELECT 1")
        slow.commit()
        waiting.result(DEADLINE_S)
    assert tables.projected(connection) == expected


def test_a_projector_begins_where_the_checkpoints_are(dsn: str) -> None:
    project(dsn, sold_out()[:100])

    async def run() -> Projector:
        async with projecting(Projector(dsn, ListFeed(sold_out()), PROJECTIONS)) as projector:
            await projector.advance()
            return projector

    standings = asyncio.run(run()).standings

    assert {standing.events for standing in standings.values()} == {len(sold_out()) - 100}


def test_reads_never_run_backwards_and_show_what_the_log_says_at_their_position(dsn: str) -> None:
    issued = {
        event.position: event.event.last for event in sold_out() if isinstance(event.event, NumbersIssued)
    }
    passed = {
        event.position: event.event.head for event in sold_out() if isinstance(event.event, QueueAdvanced)
    }
    positions: list[int] = []

    def at(position: int, values: dict[int, int]) -> int:
        return max((value for place, value in values.items() if place <= position), default=0)

    async def read_all_the_time() -> None:
        connection = await connect(dsn)
        while not positions or positions[-1] < len(sold_out()):
            found = await queue.find_line(connection, CODE)
            positions.append(found.position)
            if found.value is not None:
                shown = (found.value.issued, found.value.head)
                assert shown == (at(found.position, issued), at(found.position, passed))
        await connection.close()

    async def run() -> None:
        racing = [Projector(dsn, ListFeed(sold_out()), PROJECTIONS, batch_events_max=5) for _ in range(2)]
        async with asyncio.timeout(DEADLINE_S):
            await asyncio.gather(run_until(racing, NAMES, len(sold_out())), read_all_the_time())

    asyncio.run(run())

    assert positions == sorted(positions)
    assert len(set(positions)) > 5
