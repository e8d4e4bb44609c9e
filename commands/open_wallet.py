"""A user registers: their wallet is opened, and their name is kept beside the log."""

from collections.abc import Iterator
from typing import Any

import msgspec

from aggregates import wallet
from aggregates.ids import UserId
from aggregates.stream import Stream
from commands.command import Command, Handler, Peek
from commands.unit_of_work import UnitOfWork


class OpenWallet(Command, frozen=True):
    """Register a user; the same user again changes nothing."""

    user_id: UserId
    name: str | None


class WalletOpen(msgspec.Struct, frozen=True):
    """The user's wallet, and whether it is new."""

    user_id: UserId
    balance: int
    created: bool


def handle(command: OpenWallet, unit_of_work: UnitOfWork) -> WalletOpen:
    """Open the wallet unless it is open; the name of a user who exists stays as it is."""
    stream = wallet.stream(command.user_id)
    opened = wallet.open_wallet(unit_of_work.load(stream))
    if opened:
        unit_of_work.record(stream, opened)
        unit_of_work.write_name(command.user_id, command.name)
    return WalletOpen(command.user_id, unit_of_work.load(stream).balance, created=bool(opened))


def streams(command: OpenWallet, _peek: Peek) -> Iterator[Stream[Any]]:
    """The wallet."""
    yield wallet.stream(command.user_id)


HANDLER = Handler(handle, streams)
