"""What stands in the log can be read for ever: every topic as it is stored, metadata and all, byte for byte.

`stored_forms.json` holds rows of logs that exist, one for each of `stored_examples.py`: none of them changes.
Where an event gains a field, a row with the new form is added. (`test_stored_events.py` looks into payloads.)
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import msgspec
import pytest

from aggregates.event import Event, RecordedEvent
from aggregates.registry import EVENT_TYPES
from aggregates.seat import SeatHeld
from aggregates.stream import stream_id
from infrastructure import codec
from infrastructure.codec import UnknownTopic, Upcast
from tests.contracts.stored_examples import EXAMPLES, RESERVATION, TOKEN, UNTIL, USER

Row = dict[str, Any]

ROWS: Final[list[Row]] = json.loads(Path(__file__).with_name("stored_forms.json").read_text())

COMMAND: Final = UUID("55555555-5555-4555-8555-555555555555")
CAUSE: Final = UUID("66666666-6666-4666-8666-666666666666")
RECORDED_AT: Final = datetime(2026, 3, 2, 12, 0, 0, 1, tzinfo=UTC)

NEWEST: Final = {row["topic"]: row for row in ROWS}

every_row = pytest.mark.parametrize(
    ("row", "example"), list(zip(ROWS, EXAMPLES, strict=True)), ids=[row["topic"] for row in ROWS]
)
every_topic = pytest.mark.parametrize("topic", EVENT_TYPES)


def state_of(row: Row) -> bytes:
    return json.dumps(row["state"], ensure_ascii=False, separators=(",", ":")).encode()


def test_every_topic_stands_in_the_file() -> None:
    assert list(NEWEST) == list(EVENT_TYPES)


@every_row
def test_a_stored_event_is_read_with_all_that_the_log_knows_about_it(row: Row, example: Event) -> None:
    within_a_visit = not row["topic"].startswith(("concert.", "queue."))
    assert codec.decode(41, 3, row["topic"], state_of(row)) == RecordedEvent(
        position=41,
        stream=row["state"]["stream"],
        version=3,
        event=example,
        partition_key=str(USER) if row["topic"].startswith("wallet.") else "IU-2026",
        recorded_at=RECORDED_AT,
        command_id=COMMAND,
        correlation_id=TOKEN if within_a_visit else COMMAND,
        causation_id=CAUSE,
    )


@every_topic
def test_an_event_is_written_byte_for_byte_as_it_is_stored(topic: str) -> None:
    stored = state_of(NEWEST[topic])
    read = codec.decode(41, 3, topic, stored)
    written = codec.encode(
        codec.StoredForm(
            read.stream,
            read.partition_key,
            read.recorded_at,
            read.command_id,
            read.correlation_id,
            read.causation_id,
            read.event,
        )
    )
    assert written == stored


@every_topic
def test_a_stream_s_id_follows_from_its_name_and_never_changes(topic: str) -> None:
    row = NEWEST[topic]
    assert str(stream_id(row["state"]["stream"])) == row["stream_id"]


def retired(topic: str, payload: Mapping[str, Any]) -> tuple[str, bytes]:
    """A stored event whose topic the software no longer writes."""
    return topic, state_of({"state": {**NEWEST["seat.held"]["state"], "payload": payload}})


def reservation_in_full(payload: Mapping[str, Any]) -> Mapping[str, Any]:
    """Say with one id each what `seat.taken` said in a nested object."""
    return {**payload["by"], "until": payload["until"]}


def minutes_to_deadline(payload: Mapping[str, Any]) -> Mapping[str, Any]:
    """Say until when, where `seat.claimed` told the minute it began and how many it lasted."""
    minute = datetime.fromisoformat(payload["from"])
    return {
        "by": payload["by"],
        "until": minute.replace(minute=minute.minute + payload["minutes"]).isoformat(),
    }


UPCASTS: Final = {
    "seat.taken": Upcast("seat.held", reservation_in_full),
    "seat.claimed": Upcast("seat.taken", minutes_to_deadline),
}
"""Invented: the product has retired no topic so far."""

BY: Final = {"reservation_id": str(RESERVATION), "token_id": str(TOKEN), "user_id": str(USER)}


def test_an_event_of_a_retired_topic_is_read_as_what_took_its_place() -> None:
    stored = retired("seat.taken", {"by": BY, "until": UNTIL.isoformat()})
    read = codec.decode(41, 3, *stored, UPCASTS)
    assert read.event == SeatHeld(RESERVATION, TOKEN, USER, UNTIL)
    assert (read.recorded_at, read.command_id) == (RECORDED_AT, COMMAND)


def test_a_topic_may_be_retired_in_favour_of_one_that_was_retired_later() -> None:
    stored = retired("seat.claimed", {"by": BY, "from": "2026-03-02T12:00:00Z", "minutes": 5})
    event = codec.decode(41, 3, *stored, UPCASTS).event
    assert event == SeatHeld(RESERVATION, TOKEN, USER, UNTIL.replace(microsecond=0))


def test_a_topic_that_nobody_knows_is_no_event() -> None:
    with pytest.raises(UnknownTopic, match=r"seat\.taken"):
        codec.decode(41, 3, *retired("seat.taken", {}))


@pytest.mark.parametrize(
    "state", [b"", b"unreadable", b"[]", b"{}", state_of(ROWS[0])[:-1], state_of({"state": {"payload": {}}})]
)
def test_what_is_no_stored_form_is_no_event(state: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        codec.decode(41, 3, ROWS[0]["topic"], state)


def test_no_topic_is_both_written_and_retired() -> None:
    assert set(codec.UPCASTS) & set(EVENT_TYPES) == set()
