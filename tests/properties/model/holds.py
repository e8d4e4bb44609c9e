"""How reservations end unpaid: S2, S3, Q5."""

from tests.properties.model import tokens, wallets
from tests.properties.model.append import Append
from tests.properties.model.world import Reservation, Show, Status, Token

EXPIRED = "expired"


def seat_stream(code: str, show: Show, number: int) -> str:
    """Of one seat."""
    return f"seat/{code}/{show.name}/{number}"


def end_hold(append: Append, reservation: Reservation, reason: str) -> None:
    """S3: settle the seats that are still its own, the reservation, and the token."""
    token, show = reservation.token, reservation.show
    for number in reservation.seat_numbers:
        if show.holds.get(number) is reservation:
            give_up(append, reservation, number, reason)
    reservation.status = Status.EXPIRED if reason == EXPIRED else Status.CANCELLED
    why = {} if reason == EXPIRED else {"reason": reason}
    topic = f"reservation.{reservation.status.lower()}"
    append.record(f"reservation/{reservation.id}", topic, token, **why)
    token.open = None
    append.record(
        tokens.stream(token),
        "token.seats_released",
        token,
        reservation_id=reservation.id,
        seat_numbers=reservation.seat_numbers,
        reason=reason,
    )
    wallets.resume(append, reservation)


def give_up(append: Append, reservation: Reservation, number: int, reason: str) -> None:
    """S2: record that one hold is over, within the visit that it belonged to."""
    token = reservation.token
    del reservation.show.holds[number]
    topic = "seat.hold_expired" if reason == EXPIRED else "seat.hold_released"
    why = {} if reason == EXPIRED else {"reason": reason}
    append.record(
        seat_stream(token.code, reservation.show, number),
        topic,
        token,
        reservation_id=reservation.id,
        **why,
    )


def settle(append: Append, token: Token) -> None:
    """Record what has run out: the token's hold, then the token."""
    if token.open is not None and token.open.until <= append.now:
        end_hold(append, token.open, EXPIRED)
    end_if_out_of_time(append, token)


def end_if_out_of_time(append: Append, token: Token) -> None:
    """Q5: a token whose reservation is open past its deadline ends with the reservation."""
    if token.out_of_time(append.now) and token.open is None:
        tokens.end(append, token, Status.EXPIRED)


def cancel(append: Append, token: Token, reason: str) -> None:
    """Q6: end a token before its time, with what it holds."""
    if token.open is not None:
        end_hold(append, token.open, EXPIRED if token.open.until <= append.now else reason)
    tokens.end(append, token, Status.CANCELLED, reason=reason)
