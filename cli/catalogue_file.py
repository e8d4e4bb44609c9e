"""Reading a catalogue file, YAML or JSON.

Everything in it is checked, by the domain's own decisions too, before any of it is loaded.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple
from zoneinfo import ZoneInfo

import msgspec
import yaml

from aggregates import concert
from aggregates.errors import DomainError
from aggregates.ids import StartTime
from api.views import PATTERNS_IN_WORDS
from cli.catalogue_format import Catalogue, CatalogueConcert, CataloguePerformance, day_of

SAMPLE: Final = Path(__file__).with_name("sample_catalogue.yaml")
"""What `ticketing up` loads into an empty log, and a worked example."""

FILE_BYTES_MAX: Final = 4 * 1024 * 1024
"""Thousands of performances; whatever is larger was not meant for us."""


class WrongCatalogue(Exception):
    """What is wrong with a file, in one line that begins with its name and the place in it."""

    def __init__(self, name: str, place: str, problem: str) -> None:
        super().__init__(": ".join(part for part in (name, place, problem) if part))


class _Problem(NamedTuple):
    place: str
    problem: str


def read(path: Path) -> Catalogue:
    """Read and check a file. Raises WrongCatalogue."""
    try:
        with path.open("rb") as file:
            content = file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise WrongCatalogue(str(path), "", (error.strerror or str(error)).lower()) from error
    if len(content) > FILE_BYTES_MAX:
        raise WrongCatalogue(str(path), "", f"is larger than {FILE_BYTES_MAX:,} bytes")
    return parse(content, str(path))


def parse(content: bytes, name: str) -> Catalogue:
    """Parse and check a file's content; JSON if its name ends so, else YAML. Raises WrongCatalogue."""
    document = _document(content, name)
    try:
        catalogue = msgspec.convert(document, Catalogue)
    except msgspec.ValidationError as error:
        raise WrongCatalogue(name, *_in_words(str(error))) from error
    for problem in _problems(catalogue):
        raise WrongCatalogue(name, *problem)
    return catalogue


def _document(content: bytes, name: str) -> Any:
    try:
        text = content.decode("utf-8-sig")
        document = _from_json(text) if name.lower().endswith(".json") else _from_yaml(text)
        msgspec.json.encode(document)
    except UnicodeError as error:
        raise WrongCatalogue(name, "", "is not UTF-8 text") from error
    except RecursionError as error:
        raise WrongCatalogue(name, "", "is nested too deeply") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise WrongCatalogue(name, place, error.problem or "this is not YAML") from error
    except json.JSONDecodeError as error:
        raise WrongCatalogue(name, f"line {error.lineno}, column {error.colno}", error.msg) from error
    except (ValueError, TypeError, yaml.YAMLError) as error:
        raise WrongCatalogue(name, "", " ".join(str(error).split())) from error
    return document


def _from_json(text: str) -> Any:
    return json.loads(text, object_pairs_hook=_without_repeats)


def _without_repeats(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        names = [name for name, _ in pairs]
        repeated = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the member {repeated!r} stands twice in one object")
    return members


class _PlainYaml(yaml.SafeLoader):
    """YAML as JSON has it: 19:00 and 2027-05-01 are text, `no` is a word, and a key stands once."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Refuse a key that stands twice; the library would take the last."""
        seen: set[str] = set()
        for key, _ in node.value:
            if key.value in seen:
                problem = f"the key {key.value!r} stands twice in one mapping"
                raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep=deep)


_PlainYaml.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("bool", r"true|false", ["t", "f"]),
    ("int", r"-?(0|[1-9][0-9]*)", list("-0123456789")),
    ("float", r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?", list("-0123456789")),
    ("null", r"null|~|", ["n", "~", ""]),
    ("merge", r"<<", ["<"]),
):
    _PlainYaml.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), _first)


def _from_yaml(text: str) -> Any:
    loader = _PlainYaml(text)
    try:
        return loader.get_single_data()
    finally:
        loader.dispose()


def _in_words(message: str) -> _Problem:
    """Turn msgspec's message into the place, as the file has it, and what is wrong there."""
    problem, _, path = message.partition(" - at `$")
    place = path.rstrip("`").lstrip(".")
    for pattern, words in PATTERNS_IN_WORDS.items():
        if problem.endswith(repr(pattern)):
            return _Problem(place, words)
    return _Problem(place, problem[:1].lower() + problem[1:])


def _problems(catalogue: Catalogue) -> Iterator[_Problem]:
    """Let the domain decide on everything in the file, as if it were loaded into an empty log today."""
    seen: set[str] = set()
    for index, entry in enumerate(catalogue.concerts):
        place = f"concerts[{index}]"
        if entry.code in seen:
            yield _Problem(f"{place}.code", f"{entry.code} stands twice in this file")
        seen.add(entry.code)
        yield from _problems_of(entry, place)


def _problems_of(entry: CatalogueConcert, place: str) -> Iterator[_Problem]:
    now = datetime.now(UTC)
    state = concert.Concert()
    try:
        for announced in concert.announce(state, entry.announcement()):
            state = concert.evolve(state, announced, now)
    except DomainError as error:
        yield _in_place(error, place)
        return
    today = now.astimezone(ZoneInfo(entry.time_zone)).date()
    for index, performance in enumerate(entry.performances):
        try:
            for scheduled in _schedule(state, entry, performance, today):
                state = concert.evolve(state, scheduled, now)
        except DomainError as error:
            yield _in_place(error, f"{place}.performances[{index}]")


def _schedule(
    state: concert.Concert, entry: CatalogueConcert, performance: CataloguePerformance, loaded_on: date
) -> list[concert.ConcertEvent]:
    return concert.schedule(
        state,
        day=day_of(performance, loaded_on),
        start_time=StartTime(performance.start_time),
        end_time=performance.end_time,
        seats=entry.seats_of(performance),
    )


def _in_place(error: DomainError, place: str) -> _Problem:
    errors: Sequence[Mapping[str, str]] = error.members.get("errors", [])
    if not errors:
        return _Problem(place, error.detail)
    field = errors[0].get("field")
    return _Problem(f"{place}.{field}" if field else place, errors[0]["message"])
