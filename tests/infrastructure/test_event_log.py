"""The event logs: both pass the contract; and what PostgreSQL's has besides."""

import asyncio
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import msgspec
import psycopg
import pytest
from structlog.testing import capture_logs

from aggregates.ids import TokenId, UserId
from commands.charge_wallet import ChargeWallet, WalletChargedResult
from commands.errors import HistoryUnreadable
from commands.open_wallet import OpenWallet, WalletOpen
from commands.ports import BrokenHistory, EventLog, Hearing, Wanted, Writes, nothing_known
from infrastructure.event_log import (
    APPENDED_SINCE,
    CLOCK,
    FIND_EVENTS,
    INDEXED,
    LAST_POSITION,
    NEWER_EVENTS,
    TAKE_SNAPSHOTS,
    PostgresEventLog,
)
from infrastructure.in_memory_log import InMemoryEventLog
from tests.aggregates.given import ANN, BEN, at
from tests.asynchronous import asynchronous
from tests.commands.steps import registered
from tests.infrastructure.damage import NO_END, NO_TEXT, NO_TIME_ZONE
from tests.infrastructure.event_log_contract import (
    OTHER_WALLET,
    WALLET,
    EventLogContract,
    charged,
    opened,
    read,
    record,
    soon,
    unread,
)
from tests.infrastructure.running_bus import RunningBus, insert_with, somebody_waits

BEAT = """
    INSERT INTO ticketing.hearing (process_id, since, beat_at) VALUES (%s, %s, clock_timestamp())
"""

HEARD = """
    INSERT INTO ticketing.heard (token_id, last_heard_at) VALUES (%s, %s)
"""


class TestInMemoryEventLog(EventLogContract):
    @pytest.fixture
    def event_log(self) -> InMemoryEventLog:
        return InMemoryEventLog(at("12:00"))

    def another(self, event_log: EventLog) -> EventLog:
        return event_log

    async def names(self, event_log: EventLog) -> Mapping[UserId, str | None]:
        assert isinstance(event_log, InMemoryEventLog)
        return event_log.names

    async def listen(self, event_log: EventLog, since: datetime, last: Mapping[TokenId, datetime]) -> None:
        assert isinstance(event_log, InMemoryEventLog)
        event_log.hearing = Hearing(since, last)


class TestPostgresEventLog(EventLogContract):
    @pytest.fixture(autouse=True)
    def _database(self, dsn: str) -> Iterator[None]:
        self.dsn = dsn
        self.logs = [PostgresEventLog(dsn)]
        yield
        for event_log in self.logs:
            event_log.lose()

    @pytest.fixture
    def event_log(self) -> PostgresEventLog:
        return self.logs[0]

    def another(self, event_log: EventLog) -> EventLog:  # noqa: ARG002 (the contract's)
        self.logs.append(PostgresEventLog(self.dsn))
        return self.logs[-1]

    async def names(self, event_log: EventLog) -> Mapping[UserId, str | None]:  # noqa: ARG002 (likewise)
        with psycopg.connect(self.dsn) as connection:
            return dict(connection.execute("SELECT user_id, name FROM ticketing.users").fetchall())

    async def listen(
        self,
        event_log: EventLog,  # noqa: ARG002 (likewise)
        since: datetime,
        last: Mapping[TokenId, datetime],
    ) -> None:
        with psycopg.connect(self.dsn) as connection:
            connection.execute(BEAT, [uuid4(), since])
            for token_id, heard_at in last.items():
                connection.execute(HEARD, [token_id, heard_at])


@asynchronous
async def test_recorded_times_are_utc_whatever_the_server_s_time_zone(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGTZ", "Asia/Seoul")
    event_log = PostgresEventLog(dsn)
    append = await event_log.begin(Wanted([]), soon())
    assert append.reading.now.utcoffset() == timedelta()
    await append.commit(Writes(append.reading.now, [opened()]))
    event_log.lose()
    with psycopg.connect(dsn) as connection:
        (state,) = connection.execute("SELECT state FROM ticketing.ticketing_events").fetchone() or (b"",)
    assert msgspec.json.decode(state)["recorded_at"].endswith("Z")


@asynchronous
async def test_too_much_that_was_appended_is_not_told(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("infrastructure.event_log.NEWER_MAX", 2)
    event_log = PostgresEventLog(dsn)
    (until,) = await record(event_log, opened())
    for version, told in ((2, 1), (3, 2), (4, None)):
        await record(event_log, charged(version, 5))
        append = await event_log.begin(Wanted([], appended_since=until), soon())
        await append.give_up()
        appended = append.reading.appended
        assert (appended if appended is None else len(appended)) == told
    event_log.lose()


@asynchronous
async def test_who_writes_past_the_lock_meanwhile_hides_nothing_that_others_appended(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between two looks at the log it grows beyond what is told: the first look alone would not say so."""
    monkeypatch.setattr("infrastructure.event_log.NEWER_MAX", 2)
    event_log = PostgresEventLog(dsn)
    (until,) = await record(event_log, opened())
    await record(event_log, charged(2, 5))
    wanted = Wanted([nothing_known(OTHER_WALLET)], appended_since=until)
    with psycopg.connect(dsn) as connection:
        connection.execute("LOCK TABLE ticketing.snapshots IN ACCESS EXCLUSIVE MODE")
        beginning = asyncio.create_task(event_log.begin(wanted, soon()))
        while not somebody_waits(dsn, "relation"):  # noqa: ASYNC110 (a database tells nobody who waits)
            await asyncio.sleep(0.01)
        for event in (charged(3, 5), charged(4, 5)):
            insert_with(connection, event, Writes(at("12:00"), [event]))
    append = await beginning
    await append.give_up()
    assert append.reading.appended is None
    event_log.lose()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("UPDATE ticketing.ticketing_events SET topic = 'long.ago' WHERE notification_id = %s", 2),
        ("UPDATE ticketing.ticketing_events SET state = '' WHERE notification_id = %s", 0),
        (NO_TEXT, 0),
        (NO_END, 0),
        (NO_TIME_ZONE, 0),
    ],
)
@asynchronous
async def test_an_unreadable_event_of_others_hides_nothing(dsn: str, change: str, told: int) -> None:
    """Where it does not say whose it is, nothing is told; else it is told, and whoever wants it learns."""
    event_log = PostgresEventLog(dsn)
    (until,) = await record(event_log, opened())
    (_, position) = await record(event_log, charged(2, 5), opened(OTHER_WALLET))
    with psycopg.connect(dsn) as connection:
        connection.execute(change.encode(), [position])
    event_log.lose()
    event_log = PostgresEventLog(dsn)
    append = await event_log.begin(Wanted([], appended_since=until), soon())
    await append.give_up()
    appended = append.reading.appended or ()
    assert [one.stream for one in appended] == [WALLET.name, OTHER_WALLET.name][:told]
    assert (append.reading.appended is None) == (told == 0)
    for unreadable in appended[1:]:
        with pytest.raises(BrokenHistory):
            unreadable.read()
    event_log.lose()


@asynchronous
async def test_no_statement_reads_the_whole_log_also_where_it_was_never_analysed(dsn: str) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute(
            """
            INSERT INTO ticketing.ticketing_events (originator_id, originator_version, topic, state)
            SELECT gen_random_uuid(), 1, 'wallet.opened', '{}' FROM generate_series(1, 2000)
            """
        )
    ids, versions = [uuid4() for _ in range(200)], [0] * 200
    with psycopg.connect(dsn, options=INDEXED, cursor_factory=psycopg.RawCursor) as connection:
        for statement, parameters in (
            (NEWER_EVENTS, [ids, versions, ["shape"]]),
            (FIND_EVENTS, [ids, versions]),
            (TAKE_SNAPSHOTS, [ids, versions, ["shape"] * 200, [b"{}"] * 200]),
            (APPENDED_SINCE, [1_000, 3_000]),
            (CLOCK, [1]),
            (LAST_POSITION, []),
        ):
            rows = connection.execute(("EXPLAIN " + statement).encode(), parameters, binary=True).fetchall()
            plan = "\n".join(line for (line,) in rows)
            assert "Index" in plan, plan
            assert "Seq Scan on ticketing_events" not in plan, plan


@asynchronous
async def test_what_comes_back_after_a_wait_that_was_cut_short_belongs_to_nobody(dsn: str) -> None:
    """The connection is given up, and what it held with it."""
    event_log, another = PostgresEventLog(dsn), PostgresEventLog(dsn)
    holding = await another.begin(Wanted([]), soon())
    waiting = asyncio.create_task(event_log.begin(unread(WALLET), soon()))
    await asyncio.wait([waiting], timeout=0.1)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await holding.commit(Writes(holding.reading.now, [opened()]))
    assert (await read(event_log, WALLET)).known[WALLET.name].version == 1
    event_log.lose()
    another.lose()


DELETE_FROM_SNAPSHOT_ON = """
    DELETE FROM ticketing.ticketing_events
    WHERE originator_version {} (SELECT version FROM ticketing.snapshots)
"""


class TestLongStreams:
    """A stream of more than 500 events is loaded from its snapshot, where that can be trusted."""

    @pytest.fixture(autouse=True)
    def _database(self, dsn: str) -> Iterator[None]:
        self.dsn = dsn
        asyncio.run(self._fill())
        with capture_logs():
            yield

    async def _fill(self) -> None:
        async with RunningBus(self.dsn) as service:
            await service.done(registered(ANN))
            await service.ask(*[ChargeWallet(ANN, 5)] * 500)
            await service.done([ChargeWallet(ANN, 5)] * 2)

    def _change(self, change: str) -> None:
        with psycopg.connect(self.dsn) as connection:
            connection.execute(change.encode())

    async def _charge(self) -> Any:
        async with RunningBus(self.dsn) as service:
            return (await service.execute(ChargeWallet(ANN, 5))).outcome

    @asynchronous
    async def test_it_is_loaded_from_there_and_not_from_its_beginning(self) -> None:
        self._change(
            "UPDATE ticketing.ticketing_events SET state = 'unreadable' WHERE originator_version < 500"
        )
        assert (await self._charge()).balance == 2_515

    @asynchronous
    async def test_a_snapshot_of_another_shape_is_passed_over(self) -> None:
        self._change("UPDATE ticketing.snapshots SET shape = 'wallet:of long ago', state = 'unreadable'")
        assert (await self._charge()).balance == 2_515

    @asynchronous
    async def test_without_a_snapshot_it_is_loaded_from_its_beginning(self) -> None:
        self._change("DELETE FROM ticketing.snapshots")
        assert (await self._charge()).balance == 2_515

    @pytest.mark.parametrize(
        "change",
        [
            DELETE_FROM_SNAPSHOT_ON.format(">="),
            DELETE_FROM_SNAPSHOT_ON.format("="),
            DELETE_FROM_SNAPSHOT_ON.format("= 1 +"),
            "UPDATE ticketing.snapshots SET position = position + 1",
            "UPDATE ticketing.snapshots SET version = version + 1",
            'UPDATE ticketing.snapshots SET state = \'{"balance": "much"}\'',
            """UPDATE ticketing.snapshots SET state = convert_to('{"x": ' || repeat('[', 100000), 'UTF8')""",
        ],
    )
    @asynchronous
    async def test_nothing_is_decided_on_a_history_that_contradicts_itself(self, change: str) -> None:
        self._change(change)
        async with RunningBus(self.dsn) as service:
            answers = await service.ask(OpenWallet(BEN, None), ChargeWallet(ANN, 5), ChargeWallet(BEN, 5))
        assert [type(answer.outcome) for answer in answers][::2] == [WalletOpen, WalletChargedResult]
        assert isinstance(answers[1].outcome, HistoryUnreadable)


@asynchronous
async def test_a_stream_with_a_gap_is_refused_wherever_it_is(dsn: str) -> None:
    async with RunningBus(dsn) as service:
        await service.done(registered(ANN), [ChargeWallet(ANN, 5)] * 3)
        with psycopg.connect(dsn) as connection:
            connection.execute("DELETE FROM ticketing.ticketing_events WHERE originator_version = 3")
        assert (await service.execute(ChargeWallet(ANN, 5))).outcome.balance == 20, "it knew the events"
    async with RunningBus(dsn) as service:
        assert isinstance((await service.execute(ChargeWallet(ANN, 5))).outcome, HistoryUnreadable)
