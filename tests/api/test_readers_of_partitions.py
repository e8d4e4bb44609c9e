"""Whoever reads while the partitions of the log stand at different positions, and goes on as they move.

What is shown of a concert, or of a wallet, is what the log says up to the position that is told with it: no
less, or something is missed, and no more, or the next read, elsewhere, may show less.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from random import Random
from typing import Any, Final
from uuid import UUID

import psycopg
import pytest
from psycopg import AsyncConnection

from aggregates import concert as concert_aggregate
from aggregates import queue as queue_aggregate
from aggregates import wallet as wallet_aggregate
from aggregates.concert import Concert, ConcertAnnounced
from aggregates.ids import UserId
from aggregates.queue import Queue
from aggregates.stream import Stream
from aggregates.wallet import Wallet, WalletOpened
from api.board import Board
from commands.ports import evolved, nothing_known
from infrastructure.epochs import read_epochs
from infrastructure.read_models import ReadModels
from projections import payments, queue, reservations, wallet_entries
from projections.payments import PaymentFound
from projections.reading import Found, Page
from projections.reservations import ReservationFound
from tests.asynchronous import until
from tests.projections import tables
from tests.projections.partitioned import project_to, publish, register, settle
from tests.projections.read_models import connect
from tests.properties.histories import eventful_histories
from workers.sales import Sales

PARTITIONS: Final = 4
HISTORIES: Final = 6
STEPS: Final = 12
PAGE: Final = 2

REACHED = "SELECT position FROM ticketing.projection_checkpoints WHERE projection = %s ORDER BY partition"

Connection = psycopg.Connection[Any]

every_history = pytest.mark.parametrize("number", range(HISTORIES))


class Partitioned:
    """A log whose partitions are applied a little at a time, each at a pace of its own."""

    def __init__(self, dsn: str, connection: Connection, number: int) -> None:
        self.events = eventful_histories(HISTORIES)[number]
        self.end = self.events[-1].position
        self.codes = [one.event.code for one in self.events if isinstance(one.event, ConcertAnnounced)]
        self.users = [wallet_of(one.stream) for one in self.events if isinstance(one.event, WalletOpened)]
        self._dsn = dsn
        self._connection = connection
        self._random = Random(number)
        register(connection, PARTITIONS)
        tables.write_log(connection, self.events)
        publish(connection, self.end, PARTITIONS)

    async def move(self) -> None:
        """Let one partition come further; now and then a projector moves on those that have nothing more."""
        reached = self.reached("queue")
        one = self._random.randrange(PARTITIONS)
        reached[one] = min(self.end, reached[one] + self._random.randint(1, self.end // 2))
        await asyncio.to_thread(project_to, self._dsn, reached)
        if self._random.random() < 0.3:
            await asyncio.to_thread(settle, self._dsn)

    async def finish(self) -> None:
        """Let all of them come to the end."""
        await asyncio.to_thread(project_to, self._dsn, [self.end] * PARTITIONS)

    def reached(self, projection: str) -> list[int]:
        """How far each partition has come."""
        return [position for (position,) in self._connection.execute(REACHED, [projection])]

    def state(self, stream: Stream[Any], position: int) -> Any:
        """What the log up to there says of a stream."""
        events = [one for one in self.events if one.stream == stream.name and one.position <= position]
        return evolved(nothing_known(stream), events).state


def wallet_of(stream: str) -> UserId:
    """Whose wallet it is."""
    return UserId(UUID(stream.removeprefix("wallet/")))


@pytest.fixture
def log(dsn: str, connection: Connection, number: int) -> Partitioned:
    return Partitioned(dsn, connection, number)


@asynccontextmanager
async def a_board(dsn: str) -> AsyncIterator[Board]:
    """A board that keeps itself fresh."""
    async with await connect(dsn) as connection:
        epochs = await read_epochs(connection)
    board = Board(dsn, ReadModels(dsn), epochs)
    running = asyncio.ensure_future(board.run())
    try:
        yield board
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running


async def until_it_shows(board: Board, reached: Sequence[int]) -> None:
    """Wait until the board stands where the read model does."""
    await until(lambda: list(board.reached_of(Board.QUEUE)) == list(reached))


def check_board(board: Board, log: Partitioned) -> None:
    """Each line is as the log says up to its position."""
    for code in log.codes:
        state: Queue = log.state(queue_aggregate.stream(code), board.position_of(Board.QUEUE, code))
        line = board.line(code)
        if line is None:
            assert state == queue_aggregate.QUEUE.initial
            continue
        assert (line.issued, line.head, line.active) == (state.issued, state.head, state.active)
        assert line.seats_left == state.seats_left
        shown: Concert = log.state(concert_aggregate.stream(code), board.position_of("concerts", code))
        assert line.sales == ("OPEN" if shown.sales_open else "CLOSED")


def tokens_on(board: Board) -> object:
    """Who is active and who left early, as the board has noted it."""
    left = {line.code: line.left for line in board.lines() if line.left}
    return board._active, left, board._showings, board._concerts


@every_history
def test_a_board_that_goes_on_shows_what_one_shows_that_begins(dsn: str, log: Partitioned) -> None:
    async def run() -> None:
        async with a_board(dsn) as followed:
            for _ in range(STEPS):
                await log.move()
                await until_it_shows(followed, log.reached(Board.QUEUE))
                check_board(followed, log)
            async with a_board(dsn) as begun:
                await until_it_shows(begun, log.reached(Board.QUEUE))
                check_board(begun, log)
                assert tokens_on(followed) == tokens_on(begun)
            await log.finish()
            await until_it_shows(followed, log.reached(Board.QUEUE))
            check_board(followed, log)

    asyncio.run(run())


@every_history
def test_the_timer_goes_on_with_what_it_would_begin_with(dsn: str, log: Partitioned) -> None:
    async def run() -> None:
        followed = Sales()
        async with await connect(dsn) as connection:
            for _ in range(STEPS):
                await log.move()
                await followed.refresh(connection)
                begun = Sales()
                await begun.refresh(connection)
                assert list(followed) == list(begun)
                assert followed.position == min(log.reached("queue"))

    asyncio.run(run())


@every_history
def test_an_answer_of_one_key_is_what_the_log_says_up_to_its_position(dsn: str, log: Partitioned) -> None:
    async def run() -> None:
        async with await connect(dsn) as connection:
            for _ in range(STEPS):
                await log.move()
                for code in log.codes:
                    line = await queue.find_line(connection, code)
                    state: Queue = log.state(queue_aggregate.stream(code), line.position)
                    if line.value is not None:
                        assert (line.value.issued, line.value.head) == (state.issued, state.head)
                for user_id in log.users:
                    found = await wallet_entries.find_wallet(connection, user_id)
                    wallet: Wallet = log.state(wallet_aggregate.stream(user_id), found.position)
                    assert wallet.balance == (found.value.balance if found.value else 0)

    asyncio.run(run())


Listed = PaymentFound | ReservationFound

ListPage = Callable[..., Awaitable[Found[Page[Any, int]]]]


@every_history
@pytest.mark.parametrize(
    ("list_page", "id_of"),
    [
        (payments.list_page, lambda listed: listed.payment_id),
        (reservations.list_page, lambda listed: listed.reservation_id),
    ],
    ids=["payments", "reservations"],
)
def test_who_pages_through_a_list_of_several_concerts_misses_nothing(
    dsn: str, log: Partitioned, list_page: ListPage, id_of: Callable[[Listed], object]
) -> None:
    """They go on after the last one that they have seen, while more of it comes."""
    seen: Mapping[UserId, list[object]] = {user_id: [] for user_id in log.users}
    after = dict.fromkeys(log.users, 0)

    async def read_on(connection: AsyncConnection[Any], user_id: UserId) -> int:
        found = await list_page(connection, user_id, after=after[user_id], limit=PAGE)
        for one in found.value.items:
            assert after[user_id] < one.position <= found.position
            after[user_id] = one.position
            seen[user_id].append(id_of(one))
        return len(found.value.items)

    async def run() -> None:
        async with await connect(dsn) as connection:
            for _ in range(STEPS):
                await log.move()
                for user_id in log.users:
                    await read_on(connection, user_id)
            await log.finish()
            for user_id in log.users:
                while await read_on(connection, user_id):
                    pass
                whole = await list_page(connection, user_id, limit=1_000)
                assert seen[user_id] == [id_of(one) for one in whole.value.items]

    asyncio.run(run())
