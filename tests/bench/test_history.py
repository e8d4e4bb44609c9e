"""A history that was written in bulk is one that requests could have made."""

from collections.abc import Sequence
from typing import Any

import pytest

import audit
from aggregates.event import RecordedEvent
from aggregates.ids import UserId
from aggregates.token import TokenIssued
from bench.growth import history
from bench.growth.history import History
from bench.growth.sale import users
from commands.charge_wallet import ChargeWallet
from commands.join_queue import JoinQueue
from tests.aggregates.given import CODE, token_of
from tests.commands.steps import registered
from tests.live_sale import LiveSale, on_sale

PEOPLE = users(1, 300)


@pytest.fixture
def grown(sale: LiveSale) -> LiveSale:
    """A sale in whose line somebody stands, and then very many more."""
    sale.done(on_sale(max_active=1, max_waiting=10_000), registered(PEOPLE[0]), join(PEOPLE[0]))
    written = History(sale.connection)
    written.open_wallets(PEOPLE[1:], charges=2)
    written.join(CODE, PEOPLE[1:-1], issued=1)
    return sale


def join(user_id: UserId) -> JoinQueue:
    return JoinQueue(CODE, user_id, token_of(user_id))


def test_the_audit_finds_it_clean(grown: LiveSale) -> None:
    grown.project()
    report = audit.run(grown.dsn)
    assert report.ok
    assert report.wallets.count == len(PEOPLE)


def test_the_next_command_goes_on_from_there(grown: LiveSale) -> None:
    grown.done(join(PEOPLE[-1]), ChargeWallet(PEOPLE[7], 500))
    assert grown.events(TokenIssued)[-1].queue_number == len(PEOPLE)
    grown.project()
    assert audit.run(grown.dsn).ok


def test_recorded_times_go_on_from_there(grown: LiveSale) -> None:
    grown.done(ChargeWallet(PEOPLE[7], 500))
    times = [event.recorded_at for event in grown.log()]
    assert times == sorted(times)


def test_an_append_has_what_the_bus_makes_of_the_same_commands(sale: LiveSale) -> None:
    sale.done(on_sale(max_active=1), *(registered(user_id) for user_id in PEOPLE[:6]))
    before = len(sale.log())
    sale.ask(*(join(user_id) for user_id in PEOPLE[:3]))
    by_requests = sale.log()[before:]
    History(sale.connection).join(CODE, PEOPLE[3:6], issued=3)
    in_bulk = sale.log()[before + len(by_requests) :]
    assert _shape(in_bulk) == _shape(by_requests)


@pytest.mark.parametrize(("commands", "transactions"), [(1, 1), (7, 2), (300, 300)])
def test_it_is_the_same_however_it_is_cut(
    sale: LiveSale, monkeypatch: pytest.MonkeyPatch, commands: int, transactions: int
) -> None:
    monkeypatch.setattr(history, "COMMANDS_PER_APPEND", commands)
    monkeypatch.setattr(history, "APPENDS_PER_TRANSACTION", transactions)
    sale.done(on_sale(max_active=1, max_waiting=10_000))
    written = History(sale.connection)
    count = written.open_wallets(PEOPLE) + written.join(CODE, PEOPLE[:100], issued=0)
    assert count == len(PEOPLE) + 100 + -(-100 // commands)
    assert [one.queue_number for one in sale.events(TokenIssued)] == list(range(1, 101))
    sale.project()
    assert audit.run(sale.dsn).ok


def _shape(events: Sequence[RecordedEvent]) -> Sequence[Any]:
    """What stays of events when ids, numbers and times are taken away, and what ids are alike."""
    assert len({event.recorded_at for event in events}) == 1
    return [
        (
            event.event.topic,
            event.stream.partition("/")[0],
            event.partition_key,
            event.correlation_id == getattr(event.event, "token_id", event.command_id),
            event.causation_id == event.command_id,
        )
        for event in events
    ]
