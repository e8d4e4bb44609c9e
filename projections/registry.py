"""Every projection there is, in the order in which their checkpoints are locked."""

from collections.abc import Sequence
from typing import Any, Final

from projections import concerts, deadlines, payments, queue, reservations, seat_map, wallet_entries
from projections.projection import Projection

PROJECTIONS: Final[Sequence[Projection[Any]]] = (
    concerts.PROJECTION,
    seat_map.PROJECTION,
    queue.PROJECTION,
    reservations.PROJECTION,
    payments.PROJECTION,
    wallet_entries.PROJECTION,
    deadlines.PROJECTION,
)
