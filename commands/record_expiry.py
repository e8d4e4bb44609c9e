"""The timer records what has run out: a hold, and the token that ends with it or by itself (S2, Q5)."""

from collections.abc import Iterator
from typing import Any

from aggregates import token
from aggregates.ids import UserId
from aggregates.stream import Stream
from commands.command import Command, Handler, Peek
from commands.settling import settle_lapsed, visit_streams
from commands.unit_of_work import UnitOfWork, Visit


class RecordExpiry(Command, frozen=True):
    """Settle what has lapsed of this visit; where nothing has, nothing changes."""

    visit: Visit
    user_id: UserId


def handle(command: RecordExpiry, unit_of_work: UnitOfWork) -> None:
    """Record the lapsed hold's end, then the token's, if this token still lives."""
    live = unit_of_work.load(token.stream(command.visit.code, command.user_id)).live
    if live is not None and live.token_id == command.visit.token_id:
        settle_lapsed(unit_of_work, command.visit, command.user_id, live)


def streams(command: RecordExpiry, peek: Peek) -> Iterator[Stream[Any]]:
    """The user's visit."""
    return visit_streams(command.visit.code, command.user_id, peek)


HANDLER = Handler(handle, streams)
