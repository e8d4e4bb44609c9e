"""The gate: tokens are let in by number, as far as the policy has room (rules Q3, Q4, L1)."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import msgspec

from aggregates import concert, queue, token
from aggregates.ids import ConcertCode, UserId
from aggregates.stream import Stream
from commands.command import Command, Handler, Peek
from commands.unit_of_work import UnitOfWork, Visit


class Suggestion(msgspec.Struct, frozen=True):
    """Who is thought to stand in line with this number."""

    queue_number: int
    user_id: UserId


class LetIn(Command, frozen=True):
    """Let in whom there is room for. The suggestions may be stale or incomplete: the streams decide."""

    code: ConcertCode
    suggestions: tuple[Suggestion, ...]


def handle(command: LetIn, unit_of_work: UnitOfWork) -> int:
    """Return how many were let in.

    The gate passes a number by activating its token, or because that token's own stream shows that it has
    ended; it stops before the first number of which neither is so (Q3). Room is counted on the queue's own
    stream (Q4). While sales are closed nobody is let in (L1).
    """
    letting_in = concert.announced(unit_of_work.load(concert.stream(command.code)))
    line = unit_of_work.queue(command.code)
    if not letting_in.sales_open or line.queue.paused:
        return 0
    begun = concert.begun(letting_in, unit_of_work.now)
    room = queue.room(line, letting_in.policy, unit_of_work.now, begun)
    until = unit_of_work.now + timedelta(seconds=letting_in.policy.active_ttl_s)
    suggested = {suggestion.queue_number: suggestion.user_id for suggestion in command.suggestions}
    activated = 0
    while (user_id := suggested.get(line.queue.head + 1)) is not None:
        number = line.queue.head + 1
        stream = token.stream(command.code, user_id)
        tokens = unit_of_work.load(stream)
        if token.has_ended(tokens, number):
            line = unit_of_work.change_queue(command.code, queue.pass_ended)
        elif (live := token.waits_with(tokens, number)) is not None and activated < room:
            visit = Visit(command.code, live.token_id)
            unit_of_work.record(stream, [token.TokenActivated(until)], visit)
            line = unit_of_work.change_queue(command.code, queue.let_in)
            activated += 1
        else:
            break
    return activated


def streams(command: LetIn, _peek: Peek) -> Iterator[Stream[Any]]:
    """The concert, its queue, and the tokens of everyone suggested."""
    yield concert.stream(command.code)
    yield queue.stream(command.code)
    for suggestion in command.suggestions:
        yield token.stream(command.code, suggestion.user_id)


HANDLER = Handler(handle, streams)
