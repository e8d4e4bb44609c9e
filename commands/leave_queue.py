"""A user leaves: out of the line, or out of the sale."""

from collections.abc import Iterator
from typing import Any

from aggregates import token
from aggregates.ids import UserId
from aggregates.stream import Stream
from commands.command import Command, Handler, Peek
from commands.settling import cancel_token, visit_streams
from commands.unit_of_work import UnitOfWork, Visit

LEFT = "left"


class LeaveQueue(Command, frozen=True):
    """End the visit's token, with what it holds."""

    visit: Visit
    user_id: UserId


def handle(command: LeaveQueue, unit_of_work: UnitOfWork) -> None:
    """Q6: end the token and release its holds. Raises TokenExpired, TokenEnded, TokenInvalid."""
    tokens = unit_of_work.load(token.stream(command.visit.code, command.user_id))
    live = token.find_live(tokens, command.visit.token_id, unit_of_work.now)
    cancel_token(unit_of_work, command.visit, command.user_id, live, LEFT)


def streams(command: LeaveQueue, peek: Peek) -> Iterator[Stream[Any]]:
    """The user's visit."""
    return visit_streams(command.visit.code, command.user_id, peek)


HANDLER = Handler(handle, streams)
