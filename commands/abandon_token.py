"""A token whose owner has not been heard from for too long is cancelled (rule Q8)."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from aggregates import concert, token
from aggregates.ids import TokenId, UserId
from aggregates.stream import Stream
from aggregates.token import TokenStatus
from commands.command import Command, Handler, Peek
from commands.settling import cancel_token, visit_streams
from commands.unit_of_work import UnitOfWork, Visit

ABANDONED = "abandoned"

ALLOWANCE_S = 10
"""What was heard is written every 5 s; so long a silence may be ours."""


class AbandonToken(Command, frozen=True):
    """Cancel the visit's token, if its owner has been silent for longer than the policy allows."""

    visit: Visit
    user_id: UserId


def handle(command: AbandonToken, unit_of_work: UnitOfWork) -> None:
    """Decide on what the tables beside the log say in this very batch; in doubt, for the buyer."""
    live = unit_of_work.load(token.stream(command.visit.code, command.user_id)).live
    if live is None or live.token_id != command.visit.token_id:
        return
    if token.status(live, unit_of_work.now) is TokenStatus.EXPIRED:
        return  # it has ended already (rule Q5), and is recorded as what it is
    policy = concert.announced(unit_of_work.load(concert.stream(command.visit.code))).policy
    waits = live.activated_at is None
    allowed_s = policy.abandon_waiting_after_s if waits else policy.abandon_active_after_s
    silent_since = unit_of_work.silent_since(live.token_id, live.activated_at or live.issued_at)
    if allowed_s is None or silent_since is None:
        return
    if silent_since + timedelta(seconds=allowed_s + ALLOWANCE_S) <= unit_of_work.now:
        cancel_token(unit_of_work, command.visit, command.user_id, live, ABANDONED)


def silence_of(command: AbandonToken) -> TokenId:
    """Whose silence is in question."""
    return command.visit.token_id


def streams(command: AbandonToken, peek: Peek) -> Iterator[Stream[Any]]:
    """The user's visit."""
    return visit_streams(command.visit.code, command.user_id, peek)


HANDLER = Handler(handle, streams, silence_of)
