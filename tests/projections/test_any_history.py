"""Whatever happened, and however it was cut into batches: the read models show what the streams say."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from itertools import cycle
from typing import Any

import psycopg
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aggregates import concert, payment, queue, reservation, seat, token, wallet
from aggregates.concert import Performance
from aggregates.event import RecordedEvent
from aggregates.ids import PaymentId, ReservationId, TokenId, UserId
from aggregates.seat import Held, Sold
from projections import (
    concerts,
    deadlines,
    payments,
    reservations,
    seat_map,
    wallet_entries,
)
from projections import queue as queues
from projections.projector import Projector
from projections.registry import PROJECTIONS
from projections.seat_map import SeatStatus
from tests.aggregates.given import CODE
from tests.projections import tables
from tests.projections.histories import PEOPLE, Crowd, crowds
from tests.projections.read_models import ListFeed, ReadModels, catch_up, project, projecting

EXAMPLES = settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
"""The database of the fixture is emptied before each example."""

END = datetime.fromisoformat("9000-01-01T00:00:00+00:00")
"""When everything is due."""


class CutFeed(ListFeed):
    """Gives the log out in pieces of these sizes, over and over."""

    def __init__(self, events: Sequence[RecordedEvent], sizes: Sequence[int]) -> None:
        super().__init__(events)
        self._sizes = cycle(sizes)

    async def read(self, after: int, limit: int) -> Sequence[RecordedEvent]:
        return await super().read(after, min(limit, next(self._sizes)))


async def project_in_pieces(
    dsn: str, events: Sequence[RecordedEvent], sizes: Sequence[int], repeats: Sequence[tuple[int, int]]
) -> None:
    """Project piece by piece, and let a projection believe now and then that it stands further back."""
    async with projecting(Projector(dsn, CutFeed(events, sizes), PROJECTIONS)) as projector:
        for nth, back in repeats:
            await projector.advance()
            standing = projector.standings[PROJECTIONS[nth].name]
            standing.positions = {0: max(0, standing.position - back)}
        await catch_up(projector)


@EXAMPLES
@given(
    crowds(),
    st.lists(st.integers(1, 40), min_size=1, max_size=10),
    st.lists(st.tuples(st.integers(0, len(PROJECTIONS) - 1), st.integers(1, 40)), max_size=8),
)
def test_batches_may_be_cut_anywhere_and_repeated(
    dsn: str, crowd: Crowd, sizes: Sequence[int], repeats: Sequence[tuple[int, int]]
) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        tables.empty(connection)
        project(dsn, crowd.events)
        at_once = tables.projected(connection)

        tables.empty(connection)
        asyncio.run(project_in_pieces(dsn, crowd.events, sizes, repeats))

        assert tables.projected(connection) == at_once


@EXAMPLES
@given(crowds())
def test_read_models_show_what_the_streams_say(dsn: str, crowd: Crowd) -> None:
    with ReadModels(dsn, crowd.sale) as read_models:
        read_models.given()
        shows_concert(read_models)
        shows_queue(read_models)
        for user_id in PEOPLE:
            shows_tokens(read_models, user_id)
            shows_wallet(read_models, user_id)
        shows_reservations(read_models)
        shows_payments(read_models)
        for performance in read_models.sale.state(concert.stream(CODE)).performances.values():
            shows_seats(read_models, performance)


def shows_concert(read_models: ReadModels) -> None:
    state = read_models.sale.state(concert.stream(CODE))
    found = read_models.read(concerts.find, CODE)
    assert found is not None
    assert (found.policy, found.sales_open) == (state.policy, state.sales_open)
    days = [performance.date for performance in state.performances.values()]
    assert (found.first_date, found.last_date) == (min(days), max(days))


def shows_queue(read_models: ReadModels) -> None:
    state = read_models.sale.state(queue.stream(CODE))
    found = read_models.read(queues.find_line, CODE)
    assert found is not None
    assert (found.issued, found.head, found.active) == (state.issued, state.head, state.active)
    assert (found.paused, found.seats_left) == (state.paused, state.seats_left)
    everyone = read_models.read(queues.in_line, CODE, after=0, limit=1_000)
    assert [one.queue_number for one in everyone] == list(range(1, state.issued + 1))
    by_status = Counter(one.status.value.lower() for one in everyone)
    shown = {
        name: getattr(found, name) for name in ("waiting", "active", "completed", "expired", "cancelled")
    }
    assert {name: count for name, count in shown.items() if count} == by_status


def shows_tokens(read_models: ReadModels, user_id: UserId) -> None:
    state = read_models.sale.state(token.stream(CODE, user_id))
    for ended in state.ended:
        found = read_models.read(queues.find_token, ended.token_id)
        assert found is not None
        assert (found.status, found.queue_number) == (ended.status, ended.queue_number)
        assert found.reservation_id is None
    due = {one.token_id: one.due_at for one in read_models.read(deadlines.due_tokens, limit=99, now=END)}
    assert not {ended.token_id for ended in state.ended} & set(due)
    if state.live is not None:
        shows_live_token(read_models, state.live, due)


def shows_live_token(read_models: ReadModels, live: token.LiveToken, due: dict[TokenId, Any]) -> None:
    found = read_models.read(queues.find_token, live.token_id)
    assert found is not None
    assert (found.queue_number, found.activated_at) == (live.queue_number, live.activated_at)
    held = live.held
    assert (found.reservation_id, found.reservation_until) == (
        (held.reservation_id, held.until) if held else (None, None)
    )
    ends_at = token.ends_at(live, live.active_until) if live.active_until else None
    assert found.ends_at == ends_at == due.get(live.token_id)


def shows_wallet(read_models: ReadModels, user_id: UserId) -> None:
    state = read_models.sale.state(wallet.stream(user_id))
    found = read_models.read(wallet_entries.find_wallet, user_id)
    assert found is not None
    assert found.balance == state.balance
    balance = 0
    for entry in read_models.read(wallet_entries.list_page, user_id, limit=1_000).items:
        balance += -entry.amount if entry.type is wallet_entries.EntryType.DEBITED else entry.amount
        assert entry.balance == balance
    assert balance == state.balance


def shows_reservations(read_models: ReadModels) -> None:
    due = {hold.reservation_id for hold in read_models.read(deadlines.due_holds, limit=99, now=END)}
    for user_id in PEOPLE:
        for found in read_models.read(reservations.list_page, user_id, limit=1_000).items:
            state = read_models.sale.state(reservation.stream(ReservationId(found.reservation_id)))
            assert found.status == state.status
            assert tuple(found.seat_numbers) == state.opened.seat_numbers
            is_open = state.status is reservation.ReservationStatus.OPEN
            assert (found.reservation_id in due) is is_open


def shows_payments(read_models: ReadModels) -> None:
    revenue = 0
    for user_id in PEOPLE:
        for found in read_models.read(payments.list_page, user_id, limit=1_000).items:
            state = read_models.sale.state(payment.stream(PaymentId(found.payment_id)))
            assert (found.paid_at, found.refunded_at is not None) == (state.paid_at, state.refunded)
            assert (found.user_id, found.amount) == (user_id, state.attempt.amount)
            if found.status is payments.PaymentStatus.COMPLETED:
                revenue += found.amount
    assert read_models.read(payments.revenue, CODE) == revenue


def shows_seats(read_models: ReadModels, performance: Performance) -> None:
    found = read_models.read(seat_map.find, CODE, performance.name)
    assert found is not None
    for shown in found.seats():
        stream = seat.stream(CODE, performance.date, performance.start_time, shown.seat_number)
        match read_models.sale.state(stream):
            case Held(until=until):
                assert (shown.status, shown.held_until) == (SeatStatus.HELD, until)
            case Sold():
                assert (shown.status, shown.held_until) == (SeatStatus.SOLD, None)
            case _:
                assert (shown.status, shown.held_until) == (SeatStatus.AVAILABLE, None)
    by_status = Counter(shown.status for shown in found.seats())
    assert found.performance.seats_held == by_status[SeatStatus.HELD]
    assert found.performance.seats_sold == by_status[SeatStatus.SOLD]
    assert found.performance.seats_available == by_status[SeatStatus.AVAILABLE]
