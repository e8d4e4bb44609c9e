"""What can be done to the product.

All chance comes from the generator that a fault is given, so that a seed always draws the same.
"""

import asyncio
import os
import random
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any, Final, LiteralString

import psycopg
from psycopg import AsyncConnection

from infrastructure.event_log import APPEND_LOCK
from infrastructure.leader import lock_id
from tests.faults.kafka_kinds import KINDS_OF_KAFKA
from tests.faults.kind import (
    BRIEFLY,
    EVERYBODY,
    LONG_ENOUGH_TO_BE_MISSED,
    NOBODY,
    Kind,
    Struck,
    connected,
    stop_leader,
)
from tests.faults.product import ROLE_BESIDE, ROLE_UNDER_UP, Product
from tests.faults.traps import APPEND, PROJECTOR, CutAfter, HoldAt
from tests.infrastructure.proxy import Fault as OnCommit
from tests.infrastructure.proxy import Passing
from workers.timer import ROLE as TIMER

SPRINGS_WITHIN_S: Final = 5.0
"""So long a trap waits for its prey: appends come all the time, but not while something else recovers."""

CUTS_MAX: Final = 8
STRANGERS_MAX: Final = 400
FILL_EVERY_S: Final = 0.05

OURS: LiteralString = """
    SELECT application_name, pid FROM pg_stat_activity
    WHERE backend_type = 'client backend' AND application_name LIKE 'ticketing-%'
    ORDER BY application_name, backend_start
"""

CUT: LiteralString = "SELECT pg_terminate_backend(pid) FROM unnest(%s::int[]) AS pid"

CUT_HOLDER: LiteralString = """
    SELECT pg_terminate_backend(pid) FROM pg_locks
    WHERE locktype = 'advisory' AND granted AND (classid::bigint << 32 | objid::bigint) = %s
"""

PROJECTING: LiteralString = """
    SELECT 1 FROM pg_stat_activity
    WHERE usename = %s AND application_name = %s AND xact_start IS NOT NULL AND wait_event_type = 'Client'
"""

NO_SPACE: LiteralString = """
    CREATE SCHEMA IF NOT EXISTS faults;
    CREATE OR REPLACE FUNCTION faults.no_space() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = 'disk_full';
    END $$;
    CREATE TRIGGER no_space BEFORE INSERT ON ticketing.ticketing_events
        FOR EACH STATEMENT EXECUTE FUNCTION faults.no_space()
"""

SPACE: LiteralString = "DROP TRIGGER no_space ON ticketing.ticketing_events"


@asynccontextmanager
async def kill_worker(command: str, product: Product, chance: random.Random) -> AsyncIterator[Struck]:
    """Kill one of the two, without a word."""
    number = chance.choice([1, 2])
    product.signal(f"{command}-{number}", signal.SIGKILL)
    yield Struck(f"{command}-{number}", frozenset({number}) if command == "api" else NOBODY)


@asynccontextmanager
async def kill_supervisor(product: Product, _: random.Random) -> AsyncIterator[Struck]:
    """Kill `up`: what it ran has nobody any more, and it is started again."""
    product.signal("up", signal.SIGKILL)
    yield Struck("up", EVERYBODY)


@asynccontextmanager
async def end_postgres(number: signal.Signals, product: Product, _: random.Random) -> AsyncIterator[Struck]:
    """Kill the server, or have it stop cleanly; `up` starts it again."""
    product.signal("postgres", number)
    yield Struck(number.name, EVERYBODY)


@asynccontextmanager
async def kill_session(product: Product, chance: random.Random) -> AsyncIterator[Struck]:
    """Kill one session's process: the server then ends all others, and recovers."""
    async with connected(product) as connection:
        sessions = await (await connection.execute(OURS)).fetchall()
        application, pid = chance.choice(sessions)
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    yield Struck(application, EVERYBODY)


@asynccontextmanager
async def cut_sessions(product: Product, chance: random.Random) -> AsyncIterator[Struck]:
    """Have the server end some of all sessions."""
    share = chance.choice([0.2, 0.5, 1.0])
    cut = 0
    async with connected(product) as connection:
        sessions = [pid for _, pid in await (await connection.execute(OURS)).fetchall()]
        chosen = [pid for pid in sessions if chance.random() < share]
        await connection.execute(CUT, [chosen])
        cut = len(chosen)
    yield Struck(f"{cut} sessions", EVERYBODY)


@asynccontextmanager
async def cut_holders(lock: int, product: Product, chance: random.Random) -> AsyncIterator[Struck]:
    """Have the server end whoever holds this lock, several times, wherever their statements are."""
    cut = 0
    async with connected(product) as connection:
        for _ in range(chance.randint(1, CUTS_MAX)):
            await asyncio.sleep(chance.uniform(0, 0.03))
            cut += len(await (await connection.execute(CUT_HOLDER, [lock])).fetchall())
    yield Struck(f"{cut} sessions", EVERYBODY)


@asynccontextmanager
async def cut_between_statements(product: Product, chance: random.Random) -> AsyncIterator[Struck]:
    """Cut an append's connection after a number of messages."""
    for _ in range(chance.randint(1, CUTS_MAX)):
        await _sprung(product, CutAfter(APPEND, chance.randrange(40)))
    yield Struck("", frozenset({2}))


@asynccontextmanager
async def meet_commits(
    fault: OnCommit, times_max: int, product: Product, chance: random.Random
) -> AsyncIterator[Struck]:
    """Let something happen to the next COMMITs of appends."""
    faults = chance.randint(1, times_max)
    product.proxy.faults_of = APPEND
    product.proxy.faults.extend([fault] * faults)
    with suppress(TimeoutError):
        async with asyncio.timeout(SPRINGS_WITHIN_S):
            while product.proxy.faults:  # noqa: ASYNC110 (the proxy tells no one)
                await asyncio.sleep(FILL_EVERY_S)
    product.proxy.faults.clear()
    yield Struck(f"{faults} COMMITs", frozenset({2}))


@asynccontextmanager
async def fill_disk(product: Product, _: random.Random) -> AsyncIterator[Struck]:
    """Leave no space for data, nor for what is logged; or at least have every append told so."""
    if product.disk.is_own:
        product.disk.fill()
        try:
            yield Struck("a small disk", EVERYBODY)
        finally:
            product.disk.clear()
        return
    async with connected(product) as connection:
        await connection.execute(NO_SPACE)
    try:
        yield Struck("told of appends", EVERYBODY)
    finally:
        async with connected(product) as connection:
            await connection.execute(SPACE)


@asynccontextmanager
async def use_up_connections(product: Product, _: random.Random) -> AsyncIterator[Struck]:
    """Let a stranger have every connection that the server gives, also those that we had."""
    strangers: list[AsyncConnection[Any]] = []
    filling = asyncio.create_task(_fill(product, strangers))
    async with connected(product) as connection:
        sessions = [pid for _, pid in await (await connection.execute(OURS)).fetchall()]
        await _until_full(strangers)
        await connection.execute(CUT, [sessions])
    try:
        yield Struck(f"{len(strangers)} connections", EVERYBODY)
    finally:
        filling.cancel()
        await asyncio.gather(filling, return_exceptions=True)
        for stranger in strangers:
            stranger.pgconn.finish()


async def _fill(product: Product, strangers: list[AsyncConnection[Any]]) -> None:
    while len(strangers) < STRANGERS_MAX:
        try:
            strangers.append(await product.connect())
        except psycopg.OperationalError:
            await asyncio.sleep(FILL_EVERY_S)


async def _until_full(strangers: list[AsyncConnection[Any]]) -> None:
    had = -1
    while had < len(strangers):
        had = len(strangers)
        await asyncio.sleep(FILL_EVERY_S * 4)


@asynccontextmanager
async def stop(command: str, product: Product, chance: random.Random) -> AsyncIterator[Struck]:
    """Stop a process wherever it is."""
    name = f"{command}-{chance.choice([1, 2])}"
    product.signal(name, signal.SIGSTOP)
    try:
        yield Struck(name, frozenset({int(name[-1])}) if command == "api" else NOBODY)
    finally:
        product.signal(name, signal.SIGCONT)


@asynccontextmanager
async def stop_with_append_lock(product: Product, _: random.Random) -> AsyncIterator[Struck]:
    """Stop an API process or timer that has read and is about to append."""
    stopped: list[str] = []

    def stop_it(passing: Passing) -> None:
        stopped.append(product.name_at(passing.port))
        product.signal(stopped[0], signal.SIGSTOP)

    trap = HoldAt(APPEND, "INSERT INTO ticketing.ticketing_events", stop_it)
    await _sprung(product, trap)
    try:
        yield Struck(stopped[0] if stopped else "nobody", frozenset({2} if "api-2" in stopped else ()))
    finally:
        for name in stopped:
            product.signal(name, signal.SIGCONT)
        trap.release()


@asynccontextmanager
async def stop_with_checkpoints(product: Product, chance: random.Random) -> AsyncIterator[Struck]:
    """Stop a projector in the middle of a transaction; where it is in none it goes on, and is tried again."""
    name = f"project-{chance.choice([1, 2])}"
    caught = False
    async with connected(product) as connection:
        with suppress(TimeoutError):
            async with asyncio.timeout(SPRINGS_WITHIN_S):
                while not caught:
                    await asyncio.sleep(chance.uniform(0, 0.03))
                    caught = await _stopped_while_projecting(product, connection, name)
    if not caught:
        product.signal(name, signal.SIGCONT)
    try:
        yield Struck(name if caught else "nobody", NOBODY)
    finally:
        product.signal(name, signal.SIGCONT)


async def _stopped_while_projecting(product: Product, connection: AsyncConnection[Any], name: str) -> bool:
    product.signal(name, signal.SIGSTOP)
    role = ROLE_BESIDE if name.endswith("-2") else ROLE_UNDER_UP
    for _ in range(2):  # what it had asked the server for before it was stopped takes a moment
        cursor = await connection.execute(PROJECTING, [role, PROJECTOR])
        if await cursor.fetchone() is None:
            product.signal(name, signal.SIGCONT)
            return False
        await asyncio.sleep(FILL_EVERY_S)
    return True


@asynccontextmanager
async def let_clocks_jump(product: Product, chance: random.Random) -> AsyncIterator[Struck]:
    """Set the clocks of half of the processes forward or back, and later to what they were."""
    which = chance.choice([0, 1])
    seconds = chance.choice([-1, 1]) * chance.choice([2, 30, 600])
    product.clocks[which].set_off(seconds)
    try:
        yield Struck(f"{seconds:+} s", NOBODY)
    finally:
        product.clocks[which].set_off(0)


async def _sprung(product: Product, trap: CutAfter | HoldAt) -> None:
    """Set a trap, and wait until it has sprung."""
    product.proxy.trap = trap
    with suppress(TimeoutError):
        await asyncio.wait_for(trap.sprung.wait(), SPRINGS_WITHIN_S)
    product.proxy.trap = None


KINDS: Final[Mapping[str, Kind]] = {
    "API killed": Kind(partial(kill_worker, "api"), is_death=True),
    "projector killed": Kind(partial(kill_worker, "project"), is_death=True),
    "timer killed": Kind(partial(kill_worker, "timer"), is_death=True),
    "supervisor killed": Kind(kill_supervisor, is_death=True),
    "PostgreSQL killed": Kind(partial(end_postgres, signal.SIGKILL), is_death=True),
    "PostgreSQL restarted": Kind(partial(end_postgres, signal.SIGINT)),
    "PostgreSQL session killed": Kind(kill_session),
    "sessions cut": Kind(cut_sessions),
    "append cut by the server": Kind(partial(cut_holders, APPEND_LOCK)),
    "append cut between statements": Kind(cut_between_statements),
    "timer's leadership cut": Kind(partial(cut_holders, lock_id(TIMER))),
    "COMMIT lost": Kind(partial(meet_commits, OnCommit.LOSE_COMMIT, 3)),
    "acknowledgement lost": Kind(partial(meet_commits, OnCommit.LOSE_ACKNOWLEDGEMENT, 3)),
    "silence from COMMIT on": Kind(partial(meet_commits, OnCommit.SILENCE, 1)),
    "disk full": Kind(fill_disk, BRIEFLY),
    "connections used up": Kind(use_up_connections, BRIEFLY),
    "API stopped": Kind(partial(stop, "api"), LONG_ENOUGH_TO_BE_MISSED),
    "stopped with the append lock": Kind(stop_with_append_lock, LONG_ENOUGH_TO_BE_MISSED),
    "projector stopped": Kind(partial(stop, "project"), LONG_ENOUGH_TO_BE_MISSED),
    "projector stopped with checkpoints": Kind(stop_with_checkpoints, LONG_ENOUGH_TO_BE_MISSED),
    "timer stopped while it leads": Kind(partial(stop_leader, TIMER), LONG_ENOUGH_TO_BE_MISSED),
    "clocks jump": Kind(let_clocks_jump, BRIEFLY, lambda product: product.can_jump),
    **KINDS_OF_KAFKA,
}
