"""The command bus on a real log: batches, order, limits, and whatever goes wrong between two round trips."""

import asyncio
import os
import signal
import time
from collections.abc import Iterator, Sequence
from itertools import count
from typing import Any

import msgspec
import psycopg
import pytest
from structlog.testing import capture_logs
from structlog.typing import EventDict

from aggregates import wallet
from aggregates.errors import DomainError, UserNotFound
from aggregates.ids import UserId
from aggregates.wallet import WalletCharged
from commands import bus as command_bus
from commands.charge_wallet import ChargeWallet
from commands.command import Command, Handler
from commands.erase_profile import EraseProfile
from commands.errors import Overloaded, StoreUnavailable, TryAgain
from commands.open_wallet import OpenWallet
from commands.ports import LogReplaced, Writes
from commands.reserve import Reserve
from commands.run_sale import CloseSales
from commands.table import HANDLERS
from infrastructure.embedded_postgres import EmbeddedPostgres
from infrastructure.event_log import APPEND_LOCK
from infrastructure.schema import migrate
from tests.aggregates.given import ANN, BEN, CODE, at
from tests.asynchronous import asynchronous, until
from tests.commands.sale import keyed, reply_to
from tests.commands.steps import (
    PRICE,
    announce,
    inside,
    pay,
    registered,
    reserve,
)
from tests.infrastructure.event_log_contract import charged
from tests.infrastructure.proxy import Fault, Proxy
from tests.infrastructure.read_only import nobody_writes
from tests.infrastructure.running_bus import (
    Executioner,
    Held,
    Meddler,
    Rival,
    RunningBus,
    insert,
    insert_with,
    log_of,
    somebody_waits,
    state_of,
)
from tests.live_sale import SHOW_DAY, on_sale

CHARGE = ChargeWallet(ANN, 5)


@pytest.fixture(autouse=True)
def logs() -> Iterator[Sequence[EventDict]]:
    """What is logged, which is not printed then."""
    with capture_logs() as logs:
        yield logs


def take(user_id: UserId, *seat_numbers: int) -> Reserve:
    return reserve(user_id, *seat_numbers, day=SHOW_DAY)


def balance_of(dsn: str, user_id: UserId = ANN) -> int:
    balance: int = state_of(dsn, wallet.stream(user_id)).balance
    return balance


@asynchronous
async def test_many_commands_share_few_appends_and_keep_their_order(dsn: str) -> None:
    async with RunningBus(dsn) as service:
        await service.done(registered(ANN))
        service.appends.clear()
        answers = await service.ask(*[CHARGE] * 600)
        assert [answer.outcome.balance for answer in answers] == list(range(5, 3_005, 5))
        positions = [answer.position for answer in answers]
        assert positions == sorted(positions)
        assert sum(events for _, events in service.appends) == 600
        assert len(service.appends) <= 4


@asynchronous
async def test_an_idle_bus_answers_at_once_and_one_by_one(dsn: str) -> None:
    async with RunningBus(dsn) as service:
        await service.done(registered(ANN))
        await service.done([CHARGE] * 3)
        assert [events for _, events in service.appends] == [1, 1, 1, 1]


@asynchronous
async def test_the_events_of_an_append_share_their_time_and_no_two_appends_do(dsn: str) -> None:
    async with RunningBus(dsn) as service:
        await service.done(on_sale(), inside(ANN, balance=PRICE), take(ANN, 7), pay(ANN))
        times = [event.recorded_at for event in log_of(dsn)]
        assert times == sorted(times)
        assert len(set(times)) == len(service.appends)


@asynchronous
async def test_a_command_whose_streams_are_remembered_is_read_in_one_round_trip(dsn: str) -> None:
    log = Meddler(dsn)
    async with RunningBus(log) as service:
        await service.done(on_sale(), inside(ANN, balance=2 * PRICE), inside(BEN, 2))
        log.reads = 0
        await service.done(take(ANN, 7, 8), pay(ANN), take(BEN, 9), CHARGE)
        assert log.reads == 4


@asynchronous
async def test_what_a_batch_did_to_streams_in_turns_is_not_taken_for_somebody_else_s(dsn: str) -> None:
    log = Meddler(dsn)
    async with RunningBus(log) as service:
        await service.done(registered(ANN), registered(BEN))
        log.reads = 0
        await service.ask(ChargeWallet(ANN, 1), ChargeWallet(BEN, 2), ChargeWallet(ANN, 3))
        await service.ask(ChargeWallet(ANN, 4), ChargeWallet(BEN, 5))
    assert (service.conflicts, log.reads) == (0, 2)


@asynchronous
async def test_a_bus_that_remembers_nothing_finds_its_streams_in_three_reads(dsn: str) -> None:
    async with RunningBus(dsn) as service:
        await service.done(on_sale(), inside(ANN, balance=2 * PRICE), take(ANN, 7, 8))
    log = Meddler(dsn)
    async with RunningBus(log) as service:
        await service.done(pay(ANN))
        assert log.reads <= 3


@asynchronous
async def test_q1_what_a_batch_did_not_get_to_keeps_its_place_before_later_arrivals(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command_bus, "BATCH_COMMANDS_MAX", 3)
    async with RunningBus(dsn) as service:
        await service.done(on_sale(), registered(ANN))
        answers = await service.ask(CHARGE, CloseSales(CODE), *[CHARGE] * 5)
        assert [answer.outcome.balance for answer in answers if answer.outcome] == [5, 10, 15, 20, 25, 30]


@asynchronous
async def test_when_too_many_wait_the_next_is_told_at_once(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command_bus, "WAITING_MAX", 3)
    async with RunningBus(dsn) as service:
        await service.done(registered(ANN))
        async with Held(dsn):
            in_flight = asyncio.create_task(service.execute(CHARGE))
            await until(lambda: somebody_waits(dsn))
            waiting = [asyncio.create_task(service.execute(CHARGE)) for _ in range(3)]
            await asyncio.sleep(0)
            refused = await service.execute(CHARGE)
            assert isinstance(refused.outcome, Overloaded)
        await asyncio.gather(in_flight, *waiting)
    assert balance_of(dsn) == 20


@asynchronous
async def test_on_shutdown_everyone_who_waits_is_answered_and_nobody_else(dsn: str) -> None:
    async with RunningBus(dsn) as service:
        await service.done(registered(ANN))
        waiting = [asyncio.create_task(service.execute(CHARGE)) for _ in range(600)]
        await asyncio.sleep(0)
        service.bus.close()
        assert isinstance((await service.execute(CHARGE)).outcome, Overloaded)
        answers = await asyncio.gather(*waiting)
        await service.running
        assert [answer.outcome.balance for answer in answers][-1] == 3_000
    assert balance_of(dsn) == 3_000


@asynchronous
async def test_a_caller_who_stops_waiting_does_not_stop_the_command(dsn: str) -> None:
    async with RunningBus(dsn) as service:
        await service.done(registered(ANN))
        impatient = asyncio.create_task(service.execute(CHARGE))
        await asyncio.sleep(0)
        impatient.cancel()
        assert (await service.execute(CHARGE)).outcome.balance == 10


@asynchronous
async def test_no_answer_leaves_before_the_commit_not_even_a_refusal(dsn: str) -> None:
    """A foreign transaction has inserted the very version, and not said yet whether it stays."""
    async with RunningBus(dsn) as service:
        await service.done(registered(ANN))
        with psycopg.connect(dsn) as foreign:
            insert_with(foreign, charged(2, 7), Writes(at("12:00")))
            charging = asyncio.create_task(service.execute(CHARGE))
            refused = asyncio.create_task(service.execute(ChargeWallet(BEN, 5)))
            await until(lambda: somebody_waits(dsn, "transactionid"))
            assert not charging.done()
            assert not refused.done()
            foreign.rollback()
        assert (await charging).outcome.balance == 5
        assert isinstance((await refused).outcome, UserNotFound)


@asynchronous
async def test_a_foreign_writer_that_takes_no_lock_causes_a_second_run_and_nothing_wrong(dsn: str) -> None:
    async with RunningBus(Rival(dsn, 4)) as service:
        answer = await service.execute(OpenWallet(ANN, None))
        assert not answer.outcome.created, "the rival has opened it"
        assert service.conflicts == 1
        answers = await service.ask(CHARGE, ChargeWallet(ANN, 7))
        assert [answer.outcome.balance for answer in answers] == [20, 27]
        assert service.conflicts == 4
    assert [event.version for event in log_of(dsn)] == [1, 2, 3, 4, 5, 6]
    assert balance_of(dsn) == 27


class Generous(Meddler):
    """A log in which somebody charges Ben's wallet, past the lock, before anything is appended."""

    def meddle(self, writes: Writes) -> None:
        """Charge it, each time a batch is about to be appended."""
        version = 1 + sum(event.stream == wallet.stream(BEN).name for event in log_of(self.dsn))
        insert(self.dsn, charged(version, 7, wallet.stream(BEN)), writes)


@asynchronous
async def test_what_was_written_past_the_lock_is_seen_also_where_it_is_only_read(dsn: str) -> None:
    log = Generous(dsn)
    async with RunningBus(log) as service:
        await service.done(registered(ANN), registered(BEN))
        for times in (1, 2):
            log.times = 1
            await service.done(CHARGE)
            balance = (await service.execute(OpenWallet(BEN, None))).outcome.balance
            assert balance == 7 * times
        assert service.conflicts == 0


@asynchronous
async def test_after_five_conflicts_the_batch_is_told_to_try_again(dsn: str) -> None:
    async with RunningBus(dsn) as service:
        await service.done(registered(ANN))
    log = Rival(dsn, 5)
    async with RunningBus(log) as service:
        answers = await service.ask(CHARGE, ChargeWallet(BEN, 5))
        assert [type(answer.outcome) for answer in answers] == [TryAgain, TryAgain]
        assert (service.conflicts, log.times) == (5, 0)
        assert (await service.execute(CHARGE)).outcome.balance == 30


@pytest.mark.parametrize("fault", [Fault.LOSE_ACKNOWLEDGEMENT, Fault.GARBLE])
@asynchronous
async def test_a_commit_that_was_not_acknowledged_is_found_and_answered_and_not_done_twice(
    dsn: str, fault: Fault
) -> None:
    async with Proxy(dsn) as proxy, RunningBus(proxy.dsn) as service:
        await service.done(registered(ANN))
        proxy.faults.append(fault)
        answers = await service.ask(CHARGE, keyed(ChargeWallet(ANN, 7)))
        assert [answer.outcome.balance for answer in answers] == [5, 12]
        assert {answer.position for answer in answers} == {log_of(dsn)[-1].position}
        again = await service.execute(keyed(ChargeWallet(ANN, 7)))
        assert (again.recorded, again.position) == (answers[1].recorded, answers[1].position)
        assert service.conflicts == 0
    assert balance_of(dsn) == 12


@asynchronous
async def test_a_commit_that_never_arrived_is_not_found_and_done(dsn: str) -> None:
    async with Proxy(dsn) as proxy, RunningBus(proxy.dsn) as service:
        await service.done(registered(ANN))
        proxy.faults.append(Fault.LOSE_COMMIT)
        answers = await service.ask(CHARGE, keyed(ChargeWallet(ANN, 7)))
        assert [answer.outcome.balance for answer in answers] == [5, 12]
    assert balance_of(dsn) == 12


@pytest.mark.parametrize("fault", [Fault.LOSE_ACKNOWLEDGEMENT, Fault.LOSE_COMMIT])
@asynchronous
async def test_likewise_where_a_batch_records_only_outcomes(dsn: str, fault: Fault) -> None:
    async with Proxy(dsn) as proxy, RunningBus(proxy.dsn) as service:
        proxy.faults.append(fault)
        answers = await service.ask(keyed(CHARGE), keyed(CHARGE), keyed(CHARGE, "key 2"))
        assert [answer.recorded for answer in answers] == [reply_to(UserNotFound())] * 3
        await service.done(registered(ANN))
        assert (await service.execute(keyed(CHARGE))).recorded == reply_to(UserNotFound())
    assert balance_of(dsn) == 0


@pytest.mark.parametrize("fault", [Fault.LOSE_ACKNOWLEDGEMENT, Fault.LOSE_COMMIT])
@asynchronous
async def test_likewise_where_a_batch_writes_only_names(dsn: str, fault: Fault) -> None:
    async with Proxy(dsn) as proxy, RunningBus(proxy.dsn) as service:
        await service.done(OpenWallet(ANN, "Ann"))
        proxy.faults.append(fault)
        await service.done(EraseProfile(ANN))
    with psycopg.connect(dsn) as connection:
        assert connection.execute("SELECT user_id, name FROM ticketing.users").fetchall() == [(ANN, None)]


@asynchronous
async def test_a_session_that_is_ended_between_the_round_trips_has_its_batch_run_again(dsn: str) -> None:
    async with RunningBus(dsn) as service:
        await service.done(registered(ANN))
    async with RunningBus(Executioner(dsn, 2)) as service:
        assert (await service.execute(CHARGE)).outcome.balance == 5
    assert balance_of(dsn) == 5


@asynchronous
async def test_a_server_that_falls_silent_is_given_up_at_the_deadline(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command_bus, "APPEND_DEADLINE_S", 0.5)
    async with Proxy(dsn) as proxy, RunningBus(proxy.dsn) as service:
        await service.done(registered(ANN))
        proxy.silence()
        started = time.monotonic()
        answers = await service.ask(CHARGE, CHARGE)
        assert time.monotonic() - started < 2
        assert [answer.outcome.members for answer in answers] == [{"outcome": "NONE"}] * 2
        assert (await service.execute(CHARGE)).outcome.balance == 5


@asynchronous
async def test_where_even_looking_it_up_fails_the_outcome_is_told_to_be_unknown(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command_bus, "FIND_DEADLINE_S", 0.3)
    async with Proxy(dsn) as proxy, RunningBus(proxy.dsn) as service:
        await service.done(registered(ANN))
        proxy.faults.append(Fault.LOSE_ACKNOWLEDGEMENT)
        proxy.refuse = True
        answers = await service.ask(CHARGE, keyed(ChargeWallet(ANN, 7)))
        assert [answer.outcome.members for answer in answers] == [{"outcome": "UNKNOWN"}] * 2
        assert [answer.outcome.retry_after_s for answer in answers] == [None, 1]
        proxy.refuse = False
        assert (await service.execute(keyed(ChargeWallet(ANN, 7)))).recorded is not None
    assert balance_of(dsn) == 12


@asynchronous
async def test_while_the_server_is_down_everyone_hears_so_and_when_it_is_back_all_is_well(
    own_postgres: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command_bus, "APPEND_DEADLINE_S", 1.0)
    monkeypatch.setattr(command_bus, "BATCH_COMMANDS_MAX", 2)
    migrate(own_postgres.dsn)
    async with RunningBus(own_postgres.dsn) as service:
        await service.done(registered(ANN))
        own_postgres.stop()
        started = time.monotonic()
        answers = await service.ask(*[CHARGE] * 10)
        assert time.monotonic() - started < 2
        assert {type(answer.outcome) for answer in answers} == {StoreUnavailable}
        assert {answer.outcome.members["outcome"] for answer in answers} == {"NONE"}
        own_postgres.start()
        assert (await service.execute(CHARGE)).outcome.balance == 5


@asynchronous
async def test_a_server_that_is_back_in_time_is_not_missed(own_postgres: EmbeddedPostgres) -> None:
    migrate(own_postgres.dsn)
    async with RunningBus(own_postgres.dsn) as service:
        await service.done(registered(ANN))
        own_postgres.stop()
        charging = asyncio.create_task(service.execute(CHARGE))
        await asyncio.to_thread(own_postgres.start)
        assert (await charging).outcome.balance == 5


@asynchronous
async def test_likewise_where_it_lets_nobody_write(
    dsn: str, monkeypatch: pytest.MonkeyPatch, logs: Sequence[EventDict]
) -> None:
    monkeypatch.setattr(command_bus, "APPEND_DEADLINE_S", 1.0)
    async with RunningBus(dsn) as service:
        await service.done(registered(ANN))
        for balance in (5, 10):
            with nobody_writes(dsn, "ticketing-append"):
                answers = await service.ask(CHARGE, CHARGE)
                assert [answer.outcome.members for answer in answers] == [{"outcome": "NONE"}] * 2
            assert (await service.execute(CHARGE)).outcome.balance == balance
    told = [entry["error"] for entry in logs if entry["event"] == "event_log_unavailable"]
    assert len([reason for reason in told if "read-only" in reason]) == 2, "once, and not with every try"
    assert "batch_failed" not in {entry["event"] for entry in logs}


@asynchronous
async def test_a_server_that_is_killed_under_load_has_all_that_was_acknowledged_once(
    own_postgres: EmbeddedPostgres,
) -> None:
    migrate(own_postgres.dsn)
    async with RunningBus(own_postgres.dsn) as service:
        await service.done(registered(ANN))
        ends = asyncio.Event()
        clients = [asyncio.create_task(charge_until(ends, service)) for _ in range(32)]
        for _ in range(3):
            service.appends.clear()
            await until(lambda: len(service.appends) > 20)
            assert own_postgres.pid is not None
            os.kill(own_postgres.pid, signal.SIGKILL)
            await until(lambda: own_postgres.poll() is not None)
            await asyncio.to_thread(own_postgres.start)
        ends.set()
        outcomes = [outcome for client in await asyncio.gather(*clients) for outcome in client]
    unknown = [outcome for outcome in outcomes if isinstance(outcome, StoreUnavailable)]
    balances = [outcome.balance for outcome in outcomes if not isinstance(outcome, StoreUnavailable)]
    recorded = balance_of(own_postgres.dsn)
    assert len(set(balances)) == len(balances)
    assert len(balances) <= recorded // 5 <= len(balances) + len(unknown)


async def charge_until(end: asyncio.Event, service: RunningBus) -> list[Any]:
    """Charge again and again, and tell what came of it."""
    outcomes = []
    while not end.is_set():
        outcomes.append((await service.execute(CHARGE)).outcome)
    return outcomes


@asynchronous
async def test_a_bus_that_is_cut_off_leaves_nobody_waiting(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command_bus, "BATCH_COMMANDS_MAX", 2)
    async with RunningBus(dsn) as service:
        await service.done(registered(ANN))
        async with Held(dsn):
            waiting = [asyncio.create_task(service.execute(CHARGE)) for _ in range(5)]
            await until(lambda: somebody_waits(dsn))
            service.running.cancel()
            outcomes = [answer.outcome.members["outcome"] for answer in await asyncio.gather(*waiting)]
        assert outcomes == ["UNKNOWN"] * 2 + ["NONE"] * 3
        assert isinstance((await service.execute(CHARGE)).outcome, Overloaded)
    assert balance_of(dsn) == 0


@asynchronous
async def test_nothing_is_decided_on_what_is_known_of_a_log_that_was_replaced(dsn: str) -> None:
    """Restored from a backup, a log can grow beyond what is known of it, with other events."""
    async with RunningBus(dsn) as service:
        await service.done(registered(ANN, balance=100), registered(BEN, balance=100))
        with psycopg.connect(dsn) as connection:
            connection.execute("TRUNCATE ticketing.ticketing_events RESTART IDENTITY")
        async with RunningBus(dsn) as other:
            await other.done(registered(BEN, balance=7), registered(ANN, balance=1))
        refused = (await service.execute(CHARGE)).outcome
        assert refused.members["outcome"] == "NONE"
        with pytest.raises(LogReplaced):
            await service.running
    assert balance_of(dsn) == 1


class Break(Command, frozen=True):
    """Meet a defect, in the handler or on the way to it."""

    user_id: UserId
    before: bool


def charge_and_break(command: Break, unit_of_work: Any) -> None:
    unit_of_work.record(wallet.stream(command.user_id), [WalletCharged(1_000)])
    raise ZeroDivisionError


def break_before(command: Break, _peek: Any) -> Any:
    if command.before:
        raise ZeroDivisionError
    return [wallet.stream(command.user_id)]


@pytest.mark.parametrize("before", [False, True])
@asynchronous
async def test_a_defect_answers_only_the_command_that_met_it(
    dsn: str, *, before: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    breaks: type[Command] = Break
    monkeypatch.setitem(HANDLERS, breaks, Handler(charge_and_break, break_before))
    async with RunningBus(dsn) as service:
        await service.done(registered(ANN))
        answers = await service.ask(*[CHARGE] * 5, Break(ANN, before), *[CHARGE] * 5)
        assert [type(answer.outcome).__name__ for answer in answers] == (
            ["WalletChargedResult"] * 5 + ["ZeroDivisionError"] + ["WalletChargedResult"] * 5
        )
        charged_by = [answer for answer in answers if not isinstance(answer.outcome, Exception)]
        assert [answer.outcome.balance for answer in charged_by] == list(range(5, 55, 5))
    assert balance_of(dsn) == 50


@asynchronous
async def test_a_defect_under_the_lock_does_not_keep_it(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The handler wants a stream that was not read; on the way to read it the defect is met."""
    looks = count()

    def streams(command: Break, _peek: Any) -> Any:
        if next(looks):
            raise ZeroDivisionError
        return ()

    breaks: type[Command] = Break
    monkeypatch.setitem(HANDLERS, breaks, Handler(charge_and_break, streams))
    async with RunningBus(dsn) as service:
        assert isinstance((await service.execute(Break(ANN, before=False))).outcome, ZeroDivisionError)
        with psycopg.connect(dsn) as connection:
            row = connection.execute("SELECT pg_try_advisory_lock(%s)", [APPEND_LOCK]).fetchone()
            assert row == (True,)


@asynchronous
async def test_what_cannot_be_stored_is_a_defect_of_its_command_alone(
    dsn: str, logs: Sequence[EventDict]
) -> None:
    unwritable = [
        msgspec.structs.replace(announce(), title="half a pair: \ud800"),
        OpenWallet(BEN, "no text has a \0 in PostgreSQL"),
    ]
    async with RunningBus(dsn) as service:
        await service.done(registered(ANN))
        answers = await service.ask(CHARGE, *unwritable, CHARGE)
        assert [isinstance(answer.outcome, Exception) for answer in answers] == [False, True, True, False]
        assert not any(isinstance(answer.outcome, DomainError) for answer in answers)
        assert {entry["event"] for entry in logs} == {"batch_failed"}
        assert service.conflicts == 0
    assert balance_of(dsn) == 10
