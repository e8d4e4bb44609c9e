"""What several use cases share: recording the end of holds, of reservations and of tokens.

When a reservation ends, each of its seats, the reservation, the token and the wallet are settled together,
skipping what has ended already or seats that others took since (rule S3). The append that records the end of
an active token frees its slot (rule Q6).
"""

from collections.abc import Iterator
from typing import Any

from aggregates import concert, queue, reservation, seat, token, wallet
from aggregates.ids import ConcertCode, ReservationId, UserId
from aggregates.stream import Stream
from aggregates.token import HeldSeats, LiveToken
from commands.command import Peek
from commands.unit_of_work import UnitOfWork, Visit

EXPIRED = "expired"


def visit_streams(code: ConcertCode, user_id: UserId, peek: Peek) -> Iterator[Stream[Any]]:
    """The streams of one user's visit to one concert, with what its open reservation holds."""
    tokens_stream = token.stream(code, user_id)
    yield from (tokens_stream, concert.stream(code), queue.stream(code))
    tokens = peek(tokens_stream)
    if tokens is None or tokens.live is None or tokens.live.held is None:
        return
    yield wallet.stream(user_id)
    yield from reservation_streams(tokens.live.held.reservation_id, peek)


def reservation_streams(reservation_id: ReservationId, peek: Peek) -> Iterator[Stream[Any]]:
    """The streams of a reservation and of its seats."""
    reservation_stream = reservation.stream(reservation_id)
    yield reservation_stream
    known = peek(reservation_stream)
    if known is not None and known.opened is not None:
        yield from seat_streams(known.opened)


def seat_streams(opened: reservation.ReservationOpened) -> list[Stream[seat.Seat]]:
    """The streams of a reservation's seats."""
    return [
        seat.stream(opened.code, opened.date, opened.start_time, number) for number in opened.seat_numbers
    ]


def settle_lapsed(unit_of_work: UnitOfWork, visit: Visit, user_id: UserId, live: LiveToken) -> None:
    """Record what has run out by now: the token's hold, then the token itself (rules S2, S5, Q5)."""
    if live.held is not None and live.held.until <= unit_of_work.now:
        end_hold(unit_of_work, visit, user_id, live.held, EXPIRED)
    end_if_out_of_time(unit_of_work, visit, user_id)


def end_if_out_of_time(unit_of_work: UnitOfWork, visit: Visit, user_id: UserId) -> None:
    """Q5: record the end of an active token past its deadline that no open reservation keeps alive."""
    stream = token.stream(visit.code, user_id)
    live = unit_of_work.load(stream).live
    if live is not None and (ended := token.end_of_time(live, unit_of_work.now)):
        unit_of_work.record(stream, ended, visit)
        unit_of_work.change_queue(visit.code, queue.free_slot)


def end_hold(unit_of_work: UnitOfWork, visit: Visit, user_id: UserId, held: HeldSeats, reason: str) -> None:
    """Settle a reservation that ends without being paid (rule S3)."""
    reservation_stream = reservation.stream(held.reservation_id)
    ending = unit_of_work.load(reservation_stream)
    if ending.opened is None:
        raise AssertionError("a hold belongs to a reservation")
    for stream in seat_streams(ending.opened):
        state = unit_of_work.load(stream)
        if reason == EXPIRED:
            unit_of_work.record(stream, seat.expire(state, held.reservation_id), visit)
        else:
            unit_of_work.record(stream, seat.release(state, held.reservation_id, reason), visit)
    ended = reservation.expire(ending) if reason == EXPIRED else reservation.cancel(ending, reason)
    unit_of_work.record(reservation_stream, ended, visit)
    released = token.TokenSeatsReleased(held.reservation_id, held.seat_numbers, reason)
    unit_of_work.record(token.stream(visit.code, user_id), [released], visit)
    resume_charging(unit_of_work, visit, user_id, held)


def resume_charging(unit_of_work: UnitOfWork, visit: Visit, user_id: UserId, held: HeldSeats) -> None:
    """W3: lift what the reservation had forbidden."""
    stream = wallet.stream(user_id)
    resumed = wallet.resume_charging(unit_of_work.load(stream), held.reservation_id)
    unit_of_work.record(stream, resumed, visit)


def cancel_token(
    unit_of_work: UnitOfWork, visit: Visit, user_id: UserId, live: LiveToken, reason: str
) -> None:
    """Q6: end a token before its time, with what it holds."""
    if live.held is not None:
        lapsed = live.held.until <= unit_of_work.now
        end_hold(unit_of_work, visit, user_id, live.held, EXPIRED if lapsed else reason)
    unit_of_work.record(token.stream(visit.code, user_id), [token.TokenCancelled(reason)], visit)
    if live.active_until is not None:
        unit_of_work.change_queue(visit.code, queue.free_slot)


def require_active(unit_of_work: UnitOfWork, visit: Visit, user_id: UserId) -> LiveToken:
    """Q7: return the visit's token if it is active.

    Raises TokenExpired, TokenEnded, TokenInvalid, or TokenNotActive with its place in line.
    """
    tokens = unit_of_work.load(token.stream(visit.code, user_id))
    live = token.find_live(tokens, visit.token_id, unit_of_work.now)
    if live.active_until is None:
        raise queue.still_waiting(unit_of_work.queue(visit.code).queue, live.queue_number)
    return live
