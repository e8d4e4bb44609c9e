"""Reservations: taking seats, looking at what one has, giving it up."""

from datetime import datetime

from aggregates.errors import ReservationNotFound
from aggregates.ids import ReservationId, StartTime
from aggregates.reservation import ReservationStatus
from api import paging
from api.call import Call, Rendered, Reply, json_reply
from api.endpoint import Access, Operation
from api.views import Page, PageQuery, ReservationView, ReserveRequest
from commands.fresh_ids import fresh_id
from commands.release_reservation import ReleaseReservation
from commands.reserve import Reserve, Reserved
from projections import reservations

ACTIVE_TOKEN_ERRORS = ("TOKEN_EXPIRED", "TOKEN_ENDED", "TOKEN_NOT_ACTIVE")


async def reserve(call: Call[ReserveRequest, None]) -> Reply:
    """Hold seats for the token's owner: all of them or none."""
    wanted = call.body
    start_time = None if wanted.start_time is None else StartTime(wanted.start_time)
    command = Reserve(
        call.visit, call.claims.sub, ReservationId(fresh_id()), wanted.date, start_time, wanted.seat_numbers
    )
    return await call.execute(command, _rendered, caller=call.claims.sub)


def _rendered(reserved: Reserved) -> Rendered:
    view = ReservationView(
        reservation_id=reserved.reservation_id,
        user_id=reserved.user_id,
        concert_code=reserved.code,
        date=reserved.date,
        start_time=reserved.start_time,
        seat_numbers=reserved.seat_numbers,
        amount=reserved.amount,
        status=ReservationStatus.OPEN,
        hold_expires_at=reserved.until,
        payment_id=None,
        created_at=reserved.created_at,
        cancelled_at=None,
    )
    return Rendered(201, view)


async def release(call: Call[None, None]) -> Reply:
    """Give up the seats of an open reservation."""
    reservation_id = ReservationId(call.uuid("reservation_id"))
    command = ReleaseReservation(call.visit, call.claims.sub, reservation_id)
    return await call.execute(command, lambda _: Rendered(204), caller=call.claims.sub)


async def look(call: Call[None, None]) -> Reply:
    """Answer with one reservation of the token's owner."""
    reservation_id = ReservationId(call.uuid("reservation_id"))
    found = await call.read(reservations.PROJECTION, reservations.find, reservation_id)
    reservation = found.value
    if reservation is None or reservation.user_id != call.claims.sub:
        raise ReservationNotFound
    return json_reply(200, _view(reservation, call.services.board.now()), found.position)


async def list_of_user(call: Call[None, PageQuery]) -> Reply:
    """Answer with a user's reservations, oldest first."""
    found = await call.read(
        reservations.PROJECTION,
        reservations.list_page,
        call.user_id,
        after=paging.place(call.query.after),
        limit=call.query.limit,
    )
    now = call.services.board.now()
    return paging.page_reply(found, lambda reservation: _view(reservation, now))


def _view(reservation: reservations.ReservationFound, now: datetime) -> ReservationView:
    """S2: at its deadline a reservation is over, whether or not that has been recorded."""
    is_over = reservation.status is ReservationStatus.OPEN and reservation.hold_expires_at <= now
    return ReservationView(
        reservation_id=reservation.reservation_id,
        user_id=reservation.user_id,
        concert_code=reservation.code,
        date=reservation.date,
        start_time=reservation.start_time,
        seat_numbers=tuple(reservation.seat_numbers),
        amount=reservation.amount,
        status=ReservationStatus.EXPIRED if is_over else reservation.status,
        hold_expires_at=reservation.hold_expires_at,
        payment_id=reservation.payment_id,
        created_at=reservation.created_at,
        cancelled_at=reservation.cancelled_at,
    )


OPERATIONS = [
    Operation(
        "POST",
        "/api/v1/concerts/{code}/reservations",
        "Hold seats",
        reserve,
        {201: ReservationView},
        access=Access.TOKEN,
        body=ReserveRequest,
        errors=(
            *ACTIVE_TOKEN_ERRORS,
            "CONCERT_NOT_FOUND",
            "SALES_NOT_OPEN",
            "PERFORMANCE_NOT_FOUND",
            "PERFORMANCE_AMBIGUOUS",
            "PERFORMANCE_STARTED",
            "SEAT_NOT_FOUND",
            "RESERVATION_ALREADY_OPEN",
            "SEAT_LIMIT_EXCEEDED",
            "SEAT_ALREADY_SOLD",
            "SEAT_ALREADY_HELD",
        ),
        example={"date": "2027-03-01", "start_time": "19:00", "seat_numbers": [7, 8]},
        command=True,
    ),
    Operation(
        "GET",
        "/api/v1/reservations/{reservation_id}",
        "Look at a reservation",
        look,
        {200: ReservationView},
        access=Access.TOKEN,
        errors=("RESERVATION_NOT_FOUND",),
    ),
    Operation(
        "DELETE",
        "/api/v1/reservations/{reservation_id}",
        "Release a reservation",
        release,
        {204: None},
        access=Access.TOKEN,
        errors=("RESERVATION_NOT_FOUND", "TOKEN_MISMATCH", "RESERVATION_NOT_OPEN"),
        command=True,
    ),
    Operation(
        "GET",
        "/api/v1/users/{user_id}/reservations",
        "List a user's reservations",
        list_of_user,
        {200: Page[ReservationView]},
        query=PageQuery,
    ),
]
