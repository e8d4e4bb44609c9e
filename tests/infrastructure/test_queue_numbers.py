"""Whose a queue number is can be told from the log alone, however long the line (rule Q3)."""

from uuid import UUID, uuid5

import pytest

from aggregates.ids import ConcertCode, UserId
from commands.announce_concert import AnnounceConcert
from commands.command import Command
from commands.join_queue import JoinQueue
from commands.run_sale import OpenSales
from infrastructure.queue_numbers import find_owner
from tests.aggregates.given import CODE, token_of
from tests.commands.steps import announce, registered
from tests.live_sale import LiveSale

OTHER = ConcertCode("OTHER-2026")


@pytest.fixture
def line(sale: LiveSale) -> list[UserId]:
    """Two lines that grow side by side, in appends of many sizes; the users of the first, by number."""
    users = [UserId(uuid5(UUID(int=0), str(number))) for number in range(150)]
    sale.done(announce(), OpenSales(CODE), other_concert(), OpenSales(OTHER))
    sale.ask(*(registered(user)[0] for user in users))
    position = 0
    for size in (1, 40, 1, 1, 7, 70, 30):
        joining = users[position : position + size]
        sale.ask(*(join(user, code) for user in joining for code in (OTHER, CODE)))
        position += size
    return users


def test_every_number_has_its_owner(sale: LiveSale, line: list[UserId]) -> None:
    found = [sale.read(find_owner, CODE, number) for number in range(1, len(line) + 1)]
    assert found == line


def test_a_number_that_was_not_issued_has_none(sale: LiveSale, line: list[UserId]) -> None:
    assert sale.read(find_owner, CODE, len(line) + 1) is None
    assert sale.read(find_owner, ConcertCode("NOBODY-2026"), 1) is None


def join(user_id: UserId, code: ConcertCode) -> Command:
    return JoinQueue(code, user_id, token_of(user_id))


def other_concert() -> AnnounceConcert:
    one = announce()
    return AnnounceConcert(
        OTHER, one.title, one.description, one.category, one.venue, one.time_zone, one.policy
    )
