"""A user's name is erased; wallet, payments and audit stay whole."""

from collections.abc import Iterator
from typing import Any

from aggregates import wallet
from aggregates.ids import UserId
from aggregates.stream import Stream
from commands.command import Command, Handler, Peek
from commands.unit_of_work import UnitOfWork


class EraseProfile(Command, frozen=True):
    """Erase what is known of a person; doing it again changes nothing."""

    user_id: UserId


def handle(command: EraseProfile, unit_of_work: UnitOfWork) -> None:
    """Erase the name. Raises UserNotFound."""
    wallet.opened(unit_of_work.load(wallet.stream(command.user_id)))
    unit_of_work.write_name(command.user_id, None)


def streams(command: EraseProfile, _peek: Peek) -> Iterator[Stream[Any]]:
    """The wallet, which tells whether the user exists."""
    yield wallet.stream(command.user_id)


HANDLER = Handler(handle, streams)
