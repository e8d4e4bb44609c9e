"""How events are stored: one JSON object each, with what every event carries around its payload."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import msgspec

from aggregates.event import Event, RecordedEvent
from aggregates.registry import EVENT_TYPES


class StoredForm(msgspec.Struct, frozen=True):
    """The `state` column of the log, before it is JSON."""

    stream: str
    partition_key: str
    recorded_at: datetime
    command_id: UUID
    correlation_id: UUID
    causation_id: UUID
    payload: Any


class _Read(StoredForm, frozen=True):
    recorded_at: Annotated[datetime, msgspec.Meta(tz=True)]  # one without a zone compares with no other
    payload: msgspec.Raw


class Upcast(msgspec.Struct, frozen=True):
    """How the payload of a retired topic becomes that of the topic which took its place."""

    topic: str
    payload: Callable[[Mapping[str, Any]], Mapping[str, Any]]


UPCASTS: Mapping[str, Upcast] = {}
"""By retired topic. No topic has been retired so far."""

_encode = msgspec.json.Encoder().encode
_decode_form = msgspec.json.Decoder(_Read).decode
_decode_payload = {
    topic: msgspec.json.Decoder(event_type).decode for topic, event_type in EVENT_TYPES.items()
}


class UnknownTopic(Exception):
    """The log holds an event that this version of the software does not know."""


def encode(form: StoredForm) -> bytes:
    """Write an event as it is stored."""
    return _encode(form)


def decode(
    position: int, version: int, topic: str, state: bytes, upcasts: Mapping[str, Upcast] = UPCASTS
) -> RecordedEvent:
    """Read a stored event; one of a retired topic comes back as what took its place.

    Raises UnknownTopic, and what msgspec raises for what is not an event: msgspec.DecodeError,
    UnicodeDecodeError or RecursionError.
    """
    return recorded(position, version, topic, _decode_form(state), upcasts)


def recorded(
    position: int,
    version: int,
    topic: str,
    form: StoredForm,
    upcasts: Mapping[str, Upcast] = UPCASTS,
) -> RecordedEvent:
    """Read an event of which the form has been read; raises like `decode`."""
    return RecordedEvent(
        position,
        form.stream,
        version,
        _event(topic, form.payload, upcasts),
        form.partition_key,
        form.recorded_at,
        form.command_id,
        form.correlation_id,
        form.causation_id,
    )


def decode_event(topic: str, payload: bytes, upcasts: Mapping[str, Upcast] = UPCASTS) -> Event:
    """Read the payload of an event; raises like `decode`."""
    return _event(topic, payload, upcasts)


def meant_by(topic: str, upcasts: Mapping[str, Upcast] = UPCASTS) -> type[Event] | None:
    """Return the class of events with this topic, or with the one that took its place; None if unknown."""
    while topic not in EVENT_TYPES:
        upcast = upcasts.get(topic)
        if upcast is None:
            return None
        topic = upcast.topic
    return EVENT_TYPES[topic]


def read_form(state: bytes) -> StoredForm:
    """Read what a stored event carries around its payload, which stays raw JSON."""
    return _decode_form(state)


def find_form(state: bytes) -> StoredForm | None:
    """Read what a stored event carries around its payload; None for what is no event."""
    try:
        return _decode_form(state)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _event(topic: str, payload: bytes | msgspec.Raw, upcasts: Mapping[str, Upcast]) -> Event:
    decode_payload = _decode_payload.get(topic)
    if decode_payload is not None:
        return decode_payload(payload)
    return _upcast(topic, msgspec.json.decode(payload), upcasts)


def _upcast(topic: str, payload: Mapping[str, Any], upcasts: Mapping[str, Upcast]) -> Event:
    while topic not in EVENT_TYPES:
        upcast = upcasts.get(topic)
        if upcast is None:
            raise UnknownTopic(topic)
        topic, payload = upcast.topic, upcast.payload(payload)
    return msgspec.convert(payload, EVENT_TYPES[topic])
