"""Events as messages: CloudEvents that carry all there is, the same each time, and say what is missing."""

from datetime import timedelta
from uuid import UUID

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from aggregates.event import RecordedEvent
from aggregates.registry import EVENT_TYPES
from aggregates.seat import SeatHoldExpired
from aggregates.stream import stream_id
from infrastructure import codec, stray_events
from infrastructure.messages import (
    Headers,
    Message,
    NotOurs,
    Place,
    StoredRow,
    Whose,
    message,
    opaque_message,
    received,
)
from tests.aggregates.given import ANN, at, reservation_of
from tests.aggregates.strategies import event_of, ids, moments
from tests.asynchronous import asynchronous
from tests.projections.tables import stored_state, write_log

EPOCH = "0f2d7c41-5d1e-4f0a-9a55-2c1d6b1d2f10"
PLACE = Place(EPOCH, partition=3, previous_position=38)
COMMAND, VISIT, REQUEST = (UUID(int=number) for number in (1, 2, 3))

EXPIRED = RecordedEvent(
    41,
    "seat/ROCK/2026-03-02T19:30/7",
    3,
    SeatHoldExpired(reservation_of(ANN)),
    "ROCK",
    at("12:05") + timedelta(microseconds=120),
    COMMAND,
    VISIT,
    REQUEST,
)

positions = st.integers(1, 2**53)

recorded_events: st.SearchStrategy[RecordedEvent] = st.builds(
    RecordedEvent,
    positions,
    st.text(),
    st.integers(1, 10_000),
    st.sampled_from(list(EVENT_TYPES.values())).flatmap(event_of),
    st.text(),
    moments,
    ids,
    ids,
    ids,
)


@given(recorded_events, st.builds(Place, st.uuids().map(str), st.integers(0, 11), positions))
def test_an_event_comes_back_as_it_was_recorded(event: RecordedEvent, place: Place) -> None:
    published = published_as(event, place)

    came = received(published.value, published.headers)

    assert came.recorded == event
    assert (came.position, came.previous_position) == (event.position, place.previous_position)
    assert came.epoch == place.epoch


def test_a_message_is_a_cloud_event_in_kafka_s_binary_mode() -> None:
    published = published_as(EXPIRED)

    assert (published.position, published.partition, published.key) == (41, 3, b"ROCK")
    assert published.value == f'{{"reservation_id":"{reservation_of(ANN)}"}}'.encode()
    assert dict(published.headers) == {
        "content-type": b"application/json",
        "ce_specversion": b"1.0",
        "ce_id": f"{EPOCH}/41".encode(),
        "ce_source": b"/ticketing",
        "ce_type": b"seat.hold_expired",
        "ce_subject": b"seat/ROCK/2026-03-02T19:30/7",
        "ce_time": b"2026-03-02T12:05:00.000120Z",
        "ce_position": b"41",
        "ce_previousposition": b"38",
        "ce_streamversion": b"3",
        "ce_commandid": str(COMMAND).encode(),
        "ce_correlationid": str(VISIT).encode(),
        "ce_causationid": str(REQUEST).encode(),
        "ce_epoch": EPOCH.encode(),
        "ce_partitionkey": b"ROCK",
    }


@pytest.mark.parametrize(
    "state",
    [
        b'{"stream":"seat/ROCK"}',
        b"nothing",
        b"\xff\xfe",
    ],
)
def test_what_is_no_event_travels_as_it_is_stored(state: bytes) -> None:
    seat = stream_id(EXPIRED.stream)
    published = opaque_message(StoredRow(41, 3, "seat.held", state), Whose(seat, "ROCK"), PLACE)

    assert (published.key, published.value) == (b"ROCK", state)
    headers = dict(published.headers)
    assert headers["content-type"] == b"application/octet-stream"
    assert headers["ce_subject"] == str(seat).encode()
    assert not headers.keys() & {"ce_time", "ce_commandid", "ce_correlationid", "ce_causationid"}
    assert received(published.value, published.headers) == (41, 38, EPOCH, None)


@pytest.mark.parametrize(
    ("topic", "payload"),
    [("seat.painted", b"{}"), ("seat.hold_expired", b'{"whose":1}'), ("seat.hold_expired", b"nothing")],
)
def test_what_this_software_cannot_make_out_is_left_to_the_log(topic: str, payload: bytes) -> None:
    published = published_as(EXPIRED)
    headers = replaced(published.headers, ce_type=topic.encode())

    assert received(payload, headers) == (41, 38, EPOCH, None)


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("ce_specversion", b"1.0"), ("ce_source", b"/elsewhere")],
        [("ce_specversion", b"\xff")],
        [("ce_specversion", None)],
    ],
)
def test_somebody_else_s_message_is_told_from_ours(headers: Headers) -> None:
    with pytest.raises(NotOurs):
        received(b"{}", headers)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ce_source", b"/elsewhere"),
        ("ce_specversion", b"2.0"),
        ("ce_position", b"first"),
        ("ce_time", b"noon"),
    ],
)
def test_a_header_that_means_something_else_makes_a_message_somebody_else_s(name: str, value: bytes) -> None:
    published = published_as(EXPIRED)
    with pytest.raises(NotOurs):
        received(published.value, replaced(published.headers, **{name: value}))


@asynchronous
async def test_what_cannot_be_read_goes_by_the_key_of_what_stands_first_in_its_stream(dsn: str) -> None:
    seat, alone = EXPIRED.stream, "seat/ROCK/2026-03-02T19:30/8"
    events = [replace(EXPIRED, position=number, version=number) for number in (1, 2, 3)]
    events.append(replace(EXPIRED, position=4, version=1, stream=alone))
    with psycopg.connect(dsn, autocommit=True) as connection:
        write_log(connection, events)
        connection.execute(
            "UPDATE ticketing.ticketing_events SET state = 'nothing' WHERE notification_id IN (1, 2, 4)"
        )

    async with await psycopg.AsyncConnection.connect(dsn) as reading:
        found = await stray_events.find(reading, [1, 2, 4, 9])

    assert found == {
        1: Whose(stream_id(seat), "ROCK"),
        2: Whose(stream_id(seat), "ROCK"),
        4: Whose(stream_id(alone), ""),
    }


def published_as(event: RecordedEvent, place: Place = PLACE) -> Message:
    state = stored_state(event)
    row = StoredRow(event.position, event.version, event.event.topic, state)
    return message(row, codec.read_form(state), place)


def replaced(headers: Headers, **values: bytes) -> Headers:
    return [(name, values.get(name, value)) for name, value in headers]
