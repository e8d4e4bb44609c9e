"""Tokens: a user's place in line and, once active, the right to buy (rules Q2, Q5, Q6, Q7, S4, S5).

- Q2: no token is issued while that user's last one for the concert is live, lapsed or not.
- Q3: only a waiting token is activated. (Whether the gate may pass it, and Q4, is judged in `queues`.)
- Q5: an active token's deadline is its activation plus the policy's `active_ttl_s`; past it nothing is
  reserved, before it it does not expire, and it does not expire while it holds seats.
- Q6: an end is recorded once, and releases what the token holds in the same append; a token completes by
  paying for what it holds.
- Q7: only an active token reserves and pays, as far as a log can show it.
- S4: what a user holds and owns of one concert stays within the policy's `max_seats_per_user`.
- S5: a token that holds seats for one reservation takes none for another, lapsed or not.
- S3, P1, P4: what the token's stream tells of reservations and payments is laid beside the rest.
"""

from datetime import timedelta

from audit.books import Books
from audit.breaches import Rule
from audit.queues import judge_admission, judge_number
from audit.state import Token, Tokens
from audit.stored import (
    Nothing,
    OfPayment,
    TokenActivated,
    TokenIssued,
    TokenSeatsHeld,
    TokenSeatsReleased,
    TokenSeatsReturned,
)
from audit.topics import Topics


def issued(books: Books, tokens: Tokens, event: TokenIssued, position: int) -> None:
    """Q2: the user has no live token; L1 and Q1: the number is the next of an open sale."""
    if tokens.name != f"token/{event.code}/{event.user_id}":
        detail = f"the token is of {event.user_id} for {event.code}"
        books.breach("A1", tokens.name, [position], detail)
    if tokens.live is not None:
        detail = f"a token is issued while the one of number {tokens.live.number} has not ended"
        books.breach("Q2", tokens.name, [tokens.live.position, position], detail)
    judge_number(books, books.concert(tokens.partition_key), event.queue_number, position)
    tokens.live = Token(token_id=event.token_id, number=event.queue_number, position=position)


def activated(books: Books, tokens: Tokens, event: TokenActivated, position: int) -> None:
    """Q3: it waited; Q5: its deadline is what the policy says; L1 and Q4: there was room."""
    live = tokens.live
    if live is None or live.until is not None:
        books.breach("Q3", tokens.name, [position], "a token is let in that does not wait")
        return
    concert = books.concert(tokens.partition_key)
    if event.until != books.now + timedelta(seconds=concert.policy.active_ttl_s):
        detail = f"the token's deadline is not {concert.policy.active_ttl_s} s after it was let in"
        books.breach("Q5", tokens.name, [position], detail)
    live.until = event.until
    judge_admission(books, concert, live.number, position)


def seats_held(books: Books, tokens: Tokens, event: TokenSeatsHeld, position: int) -> None:
    """Q7, Q5, S5 and S4: an active token, in time, with nothing open, reserves within the limit."""
    live = tokens.live
    if live is None or live.until is None:
        books.breach("Q7", tokens.name, [position], "seats are reserved without an active token")
    elif live.until <= books.now:
        books.breach("Q5", tokens.name, [position], "seats are reserved after the token's deadline")
    if live is not None and live.reservation_id is not None:
        detail = f"seats are reserved while the reservation {live.reservation_id} is open"
        books.breach("S5", tokens.name, [position], detail)
    seats_max = books.concert(tokens.partition_key).policy.max_seats_per_user
    seats = len(event.seat_numbers) + sum(tokens.bought.values())
    if seats > seats_max:
        books.breach("S4", tokens.name, [position], f"the user has {seats} seats, of at most {seats_max}")
    opening = books.append.openings.at(event.reservation_id, position)
    opening.token = (tokens, live.token_id if live else "", event)
    if live is not None:
        live.reservation_id = event.reservation_id
        live.seat_numbers = event.seat_numbers


def seats_released(books: Books, tokens: Tokens, event: TokenSeatsReleased, position: int) -> None:
    """S3: the token held seats for this reservation, which ends in the same append."""
    books.append.endings.at(event.reservation_id, position)
    left = books.append.holding_at_end.get(tokens.name)
    if left is not None and left[0] == event.reservation_id:
        del books.append.holding_at_end[tokens.name]
        return
    live = tokens.live
    if live is None or live.reservation_id != event.reservation_id:
        detail = f"seats are released that the token does not hold, of the reservation {event.reservation_id}"
        books.breach("S3", tokens.name, [position], detail)
        return
    if not set(event.seat_numbers) <= set(live.seat_numbers):
        detail = f"the seats {event.seat_numbers} are released, of {live.seat_numbers} held"
        books.breach("S3", tokens.name, [position], detail)
    live.reservation_id = None
    live.seat_numbers = ()


def completed(books: Books, tokens: Tokens, event: OfPayment, position: int) -> None:
    """Q7 and P1: an active token ends by paying for the seats that it holds."""
    live = tokens.live
    sale = books.append.sales.at(event.payment_id, position)
    sale.token = (tokens, live.reservation_id if live else None)
    if live is not None:
        if live.until is None:
            books.breach("Q7", tokens.name, [position], "a token completes that was never let in")
        tokens.bought[event.payment_id] = len(live.seat_numbers)
        live.reservation_id = None
    _end(books, tokens, "Q6", position)


def expired(books: Books, tokens: Tokens, _event: Nothing, position: int) -> None:
    """Q5: an active token expires from its deadline on, and not while a reservation of its is open."""
    live = tokens.live
    if live is not None and (live.until is None or books.now < live.until):
        books.breach("Q5", tokens.name, [position], "a token expires that is not past a deadline")
    _end(books, tokens, "Q5", position)


def cancelled(books: Books, tokens: Tokens, _event: Nothing, position: int) -> None:
    """Q6: leaving ends the token, and releases what it holds."""
    _end(books, tokens, "Q6", position)


def _end(books: Books, tokens: Tokens, rule: Rule, position: int) -> None:
    """Q6: a token ends once; an active one frees its slot, a waiting one leaves its number to the gate."""
    live = tokens.live
    if live is None:
        books.breach("Q6", tokens.name, [position], "a token ends where none is live")
        return
    concert = books.concert(tokens.partition_key)
    if live.until is not None:
        books.tally(concert).freed_at.append(position)
    elif live.number > concert.queue.head:
        concert.queue.left_early.add(live.number)
    if live.reservation_id is not None:
        books.append.holding_at_end[tokens.name] = (live.reservation_id, rule, position)
    tokens.live = None


def seats_returned(books: Books, tokens: Tokens, event: TokenSeatsReturned, position: int) -> None:
    """P4: a refund takes its seats off the user's count (S4), once."""
    books.append.refunds.at(event.payment_id, position).tokens = (tokens, event.seat_numbers)
    bought = tokens.bought.pop(event.payment_id, None)
    if bought != len(event.seat_numbers):
        detail = f"{len(event.seat_numbers)} seats are returned, but the payment bought {bought or 'none'}"
        books.breach("P4", tokens.name, [position], detail)


def judge_append(books: Books) -> None:
    """Q5 and Q6: a token that ended has given up what it held by the end of the append."""
    for name, (reservation_id, rule, position) in books.append.holding_at_end.items():
        detail = f"the token ends while the reservation {reservation_id} is open"
        books.breach(rule, name, [position], detail)


TOPICS: Topics = {
    "token.issued": (TokenIssued, issued),
    "token.activated": (TokenActivated, activated),
    "token.seats_held": (TokenSeatsHeld, seats_held),
    "token.seats_released": (TokenSeatsReleased, seats_released),
    "token.completed": (OfPayment, completed),
    "token.seats_returned": (TokenSeatsReturned, seats_returned),
    "token.expired": (Nothing, expired),
    "token.cancelled": (Nothing, cancelled),
}
