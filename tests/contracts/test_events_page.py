"""docs/reference/events.md lists every event with exactly its fields and their types."""

import re
from typing import Any, Final

import msgspec
import pytest
from msgspec import inspect

from aggregates.concert import SeatBlock
from aggregates.policy import Policy
from aggregates.registry import EVENT_TYPES
from tests.contracts.markdown import DOCS, table_rows

PAGE: Final = "reference/events.md"
ROWS: Final = list(table_rows(PAGE, "topic", "what happened", "fields"))

WORDS: Final[dict[type[inspect.Type], str]] = {
    inspect.StrType: "text",
    inspect.IntType: "integer",
    inspect.UUIDType: "uuid",
    inspect.DateTimeType: "time",
    inspect.DateType: "date",
    inspect.NoneType: "null",
}
STRUCTS: Final[dict[type[Any], str]] = {Policy: "policy", SeatBlock: "seat block"}


def words_for(kind: inspect.Type) -> str:
    """How the page calls a type."""
    match kind:
        case inspect.UnionType(types=types):
            return " or ".join(words_for(each) for each in types)
        case inspect.VarTupleType(item_type=item):
            return f"list of {words_for(item)}"
        case inspect.DictType(key_type=key, value_type=value):
            return f"{words_for(value)} by {words_for(key)}"
        case inspect.StructType(cls=struct):
            return STRUCTS[struct]
        case _:
            return WORDS[type(kind)]


def fields_on_the_page(cell: str) -> list[tuple[str, str]]:
    """The fields that a cell lists, each with its type."""
    return re.findall(r"`(\w+)`: ([^·]+?)(?: ·|$)", cell)


def fields_in_the_code(topic: str) -> list[tuple[str, str]]:
    """The fields of an event as its type declares them."""
    info = inspect.type_info(EVENT_TYPES[topic])
    assert isinstance(info, inspect.StructType)
    return [(field.name, words_for(field.type)) for field in info.fields]


def test_the_page_lists_every_topic_once_in_the_order_of_the_registry() -> None:
    assert [topic.strip("`") for topic, _, _ in ROWS] == list(EVENT_TYPES)


@pytest.mark.parametrize(("topic", "cell"), [(topic.strip("`"), cell) for topic, _, cell in ROWS])
def test_the_page_lists_exactly_an_events_fields_with_their_types(topic: str, cell: str) -> None:
    assert fields_on_the_page(cell) == fields_in_the_code(topic)
    assert len(fields_on_the_page(cell)) == cell.count("`: ")


def test_every_type_that_the_page_uses_is_explained_there() -> None:
    explained = {word for word, _ in table_rows(PAGE, "type", "in JSON")}
    used = {word.removesuffix(" or null") for topic in EVENT_TYPES for _, word in fields_in_the_code(topic)}
    assert used == explained


def test_the_page_tells_what_a_seat_block_is_made_of() -> None:
    names = ", ".join(f"`{field.name}`" for field in msgspec.structs.fields(SeatBlock))
    assert f"an array of {{{names}}}" in (DOCS / PAGE).read_text()
