"""A user gives up the seats of an open reservation."""

from collections.abc import Iterator
from typing import Any

from aggregates import reservation, token
from aggregates.errors import ReservationNotOpen, TokenMismatch
from aggregates.ids import ReservationId, UserId
from aggregates.stream import Stream
from commands.command import Command, Handler, Peek
from commands.settling import end_hold, end_if_out_of_time, visit_streams
from commands.unit_of_work import UnitOfWork, Visit

RELEASED = "released"


class ReleaseReservation(Command, frozen=True):
    """Release the holds of the visit's reservation."""

    visit: Visit
    user_id: UserId
    reservation_id: ReservationId


def handle(command: ReleaseReservation, unit_of_work: UnitOfWork) -> None:
    """Settle the reservation as cancelled; past the token's own deadline it ends with it (Q5).

    Raises ReservationNotFound, TokenMismatch, ReservationNotOpen.
    """
    releasing = unit_of_work.load(reservation.stream(command.reservation_id))
    opened = reservation.owned(releasing, command.user_id)
    if opened.code != command.visit.code:
        raise TokenMismatch
    live = unit_of_work.load(token.stream(opened.code, command.user_id)).live
    held = live.held if live is not None else None
    if held is None or held.reservation_id != command.reservation_id or held.until <= unit_of_work.now:
        raise ReservationNotOpen
    visit = Visit(opened.code, opened.token_id)
    end_hold(unit_of_work, visit, command.user_id, held, RELEASED)
    end_if_out_of_time(unit_of_work, visit, command.user_id)


def streams(command: ReleaseReservation, peek: Peek) -> Iterator[Stream[Any]]:
    """The reservation, and the user's visit."""
    yield reservation.stream(command.reservation_id)
    yield from visit_streams(command.visit.code, command.user_id, peek)


HANDLER = Handler(handle, streams)
