"""The AsyncAPI 3 document of the topic, written from the classes of the events and from real messages."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final

import msgspec

from aggregates.event import Event
from aggregates.registry import EVENT_TYPES
from infrastructure import codec, event_examples
from infrastructure.messages import JSON, OPAQUE, SOURCE, SPECVERSION, Message, Place, StoredRow, message

ASYNCAPI: Final = "3.0.0"
KAFKA_BINDING: Final = "0.5.0"
"""The version of AsyncAPI's description of Kafka."""

TOPIC: Final = "ticketing.events"
"""As the setting TICKETING_KAFKA_TOPIC has it."""

CHANNEL: Final = "events"
UNREADABLE: Final = "unreadable"

DESCRIPTION: Final = """\
Every event of the log, in the order of the log within each partition key, at least once. They are
CloudEvents 1.0 in Kafka's binary mode: the value is the event's payload, all else stands in headers. The log
is the truth, the topic may be short-lived. Fields are only added; pass over fields and types that you do not
know.
"""

SCHEMA_REFS: Final = "#/components/schemas/{name}"

DIGITS: Final = "^(0|[1-9][0-9]*)$"
UUID: Final = {"type": "string", "format": "uuid"}

HEADERS: Final[Mapping[str, Mapping[str, Any]]] = {
    "content-type": {"type": "string", "enum": [JSON, OPAQUE], "description": "What the value is."},
    "ce_specversion": {"type": "string", "const": SPECVERSION},
    "ce_id": {
        "type": "string",
        "pattern": "^[0-9a-f-]{36}/[1-9][0-9]*$",
        "description": "The epoch and the position: the same for ever, by it a repeat is recognised.",
    },
    "ce_source": {"type": "string", "const": SOURCE},
    "ce_type": {"type": "string", "description": "The event's topic in the log: what happened."},
    "ce_subject": {"type": "string", "description": "The event's stream, such as `queue/SPRING-27`."},
    "ce_position": {
        "type": "string",
        "pattern": "^[1-9][0-9]*$",
        "description": "The event's place in the log: increasing within a partition, with gaps.",
    },
    "ce_previousposition": {
        "type": "string",
        "pattern": DIGITS,
        "description": "The event before it in its partition, 0 for none: by it a hole is seen.",
    },
    "ce_streamversion": {
        "type": "string",
        "pattern": "^[1-9][0-9]*$",
        "description": "The event's place in its stream: 1, 2, 3, … without gaps.",
    },
    "ce_epoch": {
        **UUID,
        "description": "Of the log, when the event was recorded; another one after a restore.",
    },
    "ce_partitionkey": {
        "type": "string",
        "description": "The concert's code, for a wallet's events the user.",
    },
    "ce_time": {"type": "string", "format": "date-time", "description": "When it was recorded."},
    "ce_commandid": {**UUID, "description": "The command that caused it."},
    "ce_correlationid": {**UUID, "description": "The token's id for all within a visit, else the command's."},
    "ce_causationid": {**UUID, "description": "The request, or the timer's round, that sent the command."},
}

HEADERS_OF_EVENTS_ONLY: Final = ("ce_time", "ce_commandid", "ce_correlationid", "ce_causationid")
"""They are missing where an event's envelope cannot be read."""

SASL: Final = ("plain", "scramSha256", "scramSha512")

SECURITY_SCHEMES: Final[Mapping[str, Mapping[str, Any]]] = {
    "plain": {"type": "plain", "description": "TICKETING_KAFKA_SASL_MECHANISM=plain"},
    "scramSha256": {"type": "scramSha256", "description": "TICKETING_KAFKA_SASL_MECHANISM=scram-sha-256"},
    "scramSha512": {"type": "scramSha512", "description": "TICKETING_KAFKA_SASL_MECHANISM=scram-sha-512"},
    "certificate": {"type": "X509", "description": "TICKETING_KAFKA_TLS_CERT, where brokers ask for one."},
}

SERVERS: Final = (
    ("plaintext", "kafka", ()),
    ("ssl", "kafka-secure", ("certificate",)),
    ("sasl_plaintext", "kafka", SASL),
    ("sasl_ssl", "kafka-secure", SASL),
)
"""By the values of TICKETING_KAFKA_SECURITY_PROTOCOL."""

EXAMPLE_PLACE: Final = Place("5b1f3a52-4a0c-4c0e-9a65-0d2f1a7b6c33", 2, 41_205)
EXAMPLE_POSITION, EXAMPLE_VERSION = 41_207, 3


def document(version: str, topic: str = TOPIC) -> dict[str, Any]:
    """Describe the topic: its messages, with the schema of each, and how it is reached."""
    return {
        "asyncapi": ASYNCAPI,
        "info": {"title": "Ticketing events", "version": version, "description": DESCRIPTION},
        "defaultContentType": JSON,
        "servers": {name: _server(name, protocol, schemes) for name, protocol, schemes in SERVERS},
        "channels": {CHANNEL: _channel(topic)},
        "operations": {
            "publish": {
                "action": "send",
                "channel": {"$ref": f"#/channels/{CHANNEL}"},
                "summary": "The relay publishes the log; nobody else writes to the topic.",
            }
        },
        "components": {
            "messages": {
                **{event.topic: _message(event) for event in _examples()},
                UNREADABLE: _unreadable(),
            },
            "schemas": {**_headers(), **_payloads()},
            "securitySchemes": SECURITY_SCHEMES,
        },
    }


def example(event: Event) -> Message:
    """Return the message of an event as it could stand on the topic."""
    form = event_examples.stored(event)
    state = codec.encode(form)
    row = StoredRow(EXAMPLE_POSITION, EXAMPLE_VERSION, event.topic, state)
    return message(row, codec.read_form(state), EXAMPLE_PLACE)


def _examples() -> Iterable[Event]:
    """In the order of the registry, so that an event without an example is missed."""
    by_topic = {event.topic: event for event in event_examples.EXAMPLES}
    return [by_topic[topic] for topic in EVENT_TYPES]


def _server(name: str, protocol: str, schemes: Iterable[str]) -> dict[str, Any]:
    server = {
        "host": "{broker}",
        "protocol": protocol,
        "description": f"Brokers with TICKETING_KAFKA_SECURITY_PROTOCOL={name}",
        "variables": {
            "broker": {"default": "localhost:9092", "description": "One of those in TICKETING_KAFKA."}
        },
    }
    security = [{"$ref": f"#/components/securitySchemes/{scheme}"} for scheme in schemes]
    return {**server, "security": security} if security else server


def _channel(topic: str) -> dict[str, Any]:
    return {
        "address": topic,
        "title": "The log",
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in (*EVENT_TYPES, UNREADABLE)},
        "bindings": {
            "kafka": {
                "topic": topic,
                "topicConfiguration": {"cleanup.policy": ["delete"]},
                "bindingVersion": KAFKA_BINDING,
            }
        },
    }


def _message(event: Event) -> dict[str, Any]:
    shown = example(event)
    headers = {
        "allOf": [_ref("Headers"), {"type": "object", "properties": {"ce_type": {"const": event.topic}}}]
    }
    return {
        "name": event.topic,
        "title": event.topic.replace(".", " ").replace("_", " ").capitalize(),
        "contentType": JSON,
        "headers": headers,
        "payload": _ref(type(event).__name__),
        "correlationId": {"location": "$message.header#/ce_correlationid"},
        "bindings": _key(),
        "examples": [
            {
                "headers": {name: text.decode() for name, text in shown.headers},
                "payload": msgspec.json.decode(shown.value),
            }
        ],
    }


def _unreadable() -> dict[str, Any]:
    return {
        "name": UNREADABLE,
        "title": "What is stored and cannot be read",
        "summary": "Travels as it is stored, in its place, with what is known of it.",
        "contentType": OPAQUE,
        "headers": _ref("UnreadableHeaders"),
        "payload": {"description": "Any bytes."},
        "bindings": _key(),
    }


def _key() -> dict[str, Any]:
    key = {"type": "string", "description": "The partition key, as in `ce_partitionkey`."}
    return {"kafka": {"key": key, "bindingVersion": KAFKA_BINDING}}


def _headers() -> dict[str, Any]:
    known = {name: schema for name, schema in HEADERS.items() if name not in HEADERS_OF_EVENTS_ONLY}
    return {
        "Headers": {
            "type": "object",
            "properties": {**HEADERS, "content-type": {"const": JSON}},
            "required": list(HEADERS),
        },
        "UnreadableHeaders": {
            "type": "object",
            "properties": {**known, "content-type": {"const": OPAQUE}},
            "required": list(known),
        },
    }


def _payloads() -> dict[str, Any]:
    """The schemas of all events, and of what they are made of."""
    types = list(EVENT_TYPES.values())
    _, schemas = msgspec.json.schema_components(types, ref_template=SCHEMA_REFS)
    for event_type in types:
        _tell_times(event_type, schemas[event_type.__name__])
    return schemas


def _tell_times(event_type: type[Event], schema: dict[str, Any]) -> None:
    """Times in payloads are UTC with an offset, which msgspec does not say of a plain `datetime`."""
    for field in msgspec.structs.fields(event_type):
        if field.type is datetime:
            schema["properties"][field.encode_name]["format"] = "date-time"


def _ref(name: str) -> dict[str, str]:
    return {"$ref": SCHEMA_REFS.format(name=name)}
