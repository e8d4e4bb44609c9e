"""Every event there is, by its topic."""

from typing import Any, Final, get_args

from aggregates import concert, payment, queue, reservation, seat, token, wallet
from aggregates.event import Event, RecordedEvent
from aggregates.stream import Stream, stream_id

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

_BY_KIND: Final = {aggregate.kind: aggregate for aggregate in AGGREGATES}

_OF_VISITS: Final = {reservation.RESERVATION.kind, payment.PAYMENT.kind}
"""Their streams have no partition key of their own."""


def stream_of(recorded: RecordedEvent) -> Stream[Any]:
    """Name the stream of an event as its aggregate's own `stream` does."""
    kind = recorded.stream.partition("/")[0]
    partition_key = "" if kind in _OF_VISITS else recorded.partition_key
    return Stream(recorded.stream, _BY_KIND[kind], partition_key, stream_id(recorded.stream))
