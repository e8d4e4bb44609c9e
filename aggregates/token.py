"""Token: a user's place in a queue and, once active, the right to buy.

One stream holds all tokens of one user for one concert: at most one is live (rule Q2), the others have ended.
"""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import ClassVar

import msgspec

from aggregates.errors import (
    ReservationAlreadyOpen,
    SeatLimitExceeded,
    TokenEnded,
    TokenExpired,
    TokenInvalid,
)
from aggregates.event import Event
from aggregates.ids import ConcertCode, PaymentId, ReservationId, TokenId, UserId
from aggregates.stream import Aggregate, Stream, remembered
from aggregates.stream import stream as named_stream


class TokenIssued(Event, frozen=True):
    topic: ClassVar[str] = "token.issued"
    token_id: TokenId
    user_id: UserId
    code: ConcertCode
    queue_number: int


class TokenActivated(Event, frozen=True):
    topic: ClassVar[str] = "token.activated"
    until: datetime


class TokenSeatsHeld(Event, frozen=True):
    topic: ClassVar[str] = "token.seats_held"
    reservation_id: ReservationId
    seat_numbers: tuple[int, ...]
    until: datetime


class TokenSeatsReleased(Event, frozen=True):
    topic: ClassVar[str] = "token.seats_released"
    reservation_id: ReservationId
    seat_numbers: tuple[int, ...]
    reason: str


class TokenCompleted(Event, frozen=True):
    topic: ClassVar[str] = "token.completed"
    payment_id: PaymentId


class TokenSeatsReturned(Event, frozen=True):
    topic: ClassVar[str] = "token.seats_returned"
    payment_id: PaymentId
    seat_numbers: tuple[int, ...]


class TokenExpiredRecorded(Event, frozen=True):
    """The token's time to buy ran out (the error of that name tells its owner)."""

    topic: ClassVar[str] = "token.expired"


class TokenCancelled(Event, frozen=True):
    topic: ClassVar[str] = "token.cancelled"
    reason: str


TokenEvent = (
    TokenIssued
    | TokenActivated
    | TokenSeatsHeld
    | TokenSeatsReleased
    | TokenCompleted
    | TokenSeatsReturned
    | TokenExpiredRecorded
    | TokenCancelled
)


class TokenStatus(StrEnum):
    """Where a token stands."""

    WAITING = "WAITING"
    ACTIVE = "ACTIVE"
    COMPLETED = "COMPLETED"
    EXPIRED = "EXPIRED"
    CANCELLED = "CANCELLED"


class HeldSeats(msgspec.Struct, frozen=True):
    """The seats that a token's open reservation holds."""

    reservation_id: ReservationId
    seat_numbers: tuple[int, ...]
    until: datetime


class LiveToken(msgspec.Struct, frozen=True):
    """A token whose end has not been recorded."""

    token_id: TokenId
    queue_number: int
    issued_at: datetime
    activated_at: datetime | None = None
    active_until: datetime | None = None
    """None while it waits."""
    held: HeldSeats | None = None
    last_reservation_id: ReservationId | None = None
    """The reservation it made last, open or ended."""


class EndedToken(msgspec.Struct, frozen=True):
    """A token whose end has been recorded."""

    token_id: TokenId
    queue_number: int
    status: TokenStatus


class Tokens(msgspec.Struct, frozen=True):
    """All tokens of one user for one concert, as their stream tells them."""

    live: LiveToken | None = None
    ended: tuple[EndedToken, ...] = ()
    owned: Mapping[PaymentId, int] = {}
    """How many seats each payment bought that was not refunded (rule S4)."""


def evolve(tokens: Tokens, event: TokenEvent, at: datetime) -> Tokens:
    """Return the tokens after `event`, which was recorded `at`."""
    replace = msgspec.structs.replace
    live = tokens.live
    match event:
        case TokenIssued(token_id=token_id, queue_number=queue_number):
            return replace(tokens, live=LiveToken(token_id, queue_number, issued_at=at))
        case TokenSeatsReturned(payment_id=payment_id):
            owned = {id_: count for id_, count in tokens.owned.items() if id_ != payment_id}
            return replace(tokens, owned=owned)
        case _ if live is None:
            return tokens
        case TokenActivated(until=until):
            return replace(tokens, live=replace(live, activated_at=at, active_until=until))
        case TokenSeatsHeld(reservation_id=reservation_id, seat_numbers=seat_numbers, until=until):
            held = HeldSeats(reservation_id, seat_numbers, until)
            return replace(tokens, live=replace(live, held=held, last_reservation_id=reservation_id))
        case TokenSeatsReleased():
            return replace(tokens, live=replace(live, held=None))
        case TokenCompleted(payment_id=payment_id):
            count = len(live.held.seat_numbers) if live.held else 0
            bought = replace(tokens, owned={**tokens.owned, payment_id: count})
            return _ended(bought, live, TokenStatus.COMPLETED)
        case TokenExpiredRecorded():
            return _ended(tokens, live, TokenStatus.EXPIRED)
        case TokenCancelled():
            return _ended(tokens, live, TokenStatus.CANCELLED)


def _ended(tokens: Tokens, live: LiveToken, status: TokenStatus) -> Tokens:
    ended = EndedToken(live.token_id, live.queue_number, status)
    return msgspec.structs.replace(tokens, live=None, ended=(*tokens.ended, ended))


TOKEN = Aggregate("token", Tokens(), evolve, Tokens)


@remembered
def stream(code: ConcertCode, user_id: UserId) -> Stream[Tokens]:
    """The stream `token/{code}/{user_id}`."""
    return named_stream(TOKEN, f"{code}/{user_id}", code)


def status(live: LiveToken, now: datetime) -> TokenStatus:
    """Q5: where a live token stands at `now`, whether or not its end has been recorded.

    While a reservation of its is open past its own deadline, it stays active.
    """
    if live.active_until is None:
        return TokenStatus.WAITING
    return TokenStatus.ACTIVE if now < ends_at(live, live.active_until) else TokenStatus.EXPIRED


def ends_at(live: LiveToken, active_until: datetime) -> datetime:
    """When an active token ends: at its deadline, or with its open reservation if that is later (Q5)."""
    return max(active_until, live.held.until) if live.held else active_until


def find_live(tokens: Tokens, token_id: TokenId, now: datetime) -> LiveToken:
    """Return the token shown, if it waits or is active.

    Raises TokenExpired or TokenEnded as Q5 and Q6 say, TokenInvalid for one that was never issued.
    """
    live = tokens.live
    if live is not None and live.token_id == token_id:
        if status(live, now) is TokenStatus.EXPIRED:
            raise TokenExpired
        return live
    for ended in tokens.ended:
        if ended.token_id == token_id:
            raise TokenExpired if ended.status is TokenStatus.EXPIRED else TokenEnded(ended.status)
    raise TokenInvalid


def require_before_deadline(live: LiveToken, now: datetime) -> None:
    """Q5: past its own deadline a token may not reserve, even while it stays active. Raises TokenExpired."""
    if live.active_until is not None and live.active_until <= now:
        raise TokenExpired


def require_none_open(live: LiveToken, now: datetime) -> None:
    """S5: raise ReservationAlreadyOpen while a hold of this token is live."""
    if live.held is not None and now < live.held.until:
        raise ReservationAlreadyOpen(live.held.reservation_id)


def require_within_limit(tokens: Tokens, more: int, seats_max: int) -> None:
    """S4: raise SeatLimitExceeded where `more` seats would be too many. There is no live hold besides."""
    if sum(tokens.owned.values()) + more > seats_max:
        raise SeatLimitExceeded(seats_max)


def has_ended(tokens: Tokens, queue_number: int) -> bool:
    """Q3: does this stream show that its token of that number has ended?"""
    return any(token.queue_number == queue_number for token in tokens.ended)


def waits_with(tokens: Tokens, queue_number: int) -> LiveToken | None:
    """Q3: the token of that number, if it waits."""
    live = tokens.live
    if live is not None and live.queue_number == queue_number and live.active_until is None:
        return live
    return None


def end_of_time(live: LiveToken, now: datetime) -> list[TokenEvent]:
    """Q5: record the end of an active token whose time ran out and whose reservation has been settled."""
    lapsed = live.active_until is not None and live.active_until <= now and live.held is None
    return [TokenExpiredRecorded()] if lapsed else []
