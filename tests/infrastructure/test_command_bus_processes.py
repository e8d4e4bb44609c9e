"""Several processes with a command bus on one log: their order, and what a stopped one does to others."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import LiteralString
from uuid import UUID, uuid5

import psycopg
import pytest
from structlog.testing import capture_logs

from aggregates.ids import UserId
from aggregates.token import TokenIssued
from commands.charge_wallet import ChargeWallet
from commands.ports import Wanted, Writes
from infrastructure import event_log
from infrastructure.event_log import APPEND_LOCK, PostgresEventLog
from tests.aggregates.given import ANN
from tests.asynchronous import asynchronous, until
from tests.commands.steps import registered
from tests.infrastructure.event_log_contract import opened
from tests.infrastructure.running_bus import Held, RunningBus, backends_that_wait, log_of
from tests.infrastructure.test_command_bus import balance_of
from tests.live_sale import on_sale

ROOT = Path(__file__).parents[2]

CHARGE = ChargeWallet(ANN, 5)

STOPPED_FOR_S_MAX = 3.0
"""So long a process that is stopped with the append lock may hold up the others."""

STUCK: LiteralString = """
    SELECT EXISTS (
        SELECT FROM pg_locks
        JOIN pg_stat_activity USING (pid)
        WHERE datname = current_database() AND locktype = 'advisory' AND wait_event = 'ClientWrite'
    )
"""

SLACK_S = 1.5
"""For a machine that is busy."""

CROWD = [UserId(uuid5(UUID(int=3), str(number))) for number in range(600)]


@asynccontextmanager
async def process(dsn: str, *arguments: object) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a process with a bus; it is gone when the context ends."""
    running = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "tests.infrastructure.bus_process", dsn, *map(str, arguments)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        cwd=ROOT,
        limit=1_000_000,
    )
    try:
        yield running
    finally:
        if running.returncode is None:
            running.kill()
        await running.wait()


async def said(running: asyncio.subprocess.Process) -> str:
    """Read the next line."""
    assert running.stdout is not None
    return (await running.stdout.readline()).decode().strip()


async def tell(running: asyncio.subprocess.Process) -> None:
    """Let it go on."""
    assert running.stdin is not None
    running.stdin.write(b"\n")
    await running.stdin.drain()


def is_stuck_in_sending(dsn: str) -> bool:
    """Whether someone has the append lock and waits for a client to read."""
    with psycopg.connect(dsn) as connection:
        return connection.execute(STUCK).fetchone() == (True,)


async def in_and_out(dsn: str) -> None:
    """Take the append lock, and give it up."""
    log = PostgresEventLog(dsn)
    await (await log.begin(Wanted([]), asyncio.get_running_loop().time() + 20)).give_up()
    log.lose()


@asynchronous
async def test_a_process_that_is_stopped_with_the_lock_holds_up_others_for_3_s_at_most(dsn: str) -> None:
    async with RunningBus(dsn) as service:
        await service.done(registered(ANN))
        async with process(dsn, "hold", ANN) as holder:
            assert await said(holder) == "deciding"
            holder.send_signal(signal.SIGSTOP)
            started = time.monotonic()
            assert (await service.execute(CHARGE)).outcome.balance == 5
            assert time.monotonic() - started < STOPPED_FOR_S_MAX + SLACK_S
            holder.send_signal(signal.SIGCONT)
            await tell(holder)
            assert await said(holder) == "deciding", "cut off, it runs its batch again"
            await tell(holder)
            assert await said(holder) == "12"
    assert balance_of(dsn) == 12
    assert [event.version for event in log_of(dsn)] == [1, 2, 3]


@asynchronous
async def test_also_one_that_is_stopped_in_the_middle_of_a_message(dsn: str) -> None:
    """Its backend is stuck in sending: no timeout of PostgreSQL ends that."""
    async with RunningBus(dsn) as service:
        await service.done(registered(ANN))
        with psycopg.connect(dsn) as stopped:
            stopped.pgconn.send_query(
                f"SELECT pg_advisory_xact_lock({APPEND_LOCK}); SELECT repeat('x', 10000000)".encode()
            )
            stopped.pgconn.flush()
            await until(lambda: is_stuck_in_sending(dsn))
            started = time.monotonic()
            assert (await service.execute(CHARGE)).outcome.balance == 5
            assert time.monotonic() - started < STOPPED_FOR_S_MAX + SLACK_S
            stopped.pgconn.finish()


@asynchronous
async def test_those_who_wait_together_for_one_that_is_stopped_end_it_and_not_one_another(dsn: str) -> None:
    services = [RunningBus(dsn) for _ in range(6)]
    async with RunningBus(dsn) as first:
        await first.done(registered(ANN))
    with capture_logs() as logs:
        for service in services:
            await service.__aenter__()
        async with process(dsn, "hold", ANN) as holder:
            assert await said(holder) == "deciding"
            holder.send_signal(signal.SIGSTOP)
            started = time.monotonic()
            answers = await asyncio.gather(*(service.execute(CHARGE) for service in services))
            assert time.monotonic() - started < STOPPED_FOR_S_MAX + SLACK_S
        for service in services:
            await service.__aexit__(None, None, None)
    assert sorted(answer.outcome.balance for answer in answers) == [5, 10, 15, 20, 25, 30]
    assert {log["event"] for log in logs} == {"append_lock_taken_back"}


@asynchronous
async def test_one_that_has_just_got_the_lock_is_not_ended_however_long_it_had_waited(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_log, "LOCK_WAIT_MS", 600)
    first, second = PostgresEventLog(dsn), PostgresEventLog(dsn)
    deadline = asyncio.get_running_loop().time() + 20
    async with Held(dsn):
        waiting = [asyncio.create_task(log.begin(Wanted([]), deadline)) for log in (first, second)]
        started = time.monotonic()
        await until(lambda: time.monotonic() > started + 0.5)
    await until(lambda: any(task.done() for task in waiting))
    winner, loser = sorted(waiting, key=lambda task: not task.done())
    await until(lambda: time.monotonic() > started + 0.9)
    append = await winner
    await append.commit(Writes(append.reading.now, [opened()]))
    await (await loser).give_up()
    first.lose()
    second.lose()


@asynchronous
async def test_nor_is_one_that_has_got_it_and_not_yet_its_turn_on_the_processor(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_log, "LOCK_WAIT_MS", 600)
    with capture_logs() as logs:
        async with Held(dsn):
            has_waited = asyncio.create_task(in_and_out(dsn))
            await until(lambda: backends_that_wait(dsn))
            (backend,) = backends_that_wait(dsn)
            os.kill(backend, signal.SIGSTOP)
            waiting = asyncio.create_task(in_and_out(dsn))
            await until(lambda: len(backends_that_wait(dsn)) == 2)
        started = time.monotonic()
        try:
            await until(lambda: time.monotonic() > started + 0.9)
        finally:
            os.kill(backend, signal.SIGCONT)
        await asyncio.gather(has_waited, waiting)
    assert not logs


@asynchronous
async def test_two_processes_of_64_clients_each_give_dense_numbers_and_lose_nothing(dsn: str) -> None:
    async with RunningBus(dsn) as service:
        await service.done(on_sale())
        await service.ask(*(command for user_id in CROWD for command in registered(user_id)))
    async with process(dsn, "join", *CROWD[::2]) as one, process(dsn, "join", *CROWD[1::2]) as other:
        for running in (one, other):
            assert await said(running) == "ready"
        for running in (one, other):
            await tell(running)
        numbers = [[int(number) for number in (await said(running)).split()[1:]] for running in (one, other)]
    assert sorted(numbers[0] + numbers[1]) == list(range(1, len(CROWD) + 1))
    issued = [event.event for event in log_of(dsn) if isinstance(event.event, TokenIssued)]
    assert [event.queue_number for event in issued] == list(range(1, len(CROWD) + 1))
    assert {event.user_id for event in issued} == set(CROWD)
    assert [number for number in numbers[0] if number - 1 in numbers[1]], "they took turns"
