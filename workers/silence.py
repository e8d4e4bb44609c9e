"""Silence: tokens whose owners have not been heard from for too long are cancelled (rule Q8)."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from psycopg import AsyncConnection

from aggregates.ids import ConcertCode
from commands.abandon_token import AbandonToken
from commands.unit_of_work import Visit
from infrastructure.read_models import ReadModels
from infrastructure.silence import SilentToken, silent_active, silent_waiting
from workers.sales import Sales
from workers.suggester import Suggester

NUMBERS_PER_ROUND = 5_000
"""A round looks through so much of the lines, in some 40 ms; the next one goes on from there.

So it takes three minutes to go through a line of a million.
"""

PAGES_PER_ROUND = 50
"""Short lines are looked through a concert at a time, each in a ms or two."""


class _Page(NamedTuple):
    """A stretch of one line."""

    code: ConcertCode
    allowed_s: int
    after: int
    last: int


class Silence:
    """Goes through the lines again and again, and looks at everyone who is active."""

    def __init__(self, read_models: ReadModels, suggester: Suggester) -> None:
        self._read_models = read_models
        self._suggester = suggester
        self._sales = Sales()
        self._pages: Iterator[_Page] = iter(())

    async def round(self) -> bool:
        """Cancel the silent ones of some pages; the rest has time."""
        async with self._read_models.connection() as connection:
            await self._sales.refresh(connection)
            silent = [*await self._silent_active(connection), *await self._silent_waiting(connection)]
        await self._suggester.make(
            self._sales.position,
            {one.token_id: AbandonToken(Visit(one.code, one.token_id), one.user_id) for one in silent},
        )
        return False

    async def _silent_active(self, connection: AsyncConnection[Any]) -> Sequence[SilentToken]:
        allowed_s: Mapping[ConcertCode, int] = {
            sale.concert.code: sale.concert.policy.abandon_active_after_s
            for sale in self._sales
            if sale.concert.policy.abandon_active_after_s is not None and sale.line.active
        }
        return (await silent_active(connection, allowed_s)).value if allowed_s else []

    async def _silent_waiting(self, connection: AsyncConnection[Any]) -> Sequence[SilentToken]:
        silent: list[SilentToken] = []
        for page in self._next_pages():
            silent += (await silent_waiting(connection, *page)).value
        return silent

    def _next_pages(self) -> Sequence[_Page]:
        """Return what this round looks through; after the last page of the last line begin again."""
        pages: list[_Page] = []
        numbers = 0
        for page in self._pages:
            pages.append(page)
            numbers += page.last - page.after
            if numbers >= NUMBERS_PER_ROUND or len(pages) == PAGES_PER_ROUND:
                return pages
        self._pages = self._all_pages()
        return pages

    def _all_pages(self) -> Iterator[_Page]:
        for concert, line in list(self._sales):
            allowed_s = concert.policy.abandon_waiting_after_s
            if allowed_s is not None:
                for after in range(line.head, line.issued, NUMBERS_PER_ROUND):
                    last = min(after + NUMBERS_PER_ROUND, line.issued)
                    yield _Page(concert.code, allowed_s, after, last)
