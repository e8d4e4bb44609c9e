"""What `concerts` must show: each concert with its policy, and whether its sale is open."""

from collections.abc import Mapping

import msgspec

from audit.read_models.table import Emit, Expectation, Follow, Table, json_text
from audit.stored import ConcertAnnounced, Nothing, PerformanceScheduled, PolicyChanged, Stored


class Concert(msgspec.Struct):
    """A row of `concerts`."""

    code: str
    title: str
    description: str
    category: str
    venue: str
    time_zone: str
    policy: str
    sales_open: bool
    first_date: str | None
    last_date: str | None
    changed_position: int


CONCERTS = Table("concerts", "concerts", Concert, as_text=("first_date", "last_date"))


class Concerts(Expectation):
    """Follows the concerts' streams."""

    def __init__(self, emit: Emit) -> None:
        """Start before the first event."""
        super().__init__(emit)
        self._concerts: dict[str, Concert] = {}

    def follows(self) -> Mapping[str, Follow]:
        """All events of a concert."""
        return {
            "concert.announced": self._announced,
            "concert.performance_scheduled": self._performance_scheduled,
            "concert.policy_changed": self._policy_changed,
            "concert.sales_opened": self._sales_opened,
            "concert.sales_closed": self._sales_closed,
        }

    def finish(self) -> None:
        """A concert is never over."""
        for concert in self._concerts.values():
            self.emit(CONCERTS, concert)

    def _announced(self, stored: Stored[ConcertAnnounced], position: int) -> None:
        event = stored.payload
        self._concerts[event.code] = Concert(
            code=event.code,
            title=event.title,
            description=event.description,
            category=event.category,
            venue=event.venue,
            time_zone=event.time_zone,
            policy=json_text(event.policy),
            sales_open=False,
            first_date=None,
            last_date=None,
            changed_position=position,
        )

    def _performance_scheduled(self, stored: Stored[PerformanceScheduled], position: int) -> None:
        concert, date = self._changed(stored.partition_key, position), stored.payload.date
        if concert is not None:
            concert.first_date = min(date, concert.first_date or date)
            concert.last_date = max(date, concert.last_date or date)

    def _policy_changed(self, stored: Stored[PolicyChanged], position: int) -> None:
        concert = self._changed(stored.partition_key, position)
        if concert is not None:
            concert.policy = json_text(stored.payload.policy)

    def _sales_opened(self, stored: Stored[Nothing], position: int) -> None:
        concert = self._changed(stored.partition_key, position)
        if concert is not None:
            concert.sales_open = True

    def _sales_closed(self, stored: Stored[Nothing], position: int) -> None:
        concert = self._changed(stored.partition_key, position)
        if concert is not None:
            concert.sales_open = False

    def _changed(self, code: str, position: int) -> Concert | None:
        concert = self._concerts.get(code)
        if concert is not None:
            concert.changed_position = position
        return concert
