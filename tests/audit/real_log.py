"""What the real handlers recorded on a log in memory, as it would be stored."""

from uuid import UUID, uuid5

from aggregates.event import RecordedEvent
from infrastructure.codec import StoredForm, encode
from tests.audit.log_builder import StoredRow

STREAMS = UUID("7c1d9a52-3b0e-5f64-9a77-1f2f0c8e4b10")


def stored(recorded: RecordedEvent) -> StoredRow:
    """One event as a row of the log's table."""
    form = StoredForm(
        recorded.stream,
        recorded.partition_key,
        recorded.recorded_at,
        recorded.command_id,
        recorded.correlation_id,
        recorded.causation_id,
        recorded.event,
    )
    id_ = uuid5(STREAMS, recorded.stream).bytes
    return recorded.position, id_, recorded.version, recorded.event.topic, encode(form)
