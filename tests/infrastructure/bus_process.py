"""A process with a command bus, as the API has them: `python -m tests.infrastructure.bus_process DSN …`.

- `hold USER`: charge this user's wallet, and decide it only when a line comes in; meanwhile the append lock
  is held. Prints `deciding`, and then what came of it.
- `join USER…`: join the line for these users, from 64 clients at once. Prints `ready`, starts when a line
  comes in, and prints the seconds that it took and each number.
"""

import asyncio
import sys
import time
from collections.abc import Iterator, Sequence
from uuid import UUID, uuid4

import structlog

from aggregates import wallet
from aggregates.ids import TokenId, UserId
from aggregates.wallet import WalletCharged
from commands.command import Command, Handler
from commands.join_queue import JoinQueue
from commands.table import HANDLERS
from commands.unit_of_work import UnitOfWork
from tests.aggregates.given import CODE
from tests.infrastructure.running_bus import RunningBus

CLIENTS = 64


class ChargeWhenTold(Command, frozen=True):
    """Charge 7 won, when a line comes in."""

    user_id: UserId


def charge_when_told(command: ChargeWhenTold, unit_of_work: UnitOfWork) -> int:
    """Wait as long as it takes, which no handler of ours does."""
    say("deciding")
    sys.stdin.readline()
    stream = wallet.stream(command.user_id)
    unit_of_work.record(stream, [WalletCharged(7)])
    balance: int = unit_of_work.load(stream).balance
    return balance


def say(*words: object) -> None:
    """Tell the test."""
    print(*words, flush=True)  # noqa: T201 (the test reads it)


async def hold(dsn: str, user_id: UserId) -> None:
    """Hold the append lock until told."""
    HANDLERS[ChargeWhenTold] = Handler(charge_when_told, lambda command, _: [wallet.stream(command.user_id)])
    async with RunningBus(dsn) as service:
        say((await service.execute(ChargeWhenTold(user_id))).outcome)


async def join(dsn: str, user_ids: Sequence[UserId]) -> None:
    """Join for all of them."""
    async with RunningBus(dsn) as service:
        say("ready")
        await asyncio.to_thread(sys.stdin.readline)
        started = time.perf_counter()
        waiting = iter(user_ids)
        numbers = await asyncio.gather(*(_join_each(service, waiting) for _ in range(CLIENTS)))
        seconds = time.perf_counter() - started
    say(seconds, *(number for client in numbers for number in client))


async def _join_each(service: RunningBus, waiting: Iterator[UserId]) -> list[int]:
    numbers = []
    for user_id in waiting:
        answer = await service.execute(JoinQueue(CODE, user_id, TokenId(uuid4())))
        numbers.append(answer.outcome.queue_number)
    return numbers


if __name__ == "__main__":
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    _, to_log, role, *users = sys.argv
    ids = [UserId(UUID(user)) for user in users]
    asyncio.run(hold(to_log, ids[0]) if role == "hold" else join(to_log, ids))
