"""A user charges their wallet."""

from collections.abc import Iterator
from typing import Any

import msgspec

from aggregates import token, wallet
from aggregates.errors import TokenMissing
from aggregates.ids import UserId
from aggregates.stream import Stream
from commands.command import Command, Handler, Peek
from commands.unit_of_work import UnitOfWork, Visit


class ChargeWallet(Command, frozen=True):
    """Add `amount` won. `visit` is the token shown, for services where charging needs one."""

    user_id: UserId
    amount: int
    visit: Visit | None = None


class WalletChargedResult(msgspec.Struct, frozen=True):
    """What was charged, and what the wallet holds now, in won."""

    user_id: UserId
    amount: int
    balance: int


def handle(command: ChargeWallet, unit_of_work: UnitOfWork) -> WalletChargedResult:
    """Charge the wallet.

    Raises UserNotFound, AmountOutOfRange, ChargeNotAllowedWhileHolding, BalanceLimitExceeded, and the
    errors of a token that does not live where charging needs one.
    """
    stream = wallet.stream(command.user_id)
    charging = wallet.opened(unit_of_work.load(stream))
    if unit_of_work.rules.wallet_needs_token:
        _require_live_token(command, unit_of_work)
    charged = wallet.charge(charging, command.amount, unit_of_work.rules.charge_limits, unit_of_work.now)
    unit_of_work.record(stream, charged, command.visit)
    return WalletChargedResult(command.user_id, command.amount, unit_of_work.load(stream).balance)


def _require_live_token(command: ChargeWallet, unit_of_work: UnitOfWork) -> None:
    if command.visit is None:
        raise TokenMissing
    tokens = unit_of_work.load(token.stream(command.visit.code, command.user_id))
    token.find_live(tokens, command.visit.token_id, unit_of_work.now)


def streams(command: ChargeWallet, _peek: Peek) -> Iterator[Stream[Any]]:
    """The wallet, and the tokens of the visit."""
    yield wallet.stream(command.user_id)
    if command.visit is not None:
        yield token.stream(command.visit.code, command.user_id)


HANDLER = Handler(handle, streams)
