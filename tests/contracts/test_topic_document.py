"""docs/reference/asyncapi.json: what the code says, valid, and true of every message there can be."""

import copy
import json
from collections.abc import Callable, Iterator
from datetime import datetime
from importlib.metadata import version
from typing import Any, Final, get_args
from uuid import UUID

import msgspec
import pytest
from jsonschema import Draft7Validator

from aggregates.event import Event
from aggregates.registry import EVENT_TYPES
from infrastructure import asyncapi, codec, event_examples
from infrastructure.asyncapi import SERVERS, TOPIC, document
from infrastructure.messages import Message, Place, StoredRow, Whose, message, opaque_message, received
from infrastructure.settings import Settings
from tests.audit.sales import a_sale_of_all_kinds, a_strict_sale
from tests.contracts.asyncapi_specification import SPECIFICATION
from tests.kafka.topic_document import DOCUMENT, PAGE, complaints

VALID: Final = Draft7Validator(SPECIFICATION)
EPOCH: Final = "6b0f7f0e-4a4e-4a2b-9b59-3b8f4c2d1a10"

every_example = pytest.mark.parametrize(
    "event", event_examples.EXAMPLES, ids=[event.topic for event in event_examples.EXAMPLES]
)


def headers_of(made: Message) -> dict[str, str]:
    return {name: text.decode() for name, text in made.headers}


def references(part: object) -> Iterator[str]:
    """Every reference within the document."""
    if isinstance(part, dict):
        for name, inner in part.items():
            if name == "$ref":
                yield inner
            else:
                yield from references(inner)
    elif isinstance(part, list):
        for inner in part:
            yield from references(inner)


def test_the_page_is_what_the_code_says() -> None:
    again = "ticketing topic schema > docs/reference/asyncapi.json"
    generated = msgspec.json.decode(msgspec.json.encode(document(version("ticketing"))))
    assert json.loads(PAGE.read_text(encoding="utf-8")) == generated, again


def test_it_is_valid() -> None:
    assert [error.message for error in VALID.iter_errors(DOCUMENT)] == []


def test_every_reference_leads_somewhere() -> None:
    found = set(references(DOCUMENT))
    assert len(found) > len(EVENT_TYPES)
    for reference in found:
        part: Any = DOCUMENT
        for name in reference.removeprefix("#/").split("/"):
            part = part[name]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda wrong: wrong["operations"]["publish"].update(action="shout"),
        lambda wrong: wrong["servers"]["ssl"].pop("host"),
        lambda wrong: wrong["components"]["securitySchemes"]["plain"].update(type="secret"),
        lambda wrong: wrong["components"]["messages"]["seat.held"].update(colour="red"),
        lambda wrong: wrong["channels"]["events"]["bindings"]["kafka"].update(partitions="six"),
    ],
    ids=["action", "host", "scheme", "field", "binding"],
)
def test_a_document_that_is_not_valid_would_be_seen(spoil: Callable[[Any], object]) -> None:
    wrong = copy.deepcopy(DOCUMENT)
    spoil(wrong)
    assert not VALID.is_valid(wrong)


def test_every_event_has_a_message() -> None:
    messages = DOCUMENT["components"]["messages"]
    assert list(messages) == [*EVENT_TYPES, "unreadable"]
    assert list(DOCUMENT["channels"]["events"]["messages"]) == list(messages)


def test_there_is_a_server_for_every_way_in_which_brokers_are_spoken_to() -> None:
    fields = Settings.model_fields
    assert [name for name, _, _ in SERVERS] == list(get_args(fields["kafka_security_protocol"].annotation))
    assert fields["kafka_topic"].default == TOPIC


@every_example
def test_an_example_is_the_message_of_an_event(event: Event) -> None:
    (shown,) = DOCUMENT["components"]["messages"][event.topic]["examples"]
    payload = json.dumps(shown["payload"]).encode()
    assert list(complaints(shown["headers"], payload)) == []
    read = received(payload, [(name, text.encode()) for name, text in shown["headers"].items()]).recorded
    assert read is not None
    assert read.event == event


@every_example
def test_a_payload_that_lacks_a_field_or_has_another_in_its_place_is_refused(event: Event) -> None:
    made = asyncapi.example(event)
    payload = json.loads(made.value)
    for field in msgspec.structs.fields(type(event)):
        wrong = [{**payload, field.name: [{}]}]
        if field.required:
            wrong.append({name: value for name, value in payload.items() if name != field.name})
        if field.type is datetime:
            wrong.append({**payload, field.name: "soon"})
        for one in wrong:
            assert list(complaints(headers_of(made), json.dumps(one).encode())), one


@pytest.mark.parametrize("name", asyncapi.HEADERS)
def test_a_header_that_is_missing_or_says_nothing_is_refused(name: str) -> None:
    made = asyncapi.example(event_examples.EXAMPLES[0])
    headers = headers_of(made)
    without = {other: text for other, text in headers.items() if other != name}
    assert list(complaints(without, made.value))
    if name not in ("ce_subject", "ce_partitionkey"):
        assert list(complaints({**headers, name: ""}, made.value))


def test_a_header_that_the_document_does_not_name_is_seen() -> None:
    made = asyncapi.example(event_examples.EXAMPLES[0])
    assert list(complaints({**headers_of(made), "ce_colour": "red"}, made.value))


@pytest.mark.parametrize("sale", [a_sale_of_all_kinds, a_strict_sale])
def test_every_message_of_a_sale_is_as_the_document_says(sale: Callable[[], Any]) -> None:
    previous = 0
    for position, _, stream_version, topic, state in sale().rows():
        row = StoredRow(position, stream_version, topic, state)
        form = codec.read_form(state)
        made = message(row, form, Place(EPOCH, 0, previous))
        assert list(complaints(headers_of(made), made.value)) == []
        previous = position


def test_what_cannot_be_read_travels_as_the_document_says() -> None:
    row = StoredRow(5, 2, "seat.held", b"\x00 is no event")
    made = opaque_message(row, Whose(UUID(int=1), "GALA"), Place(EPOCH, 0, 0))
    assert list(complaints(headers_of(made), made.value)) == []
