"""Poison: projections that cannot apply chosen events, until they are healed."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, LiteralString

import msgspec

from aggregates.event import RecordedEvent
from projections.projection import Projection, Write

FAILING: LiteralString = "SELECT 1 / 0 FROM (SELECT %s::json) AS rows"


class _Nothing(msgspec.Struct):
    pass


class Poison:
    """The positions of the events that cannot be applied: those at odd ones in memory, the others in SQL."""

    def __init__(self, positions: Iterable[int] = ()) -> None:
        self.positions = set(positions)
        self.tried: list[tuple[str, int]] = []
        """Each time that one was met, by the projection's name."""

    def heal(self) -> None:
        """From now on everything can be applied."""
        self.positions.clear()

    def into(self, projection: Projection[Any]) -> Projection[Any]:
        """The same projection, but for the poison."""
        original: Any = projection.batch

        class Batch(original):  # type: ignore[misc]  # whichever it is
            def __init__(self) -> None:
                super().__init__()
                self.poison: list[_Nothing] = []

            def writes(self) -> Sequence[Write]:
                return [*super().writes(), Write(FAILING, self.poison)]

        handlers = {
            event_type: self._meeting(projection.name, handler)
            for event_type, handler in projection.handlers.items()
        }
        return projection._replace(batch=Batch, handlers=handlers)

    def _meeting(self, name: str, handler: Callable[..., None]) -> Callable[..., None]:
        def handle(batch: Any, event: Any, recorded: RecordedEvent) -> None:
            if recorded.position in self.positions:
                self.tried.append((name, recorded.position))
                if recorded.position % 2:
                    raise ValueError(f"{recorded.position} is poison")
                batch.poison.append(_Nothing())
            handler(batch, event, recorded)

        return handle
