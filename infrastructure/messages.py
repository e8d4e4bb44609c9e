"""Messages: the events of the log as they stand on a Kafka topic, and back.

They are CloudEvents 1.0 in Kafka's binary mode: the value is the event's payload as it is stored, and all
else that the log knows of it stands in headers, `ce_…`. The same event always makes the same message, so a
repeat is recognised by its id. Each names the position of the message before it in its partition: whoever
has not seen that one knows that something is missing.
"""

from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache
from typing import NamedTuple
from uuid import UUID

import msgspec

from aggregates.event import RecordedEvent
from infrastructure import codec
from infrastructure.codec import StoredForm

SPECVERSION = "1.0"
SOURCE = "/ticketing"

JSON, OPAQUE = "application/json", "application/octet-stream"
"""What the value is: an event's payload, or what is stored where an event cannot be made out."""

IS_JSON, IS_OPAQUE = ("content-type", JSON.encode()), ("content-type", OPAQUE.encode())

SAME_FOR_ALL = (("ce_specversion", SPECVERSION.encode()), ("ce_source", SOURCE.encode()))

Headers = Sequence[tuple[str, bytes]]


class StoredRow(NamedTuple):
    """An event as it is stored."""

    position: int
    version: int
    topic: str
    state: bytes


class Place(NamedTuple):
    """Where a message stands in the topic."""

    epoch: str
    """The epoch of the log in which its event was recorded."""
    partition: int
    previous_position: int
    """The event before it in its partition, 0 if none: nothing of the partition stands between them."""


class Whose(NamedTuple):
    """Where an event belongs whose envelope cannot be read."""

    stream_id: UUID
    partition_key: str


class Message(NamedTuple):
    """An event as it is published."""

    position: int
    partition: int
    key: bytes
    value: bytes
    headers: Headers


class Received(NamedTuple):
    """A message as it was received."""

    position: int
    previous_position: int
    epoch: str
    recorded: RecordedEvent | None
    """None where this version of the software cannot make it out; the log says what it is."""


class NotOurs(Exception):
    """A message that does not come from this service's relay."""


class _Headers(msgspec.Struct, rename=lambda field: f"ce_{field.replace('_', '')}"):
    specversion: str
    source: str
    type: str
    subject: str
    position: int
    previous_position: int
    stream_version: int
    epoch: str
    partition_key: str
    time: datetime | None = None
    command_id: UUID | None = None
    correlation_id: UUID | None = None
    causation_id: UUID | None = None


def message(row: StoredRow, form: StoredForm, place: Place) -> Message:
    """Make the message of a stored event; `form` is its state, read with `codec.find_form`."""
    headers = [
        *_headers(row, IS_JSON, form.stream, form.partition_key, place),
        ("ce_time", _in_words(form.recorded_at)),
        ("ce_commandid", str(form.command_id).encode()),
        ("ce_correlationid", str(form.correlation_id).encode()),
        ("ce_causationid", str(form.causation_id).encode()),
    ]
    return Message(row.position, place.partition, form.partition_key.encode(), bytes(form.payload), headers)


def opaque_message(row: StoredRow, whose: Whose, place: Place) -> Message:
    """Make the message of what is stored and is no event: it travels as it is, in its place."""
    headers = _headers(row, IS_OPAQUE, str(whose.stream_id), whose.partition_key, place)
    return Message(row.position, place.partition, whose.partition_key.encode(), bytes(row.state), headers)


def received(value: bytes | None, headers: Headers) -> Received:
    """Read a message. Raises NotOurs for one of somebody else's."""
    try:
        words = {name: text.decode() for name, text in headers}
        said = msgspec.convert(words, _Headers, strict=False)
    except (msgspec.ValidationError, UnicodeDecodeError, AttributeError) as error:
        raise NotOurs(str(error)) from error
    if (said.specversion, said.source) != (SPECVERSION, SOURCE):
        raise NotOurs(f"CloudEvents {said.specversion} from {said.source}")
    recorded = None if words.get("content-type") != JSON or value is None else _recorded(said, value)
    return Received(said.position, said.previous_position, said.epoch, recorded)


def _headers(
    row: StoredRow, content_type: tuple[str, bytes], subject: str, partition_key: str, place: Place
) -> list[tuple[str, bytes]]:
    epoch = place.epoch.encode()
    return [
        content_type,
        *SAME_FOR_ALL,
        ("ce_id", b"%b/%d" % (epoch, row.position)),
        ("ce_type", row.topic.encode()),
        ("ce_subject", subject.encode()),
        ("ce_position", b"%d" % row.position),
        ("ce_previousposition", b"%d" % place.previous_position),
        ("ce_streamversion", b"%d" % row.version),
        ("ce_epoch", epoch),
        ("ce_partitionkey", partition_key.encode()),
    ]


@lru_cache(maxsize=1_024)
def _in_words(instant: datetime) -> bytes:
    """As JSON has it: RFC 3339. All events of an append share it."""
    return msgspec.json.encode(instant).strip(b'"')


def _recorded(said: _Headers, payload: bytes) -> RecordedEvent | None:
    if said.time is None or said.command_id is None:
        return None
    if said.correlation_id is None or said.causation_id is None:
        return None
    try:
        event = codec.decode_event(said.type, payload)
    except Exception:  # noqa: BLE001 (the log tells what is wrong, also with what an upcast makes of it)
        return None
    return RecordedEvent(
        said.position,
        said.subject,
        said.stream_version,
        event,
        said.partition_key,
        said.time,
        said.command_id,
        said.correlation_id,
        said.causation_id,
    )
