"""The gate: suggests whom to let in, by number, where the read model sees room (rules Q3, Q4).

The suggestion may be stale in any way; the command counts again on the queue's own stream. What matters here
is that the gate does not stick, and that nobody knocks in vain.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
import structlog
from psycopg import AsyncConnection

from aggregates.ids import ConcertCode, UserId
from aggregates.token import TokenStatus
from commands.bus import CommandBus
from commands.let_in import LetIn, Suggestion
from infrastructure.queue_numbers import find_owner
from infrastructure.read_models import ReadModels
from projections import queue
from projections.queue import Line, TokenFound
from workers.sales import Sale, Sales
from workers.suggester import send

LET_IN_MAX = 300
"""Numbers in one command: more would hold the append lock for longer than others should wait."""

ENDED_AHEAD_MAX = 50
"""So many numbers are read beyond those that there is room for, since some may have ended."""

LOOK_UPS_MAX = 20
"""Numbers that the read model lacks and that are looked up in the log in one round, for one concert."""

AGAIN_AFTER_S = 1.0
"""When to knock again, without any news, after a command that did not let everyone in."""

LOOKED_UP_MAX = 10_000
"""So many of them are remembered."""

Connection = AsyncConnection[Any]

Place = tuple[int, TokenFound | None]
"""A queue number and its token."""

log = structlog.get_logger(__name__)


class _Knock(NamedTuple):
    """The last suggestion made for a concert, and what came of it."""

    last_number: int
    head: int
    """How far the gate has come for certain: to the last number, if all of them were let in; else 0."""
    news: int
    """The position of the last change of the sale that it was made from."""
    answered_at: int
    """The log's position at which it was decided."""
    again_at: float
    """By a monotonic clock."""


class Gate:
    """Lets in at every concert, as far as there is room."""

    def __init__(self, bus: CommandBus, read_models: ReadModels, leads: Callable[[], bool]) -> None:
        self._bus = bus
        self._read_models = read_models
        self._leads = leads
        self._sales = Sales()
        self._knocks: dict[ConcertCode, _Knock] = {}
        self._looked_at: dict[ConcertCode, int] = {}
        self._looked_up: dict[tuple[ConcertCode, int], UserId | None] = {}

    async def round(self) -> bool:
        """Suggest whom to let in everywhere; return whether more may follow at once."""
        async with self._read_models.connection() as connection:
            await self._sales.refresh(connection)
            sales = [self._as_known(sale) for sale in self._sales]
            open_sales = [sale for sale in sales if _is_open(sale) and self._has_news(sale)]
            admitted = await _admitted(connection, open_sales)
            suggested = [
                (sale, await self._suggest(connection, sale, _room(sale, admitted))) for sale in open_sales
            ]
        fresh = [(sale, numbers) for sale, numbers in suggested if self._is_fresh(sale, numbers)]
        await asyncio.gather(*(self._knock(sale, numbers) for sale, numbers in fresh))
        return any(len(numbers) == LET_IN_MAX for _, numbers in fresh)

    def _as_known(self, sale: Sale) -> Sale:
        """Where the read model has not seen yet that all of the last suggestion were let in, we have."""
        line, knock = sale.line, self._knocks.get(sale.line.code)
        if knock is None or knock.head <= line.head:
            return sale
        active = line.active + knock.head - line.head
        return sale._replace(line=msgspec.structs.replace(line, head=knock.head, active=active))

    def _has_news(self, sale: Sale) -> bool:
        """After a command that did not let everyone in, wait for something to happen, or for a while."""
        knock = self._knocks.get(sale.line.code)
        return knock is None or knock.news != sale.changed_position or knock.again_at <= time.monotonic()

    def _is_fresh(self, sale: Sale, numbers: Sequence[Suggestion]) -> bool:
        """Before the read model has seen the last answer, only numbers beyond the last ones are worth it."""
        if not numbers:
            return False
        knock = self._knocks.get(sale.line.code)
        return (
            knock is None
            or self._sales.position >= knock.answered_at
            or numbers[-1].queue_number > knock.last_number
        )

    async def _knock(self, sale: Sale, numbers: Sequence[Suggestion]) -> None:
        code, last_number = sale.line.code, numbers[-1].queue_number
        for answer in await send(self._bus, self._leads, [LetIn(code, tuple(numbers))]):
            failed = isinstance(answer.outcome, Exception)
            all_let_in = answer.outcome == len(numbers)
            self._knocks[code] = _Knock(
                0 if failed else last_number,
                last_number if all_let_in else 0,
                sale.changed_position,
                answer.position,
                0.0 if all_let_in else time.monotonic() + AGAIN_AFTER_S,
            )

    async def _suggest(self, connection: Connection, sale: Sale, room: int) -> Sequence[Suggestion]:
        """The next numbers with their users: as many as there is room for, and those that have ended."""
        line = sale.line
        if room == 0 and self._looked_at.get(line.code) == line.changed_position:
            return []
        self._looked_at[line.code] = line.changed_position
        in_line = await _next_in_line(connection, line, min(LET_IN_MAX, room + ENDED_AHEAD_MAX))
        suggestions: list[Suggestion] = []
        look_ups = 0
        for number, token in _that_fit(in_line, room):
            look_ups += token is None
            if look_ups > LOOK_UPS_MAX:
                break
            user_id = token.user_id if token else await self._look_up(connection, line.code, number)
            if user_id is None:
                break
            suggestions.append(Suggestion(number, user_id))
        return suggestions

    async def _look_up(self, connection: Connection, code: ConcertCode, number: int) -> UserId | None:
        """Find in the log whose number it is; what was found once is remembered."""
        key = (code, number)
        if key not in self._looked_up:
            if len(self._looked_up) >= LOOKED_UP_MAX:
                self._looked_up.clear()
            self._looked_up[key] = await find_owner(connection, code, number)
            log.warning("number_looked_up", concert=code, number=number, found=bool(self._looked_up[key]))
        return self._looked_up[key]


async def _next_in_line(connection: Connection, line: Line, limit: int) -> Sequence[Place]:
    """The numbers after the head, each with its token, or None where the read model lacks it."""
    found = (await queue.in_line(connection, line.code, after=line.head, limit=limit)).value
    last = found[-1].queue_number if len(found) == limit else line.issued
    by_number = {token.queue_number: token for token in found}
    numbers = range(line.head + 1, min(last, line.head + LET_IN_MAX) + 1)
    return [(number, by_number.get(number)) for number in numbers]


def _that_fit(in_line: Iterable[Place], room: int) -> Iterator[Place]:
    """Go through the line up to the first who waits and for whom there is no room."""
    for number, token in in_line:
        if token is None or token.status is TokenStatus.WAITING:
            room -= 1
        if room < 0:
            return
        yield number, token


def _is_open(sale: Sale) -> bool:
    """L1: whether anyone may be let in at all, and anyone waits."""
    return sale.concert.sales_open and not sale.line.paused and sale.line.issued > sale.line.head


def _room(sale: Sale, admitted: Mapping[ConcertCode, int]) -> int:
    """Q4, as the read model sees it: how many more may be let in; all three limits hold at once."""
    policy, line = sale.concert.policy, sale.line
    limits = [line.issued - line.head]
    if policy.max_active is not None:
        limits.append(policy.max_active - line.active)
    if policy.admit_up_to_seats_left:
        limits.append(line.seats_left - line.active)
    if policy.admit_per_interval is not None:
        limits.append(policy.admit_per_interval - admitted[line.code])
    return max(0, min(limits))


async def _admitted(connection: Connection, sales: Sequence[Sale]) -> Mapping[ConcertCode, int]:
    """How many were let in within the last interval, where the policy limits that."""
    intervals_s = {
        sale.concert.code: sale.concert.policy.admit_interval_s
        for sale in sales
        if sale.concert.policy.admit_per_interval is not None
    }
    if not intervals_s:
        return {}
    admitted = await queue.admitted_within(connection, intervals_s)
    return {one.code: one.activated for one in admitted.value}
