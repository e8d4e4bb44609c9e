"""What the timer knows of every concert: its policy and its line, kept up to date with what changes."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from psycopg import AsyncConnection

from aggregates.ids import ConcertCode
from projections import checkpoints, concerts, queue
from projections.concerts import ConcertFound
from projections.queue import Line


class Sale(NamedTuple):
    """One concert as the read models tell it."""

    concert: ConcertFound
    line: Line

    @property
    def changed_position(self) -> int:
        """Where the log last changed anything about it."""
        return max(self.concert.changed_position, self.line.changed_position)


class Sales:
    """All concerts, read once and then only as they change."""

    def __init__(self) -> None:
        self._concerts: dict[ConcertCode, ConcertFound] = {}
        self._lines: dict[ConcertCode, Line] = {}
        self._concerts_position = self._lines_position = 0
        self._amended = 0

    @property
    def position(self) -> int:
        """Up to where the lines reflect the log."""
        return self._lines_position

    def __iter__(self) -> Iterator[Sale]:
        """Go through the concerts by code."""
        for code in sorted(self._lines.keys() & self._concerts.keys()):
            yield Sale(self._concerts[code], self._lines[code])

    async def refresh(self, connection: AsyncConnection[Any]) -> None:
        """Read what has changed."""
        places = await checkpoints.places(connection, [concerts.PROJECTION, queue.PROJECTION])
        amended = sum(place.amended for place in places.values())
        if amended != self._amended:
            self._start_over()
            self._amended = amended
        changed_concerts = await concerts.changed_since(connection, self._concerts_position)
        changed_lines = await queue.lines_changed_since(connection, self._lines_position)
        if (
            changed_concerts.position < self._concerts_position
            or changed_lines.position < self._lines_position
        ):
            self._start_over()
            return
        self._concerts.update((concert.code, concert) for concert in changed_concerts.value)
        self._lines.update((line.code, line) for line in changed_lines.value)
        self._concerts_position, self._lines_position = changed_concerts.position, changed_lines.position

    def _start_over(self) -> None:
        """Forget everything: the read models stand at an earlier place, or were changed behind it."""
        self._concerts.clear()
        self._lines.clear()
        self._concerts_position = self._lines_position = 0
