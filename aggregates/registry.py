"""Every event there is, by its topic."""

from typing import Final, get_args

from aggregates import concert, payment, queue, reservation, seat, token, wallet
from aggregates.event import Event

AGGREGATES: Final = (
    concert.CONCERT,
    seat.SEAT,
    reservation.RESERVATION,
    wallet.WALLET,
    payment.PAYMENT,
    queue.QUEUE,
    token.TOKEN,
)

EVENT_TYPES: Final[dict[str, type[Event]]] = {
    event_type.topic: event_type
    for union in (
        concert.ConcertEvent,
        seat.SeatEvent,
        reservation.ReservationEvent,
        wallet.WalletEvent,
        payment.PaymentEvent,
        queue.QueueEvent,
        token.TokenEvent,
    )
    for event_type in get_args(union)
}
