"""A user joins the waiting line of a concert, or asks for their place in it."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import msgspec

from aggregates import concert, queue, token, wallet
from aggregates.concert import Concert
from aggregates.ids import ConcertCode, TokenId, UserId
from aggregates.queue import Queue
from aggregates.stream import Stream
from aggregates.token import LiveToken, TokenStatus
from commands.command import Command, Handler, Peek
from commands.settling import settle_lapsed, visit_streams
from commands.unit_of_work import UnitOfWork, Visit


class JoinQueue(Command, frozen=True):
    """Stand in line; `token_id` is the new token's, should one be issued."""

    code: ConcertCode
    user_id: UserId
    token_id: TokenId


class Standing(msgspec.Struct, frozen=True):
    """A live token, and the line it stands in, at one place in the log."""

    token_id: TokenId
    user_id: UserId
    code: ConcertCode
    queue_number: int
    status: TokenStatus
    issued_at: datetime
    expires_at: datetime | None
    head: int
    issued: int
    sales_open: bool
    sold_out: bool
    created: bool


def handle(command: JoinQueue, unit_of_work: UnitOfWork) -> Standing:
    """Q2: return the live token, place unchanged; otherwise issue the next number (Q1).

    A token past its deadline is recorded as expired first. Raises UserNotFound, ConcertNotFound,
    SalesNotOpen, QueueFull.
    """
    wallet.opened(unit_of_work.load(wallet.stream(command.user_id)))
    joined = concert.announced(unit_of_work.load(concert.stream(command.code)))
    stream = token.stream(command.code, command.user_id)
    live = unit_of_work.load(stream).live
    if live is not None and token.status(live, unit_of_work.now) is not TokenStatus.EXPIRED:
        return _standing(command, live, joined, unit_of_work, created=False)
    concert.require_sales_open(joined)
    line = unit_of_work.change_queue(command.code, queue.issue_number, joined.policy).queue
    if live is not None:
        settle_lapsed(unit_of_work, Visit(command.code, live.token_id), command.user_id, live)
    issued = token.TokenIssued(command.token_id, command.user_id, command.code, line.issued)
    unit_of_work.record(stream, [issued], Visit(command.code, command.token_id))
    fresh = LiveToken(command.token_id, line.issued, unit_of_work.now)
    return _standing(command, fresh, joined, unit_of_work, created=True)


def _standing(
    command: JoinQueue, live: LiveToken, joined: Concert, unit_of_work: UnitOfWork, *, created: bool
) -> Standing:
    line: Queue = unit_of_work.queue(command.code).queue
    expires_at = token.ends_at(live, live.active_until) if live.active_until else None
    return Standing(
        token_id=live.token_id,
        user_id=command.user_id,
        code=command.code,
        queue_number=live.queue_number,
        status=token.status(live, unit_of_work.now),
        issued_at=live.issued_at,
        expires_at=expires_at,
        head=line.head,
        issued=line.issued,
        sales_open=joined.sales_open,
        sold_out=line.seats_left == 0,
        created=created,
    )


def streams(command: JoinQueue, peek: Peek) -> Iterator[Stream[Any]]:
    """The wallet, and the user's visit."""
    yield wallet.stream(command.user_id)
    yield from visit_streams(command.code, command.user_id, peek)


HANDLER = Handler(handle, streams)
