"""What was stored can be read for ever: payloads of every topic, in a file whose entries never change.

A test here that fails after a change of an event means that logs which exist can no longer be read, or that
new events are written in a form which others do not expect. Where an event gains a field, a second form of
its topic is added to stored_events.json, and an example to stored_examples.py; the first stays.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest

from aggregates.event import Event
from aggregates.policy import Policy
from aggregates.registry import EVENT_TYPES
from tests.contracts.stored_examples import EXAMPLES

Payload = dict[str, Any]

STORED: Final[dict[str, list[Payload]]] = json.loads(
    Path(__file__).with_name("stored_events.json").read_text()
)
"""By topic, its forms: the last is how the event is written now."""

FORMS: Final = [
    (example, payload)
    for topic in EVENT_TYPES
    for example, payload in zip(
        [example for example in EXAMPLES if example.topic == topic], STORED.get(topic, []), strict=True
    )
]
NEWEST: Final = {example.topic: (example, payload) for example, payload in FORMS}

every_form = pytest.mark.parametrize(
    ("example", "payload"), FORMS, ids=[example.topic for example, _ in FORMS]
)
every_topic = pytest.mark.parametrize("topic", EVENT_TYPES)


def read(topic: str, payload: Payload) -> Event:
    return msgspec.json.decode(json.dumps(payload), type=EVENT_TYPES[topic])


def without(payload: Payload, name: str) -> Payload:
    return {key: value for key, value in payload.items() if key != name}


def optional_fields() -> Iterator[tuple[str, str]]:
    """Every field that was added, or may be left out, and so has a default; with its topic."""
    for topic, event_type in EVENT_TYPES.items():
        for field in msgspec.structs.fields(event_type):
            if not field.required:
                yield topic, field.name


def test_every_topic_has_its_stored_form() -> None:
    assert list(STORED) == list(NEWEST) == list(EVENT_TYPES)


@every_form
def test_a_stored_payload_is_read_as_the_event_that_it_was(example: Event, payload: Payload) -> None:
    assert read(example.topic, payload) == example


@every_topic
def test_an_event_is_written_to_the_letter_as_it_is_stored(topic: str) -> None:
    example, payload = NEWEST[topic]
    stored = json.dumps(payload, ensure_ascii=False, separators=(",", ":"))
    assert msgspec.json.encode(example).decode() == stored


@every_form
def test_a_field_that_comes_later_does_not_hinder_software_that_does_not_know_it(
    example: Event, payload: Payload
) -> None:
    assert read(example.topic, {**payload, "added_later": {"by": ["someone"]}}) == example


@pytest.mark.parametrize(("topic", "name"), list(optional_fields()))
def test_an_event_is_read_without_a_field_that_came_later(topic: str, name: str) -> None:
    example, payload = NEWEST[topic]
    default = next(
        field.default_factory() if field.default is msgspec.NODEFAULT else field.default
        for field in msgspec.structs.fields(EVENT_TYPES[topic])
        if field.name == name
    )
    assert read(topic, without(payload, name)) == msgspec.structs.replace(example, **{name: default})


@pytest.mark.parametrize("name", Policy.__struct_fields__)
def test_a_policy_is_read_without_a_setting_that_came_later(name: str) -> None:
    _, payload = NEWEST["concert.policy_changed"]
    policy = msgspec.convert(without(payload["policy"], name), Policy)
    assert getattr(policy, name) == getattr(Policy(), name)


@every_topic
def test_a_payload_that_lacks_what_it_always_had_is_no_event(topic: str) -> None:
    _, payload = NEWEST[topic]
    for field in msgspec.structs.fields(EVENT_TYPES[topic]):
        if field.required:
            with pytest.raises(msgspec.ValidationError):
                read(topic, without(payload, field.name))
