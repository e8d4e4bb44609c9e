"""What every event has in common: it is immutable, in the past tense, and has a topic for ever."""

from datetime import datetime
from typing import ClassVar
from uuid import UUID

import msgspec


class Event(msgspec.Struct, frozen=True):
    """Something that happened to one aggregate.

    `topic` names the event in the log. It is written out, never a Python path, so that moving a class
    does not touch what is stored. A topic never changes its meaning; fields are only added, with defaults.
    """

    topic: ClassVar[str]


class RecordedEvent(msgspec.Struct, frozen=True):
    """An event at its place in the log, with all that the log knows about it."""

    position: int
    """Its place among all events, increasing, with gaps."""
    stream: str
    """The stream's readable name."""
    version: int
    """Its place in its stream: 1, 2, 3, … without gaps."""
    event: Event
    partition_key: str
    recorded_at: datetime
    """The append's instant by the database's clock: shared by the events of one append, and by no others."""
    command_id: UUID
    """The command that caused it; a merged event carries its batch's id."""
    correlation_id: UUID
    """The token id for everything within a visit, else as `command_id`."""
    causation_id: UUID
    """The request, or the timer's round, that sent the command."""
