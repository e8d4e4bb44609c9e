"""What holds for every aggregate: states follow from any events, and survive being snapshotted."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given as for_all
from hypothesis import settings
from hypothesis import strategies as st

from aggregates import concert, payment, queue, reservation, seat, token, wallet
from aggregates.event import Event
from aggregates.queue import CHUNK_LENGTH, QueueAdvanced
from aggregates.registry import AGGREGATES, EVENT_TYPES
from aggregates.stream import Aggregate
from tests.aggregates.given import Recorded, at, given
from tests.aggregates.strategies import YEAR, event_of, events_of, histories_of, round_trip

UNIONS: dict[str, Any] = {
    "concert": concert.ConcertEvent,
    "seat": seat.SeatEvent,
    "reservation": reservation.ReservationEvent,
    "wallet": wallet.WalletEvent,
    "payment": payment.PaymentEvent,
    "queue": queue.QueueEvent,
    "token": token.TokenEvent,
}
BY_KIND: dict[str, Aggregate[Any]] = {aggregate.kind: aggregate for aggregate in AGGREGATES}

every_kind = pytest.mark.parametrize("kind", sorted(BY_KIND))
LATER = at("23:59") + YEAR
few_examples = settings(max_examples=25)


def remember(aggregate: Aggregate[Any], history: Sequence[tuple[Event, datetime]]) -> Any:
    return given(aggregate, *[Recorded(event, when) for event, when in history]).state


def test_every_event_belongs_to_the_aggregate_that_its_topic_names() -> None:
    assert sorted(UNIONS) == sorted(BY_KIND)
    for kind, union in UNIONS.items():
        assert {event_type.topic.partition(".")[0] for event_type in get_args(union)} == {kind}


def test_every_topic_is_written_out_and_belongs_to_one_event() -> None:
    all_types = [event_type for union in UNIONS.values() for event_type in get_args(union)]
    assert {event_type.topic: event_type for event_type in all_types} == EVENT_TYPES
    assert len(EVENT_TYPES) == len(all_types)
    assert all(isinstance(vars(event_type)["topic"], str) for event_type in all_types)


@every_kind
@few_examples
@for_all(data=st.data())
def test_a_state_follows_from_any_events_in_any_order(kind: str, data: st.DataObject) -> None:
    remember(BY_KIND[kind], data.draw(histories_of(UNIONS[kind])))


@every_kind
@few_examples
@for_all(data=st.data())
def test_states_do_not_change_under_those_who_hold_them(kind: str, data: st.DataObject) -> None:
    aggregate = BY_KIND[kind]
    before = remember(aggregate, data.draw(histories_of(UNIONS[kind])))
    written = msgspec.json.encode(before)
    aggregate.evolve(before, data.draw(events_of(UNIONS[kind])), LATER)
    assert msgspec.json.encode(before) == written


@pytest.mark.parametrize("kind", sorted(kind for kind, each in BY_KIND.items() if each.shape is not None))
@for_all(data=st.data())
def test_a_snapshot_gives_back_the_state_that_it_was_made_of(kind: str, data: st.DataObject) -> None:
    state = remember(BY_KIND[kind], data.draw(histories_of(UNIONS[kind])))
    assert round_trip(state, BY_KIND[kind].shape) == state


def test_streams_that_grow_without_end_are_snapshotted() -> None:
    assert {kind for kind, aggregate in BY_KIND.items() if aggregate.shape is not None} >= {
        "concert",
        "queue",
        "token",
        "wallet",
    }


def test_a_snapshot_of_a_busy_queue_keeps_all_its_recent_admissions() -> None:
    admissions = [
        (QueueAdvanced(head=number, activated=1), at("12:00") + timedelta(seconds=number))
        for number in range(1, 3 * CHUNK_LENGTH)
    ]
    state = remember(BY_KIND["queue"], admissions)
    assert sum(len(run) for run in state.recent) == len(admissions)
    assert round_trip(state, BY_KIND["queue"].shape) == state


@pytest.mark.parametrize("topic", sorted(EVENT_TYPES))
@few_examples
@for_all(data=st.data())
def test_an_event_is_read_as_it_was_written(topic: str, data: st.DataObject) -> None:
    event = data.draw(event_of(EVENT_TYPES[topic]))
    assert round_trip(event, EVENT_TYPES[topic]) == event
