"""Standing in line, being let in, leaving: Q1 to Q8, L1."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from tests.properties.model import holds, tokens
from tests.properties.model.append import Append, refuse
from tests.properties.model.tokens import concert_of, require_live
from tests.properties.model.wallets import Results, wallet_of
from tests.properties.model.world import Concert, Status, Token

SILENCE_ALLOWANCE_S = 10


def join_queue(append: Append, code: str, user_id: UUID, token_id: UUID) -> Results:
    """Q1, Q2."""
    wallet_of(append, user_id)
    concert = concert_of(append, code)
    token = concert.live_token_of(user_id)
    if token is not None and not token.out_of_time(append.now):
        return _standing(append, concert, token, created=False)
    reasons: list[str] = []
    if not concert.open:
        reasons.append("SALES_NOT_OPEN")
    if len(concert.line) - concert.head >= concert.policy["max_waiting"]:
        reasons.append("QUEUE_FULL")
    if reasons:
        refuse(*reasons)
    if token is not None:
        holds.settle(append, token)
    return _standing(append, concert, _issue(append, concert, user_id, token_id), created=True)


def _issue(append: Append, concert: Concert, user_id: UUID, token_id: UUID) -> Token:
    token = Token(token_id, user_id, concert.code, len(concert.line) + 1, append.now)
    concert.line.append(token)
    append.world.tokens[token_id] = token
    append.gate(concert.code).issued.append(token.number)
    append.record(
        tokens.stream(token),
        "token.issued",
        token,
        token_id=token_id,
        user_id=user_id,
        code=concert.code,
        queue_number=token.number,
    )
    return token


def _standing(append: Append, concert: Concert, token: Token, *, created: bool) -> Results:
    unsold = append.gate(concert.code).unsold
    return {
        "token_id": token.id,
        "user_id": token.user_id,
        "code": concert.code,
        "queue_number": token.number,
        "status": token.status.value,
        "issued_at": token.issued_at,
        "expires_at": token.ends_at,
        "head": concert.head,
        "issued": len(concert.line),
        "sales_open": concert.open,
        "sold_out": not any(unsold[name] for name in unsold if not concert.shows[name].withdrawn),
        "created": created,
    }


def leave_queue(append: Append, visit: Any, user_id: UUID) -> Results:
    """Q6."""
    holds.cancel(append, require_live(append, visit, user_id), "left")
    return {}


def let_in(append: Append, code: str, suggestions: Sequence[Any]) -> int:
    """Q3, Q4, L1: read models only suggest whom to let in."""
    concert = concert_of(append, code)
    suggested = {suggestion.queue_number: suggestion.user_id for suggestion in suggestions}
    let_in = 0
    while concert.open and not concert.paused and concert.head < len(concert.line):
        following = concert.line[concert.head]
        if suggested.get(following.number) != following.user_id:
            break
        if following.status is Status.WAITING:
            if room(append, concert) == 0:
                break
            _activate(append, concert, following)
            let_in += 1
        concert.head += 1
    return let_in


def room(append: Append, concert: Concert) -> int:
    """Q4: how many more may be let in at this instant."""
    gate, policy = append.gate(concert.code), concert.policy
    limits = [len(concert.line) - concert.head]
    if policy["max_active"] is not None:
        limits.append(policy["max_active"] - gate.active)
    if policy["admit_up_to_seats_left"]:
        seats = sum(
            count for name, count in gate.unsold.items() if append.now < concert.shows[name].starts_at
        )
        limits.append(seats - gate.active)
    if policy["admit_per_interval"] is not None:
        since = append.now - timedelta(seconds=policy["admit_interval_s"])
        limits.append(policy["admit_per_interval"] - sum(since <= at for at in concert.activations))
    return max(0, min(limits))


def _activate(append: Append, concert: Concert, token: Token) -> None:
    token.status, token.activated_at = Status.ACTIVE, append.now
    token.until = append.now + timedelta(seconds=concert.policy["active_ttl_s"])
    concert.activations.append(append.now)
    gate = append.gate(concert.code)
    gate.active += 1
    gate.activated += 1
    append.record(tokens.stream(token), "token.activated", token, until=token.until)


def record_expiry(append: Append, visit: Any, user_id: UUID) -> Results:
    """Q5, S2: by the timer; where nothing has run out, nothing changes."""
    token = append.world.tokens.get(visit.token_id)
    if token is not None and token.live:
        holds.settle(append, token)
    return {}


def abandon_token(append: Append, visit: Any, user_id: UUID) -> Results:
    """Q8: nobody is cancelled for a silence that could not be heard."""
    token, since = append.world.tokens.get(visit.token_id), append.world.listening_since
    if token is None or not token.live or token.out_of_time(append.now) or since is None:
        return {}
    policy = append.world.concerts[token.code].policy
    waits = token.status is Status.WAITING
    allowed_s = policy["abandon_waiting_after_s" if waits else "abandon_active_after_s"]
    last = max(since, token.activated_at or token.issued_at, append.world.heard.get(token.id, since))
    if allowed_s is not None and last + timedelta(seconds=allowed_s + SILENCE_ALLOWANCE_S) <= append.now:
        holds.cancel(append, token, "abandoned")
    return {}
