"""Arbitrary events, made from the types of their fields, and arbitrary times."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import cache
from typing import Any, get_args
from uuid import UUID

import msgspec
from hypothesis import strategies as st
from msgspec import inspect

from aggregates.event import Event
from aggregates.ids import StartTime
from tests.aggregates.given import ANN, BEN, TODAY, at, payment_of, reservation_of, token_of

YEAR = timedelta(days=365)

_close_by = st.builds(
    lambda minutes, us: timedelta(minutes=minutes, microseconds=us), st.integers(1, 8), st.integers(-1, 1)
)
moments = (_close_by | st.timedeltas(timedelta(), YEAR)).map(lambda later: at("12:00") + later)
"""Times; many of them close by, so that some coincide or miss each other by a microsecond."""

ids: st.SearchStrategy[UUID] = st.sampled_from(
    [of(user_id) for of in (token_of, reservation_of, payment_of) for user_id in (ANN, BEN)]
)
"""Few, so that arbitrary events speak of the same things."""

dates = st.integers(0, 2).map(lambda days: TODAY + timedelta(days=days))
start_times: st.SearchStrategy[StartTime] = st.sampled_from([StartTime("14:00"), StartTime("19:30")])


def events_of(union: Any) -> st.SearchStrategy[Event]:
    """Any event of an aggregate, given the union of its event types."""
    return st.one_of([event_of(event_type) for event_type in get_args(union)])


def histories_of(union: Any) -> st.SearchStrategy[Sequence[tuple[Event, datetime]]]:
    """Any events of an aggregate with the times at which they were recorded, in order."""
    return st.lists(st.tuples(events_of(union), moments)).map(
        lambda history: sorted(history, key=lambda entry: entry[1])
    )


@cache
def event_of(event_type: type[Event]) -> st.SearchStrategy[Event]:
    """Any event of this type, possible or not."""
    return _struct(event_type)


def _struct(struct: type[Any]) -> st.SearchStrategy[Any]:
    info = inspect.type_info(struct)
    assert isinstance(info, inspect.StructType)
    return st.builds(struct, **{field.name: _field(field) for field in info.fields})


def _field(field: inspect.Field) -> st.SearchStrategy[Any]:
    match field.name:
        case "start_time":
            return start_times
        case "type":
            return st.sampled_from(["STANDARD", "VIP", "STANDING"])
        case "by_performance":
            names = st.builds(lambda day, clock: f"{day.isoformat()}T{clock}", dates, start_times)
            return st.dictionaries(names, st.integers(0, 100), max_size=2)
        case _:
            return _value(field.type)


def _value(kind: inspect.Type) -> st.SearchStrategy[Any]:
    match kind:
        case inspect.Metadata(type=inner):
            return _value(inner)
        case inspect.UnionType(types=types):
            return st.one_of([_value(each) for each in types])
        case inspect.IntType(ge=lowest, le=highest):
            return st.integers(0 if lowest is None else lowest, 1_000 if highest is None else highest)
        case inspect.StrType():
            return st.text(max_size=8)
        case inspect.VarTupleType(item_type=item):
            return st.lists(_value(item), min_size=1, max_size=4).map(tuple)
        case inspect.EnumType(cls=enum):
            return st.sampled_from(list(enum))
        case inspect.StructType(cls=struct):
            return _struct(struct)
        case _:
            return _SIMPLE[type(kind)]


_SIMPLE: dict[type[inspect.Type], st.SearchStrategy[Any]] = {
    inspect.NoneType: st.none(),
    inspect.BoolType: st.booleans(),
    inspect.UUIDType: ids,
    inspect.DateType: dates,
    inspect.DateTimeType: moments,
}


def round_trip(state: Any, shape: Any) -> Any:
    """Write a state as a snapshot, and read it again."""
    return msgspec.json.decode(msgspec.json.encode(state), type=shape)
