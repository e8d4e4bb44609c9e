"""Tokens shown, and how they end: Q5, Q6, Q7."""

from typing import Any
from uuid import UUID

from tests.properties.model.append import Append, refuse
from tests.properties.model.world import Concert, Status, Token

ENDED = (Status.COMPLETED, Status.CANCELLED)


def stream(token: Token) -> str:
    """All tokens of that user for that concert."""
    return f"token/{token.code}/{token.user_id}"


def concert_of(append: Append, code: str) -> Concert:
    """A concert that was announced."""
    concert = append.world.concerts.get(code)
    return refuse("CONCERT_NOT_FOUND") if concert is None else concert


def require_live(append: Append, visit: Any, user_id: UUID) -> Token:
    """The token shown, of this user for this concert, waiting or active."""
    token = append.world.tokens.get(visit.token_id)
    if token is None or (token.user_id, token.code) != (user_id, visit.code):
        refuse("TOKEN_INVALID")
    if token.status in ENDED:
        refuse("TOKEN_ENDED")
    if token.status is Status.EXPIRED or token.out_of_time(append.now):
        refuse("TOKEN_EXPIRED")
    return token


def require_active(append: Append, visit: Any, user_id: UUID) -> Token:
    """Q7: only an active one may reserve and pay."""
    token = require_live(append, visit, user_id)
    if token.status is Status.WAITING:
        refuse("TOKEN_NOT_ACTIVE", place=token.number - append.world.concerts[token.code].head)
    return token


def end(append: Append, token: Token, status: Status, **payload: Any) -> None:
    """Q6: the append that records the end of an active token frees its slot."""
    append.gate(token.code).freed += token.status is Status.ACTIVE
    token.status = status
    topic = f"token.{status.lower()}"
    append.record(stream(token), topic, token, **payload)
