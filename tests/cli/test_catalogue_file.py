import json
from pathlib import Path

import jsonschema
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.catalogue_file import FILE_BYTES_MAX, SAMPLE, WrongCatalogue, parse, read
from cli.catalogue_format import Catalogue, Sales, json_schema

SCHEMA_FILE = SAMPLE.with_name("catalogue.schema.json")

CONCERT = "concerts:\n  - {code: HALL, title: In the Hall, venue: Hall"


def complaint_about(content: str | bytes, name: str = "season.yaml") -> str:
    """What is said of a wrong file, without the file's name."""
    with pytest.raises(WrongCatalogue) as wrong:
        parse(content.encode() if isinstance(content, str) else content, name)
    complaint = str(wrong.value)
    assert complaint.startswith(f"{name}: ")
    assert "\n" not in complaint
    return complaint.removeprefix(f"{name}: ")


def performances_of(content: str) -> Catalogue:
    return parse(f"{CONCERT}, performances: [{content}]}}".encode(), "season.yaml")


def test_the_sample_has_the_three_concerts_that_it_promises() -> None:
    five_nights, theatre, arena = read(SAMPLE).concerts
    assert len(five_nights.performances) == 5
    assert {five_nights.seats_of(night)[-1].last for night in five_nights.performances} == {50}
    assert {theatre.seats_of(night)[-1].last for night in theatre.performances} == {1_200}
    assert {len({block.price for block in theatre.seats_of(night)}) for night in theatre.performances} == {4}
    days = [night.date for night in theatre.performances]
    assert (len(days), len(set(days))) == (4, 3)
    assert arena.seats_of(arena.performances[0])[-1].last == 15_000
    assert "STANDING" in {block.type for block in arena.seats_of(arena.performances[0])}
    assert [one.sales for one in (five_nights, theatre, arena)] == [Sales.OPEN, Sales.OPEN, Sales.CLOSED]


def test_the_schema_in_the_package_is_that_of_the_code() -> None:
    generated = msgspec.json.decode(msgspec.json.encode(json_schema()))
    again = "ticketing catalogue schema > cli/catalogue.schema.json"
    assert json.loads(SCHEMA_FILE.read_text()) == generated, again


def test_the_sample_keeps_to_the_schema() -> None:
    as_json = msgspec.json.decode(msgspec.json.encode(read(SAMPLE)))
    jsonschema.validate(as_json, json_schema(), format_checker=jsonschema.FormatChecker())


@pytest.mark.parametrize(
    "wrong",
    [
        {"concerts": [{"code": "x", "title": "T", "venue": "V"}]},
        {"concerts": [{"code": "HALL", "title": "T", "venue": "V", "colour": "red"}]},
        {"concerts": [{"code": "HALL", "title": "T", "venue": "V", "policy": {"max_actve": 1}}]},
        {
            "concerts": [
                {"code": "HALL", "title": "T", "venue": "V", "performances": [{"start_time": "19:00"}]},
            ]
        },
    ],
)
def test_what_the_schema_refuses_the_reader_refuses_too(wrong: object) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(wrong, json_schema())
    complaint_about(json.dumps(wrong), "season.json")


def test_yaml_and_json_mean_the_same() -> None:
    catalogue = read(SAMPLE)
    assert parse(msgspec.json.encode(catalogue), "season.json") == catalogue
    assert parse(msgspec.json.encode(catalogue), "season.yaml") == catalogue


def test_a_time_needs_no_quotes() -> None:
    (concert,) = performances_of("{date: 2027-05-01, start_time: 19:30}").concerts
    assert concert.performances[0].start_time == "19:30"


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("", "expected `object`, got `null`"),
        ("concerts: [", "line 1, column 12: expected the node content"),
        ("concerts: []\nconcerts: []", "line 2, column 1: the key 'concerts' stands twice in one mapping"),
        ("&a [*a]", "is nested too deeply"),
        ("!!python/name:os.system", "could not determine a constructor"),
        (b"\xff\xfe\x00", "is not UTF-8 text"),
        ("\x07", "special characters are not allowed"),
        ("concerts: [{code: hall}]", "concerts[0].code: a code is 2 to 32 of A–Z, 0–9 and -"),
        ("concerts: [{code: HALL}]", "concerts[0]: object missing required field `title`"),
        (f"{CONCERT}}}\n  - {{code: HALL, title: T, venue: V}}", "concerts[1].code: HALL stands twice"),
        (f"{CONCERT}, time_zone: Mars/Olympus}}", "concerts[0].time_zone: this is not an IANA time zone"),
        (f"{CONCERT}, policy: {{max_actve: 3}}}}", "concerts[0].policy: object contains unknown field"),
        (f"{CONCERT}, policy: {{max_active: 0}}}}", "concerts[0].policy.max_active: expected `int` >= 1"),
        (
            f"{CONCERT}, policy: {{sales_open_at: 2027-01-01T09:00:00}}}}",
            "concerts[0].policy.sales_open_at: expected `datetime` with a timezone",
        ),
        (f"{CONCERT}, sales: maybe}}", "concerts[0].sales: invalid enum value 'maybe'"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(content: str | bytes, complaint: str) -> None:
    assert complaint in complaint_about(content)


@pytest.mark.parametrize(
    ("performance", "complaint"),
    [
        ("{date: 2027-13-01, start_time: 19:00}", "[0].date: invalid RFC3339 encoded date"),
        ("{date: {in_days: 0}, start_time: 19:00}", "[0].date.in_days: expected `int` >= 1"),
        ("{date: 2027-05-01, start_time: 24:00}", '[0].start_time: a time is written "HH:MM"'),
        ("{date: 2027-05-01, start_time: 19:00, seats: []}", "[0].seats: expected `array` of length >= 1"),
        (
            "{date: 2027-05-01, start_time: 19:00, seats: [{first: 2, last: 5, type: VIP, price: 1}]}",
            "[0].seats: the blocks must number the seats from 1 on",
        ),
        (
            "{date: 2027-05-01, start_time: 19:00}, {date: 2027-05-01, start_time: 19:00}",
            "[1]: The concert has a performance on that date at that time already.",
        ),
    ],
)
def test_what_is_wrong_with_a_performance_is_said_with_its_place(performance: str, complaint: str) -> None:
    said = complaint_about(f"{CONCERT}, performances: [{performance}]}}")
    assert f"concerts[0].performances{complaint}" in said


def test_a_time_that_the_venues_clock_skips_is_found_before_loading() -> None:
    concert = f"{CONCERT}, time_zone: America/New_York"
    said = complaint_about(f"{concert}, performances: [{{date: 2027-03-14, start_time: 02:30}}]}}")
    assert said == "concerts[0].performances[0].start_time: the venue's clock skips this time on that date"


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ('{"concerts": }', "line 1, column 14: Expecting value"),
        ('{"concerts": [], "concerts": []}', "the member 'concerts' stands twice in one object"),
        ("[" * 100_000, "is nested too deeply"),
        ("1" * 5_000, "limit"),
        ('{"concerts": [{"code": "HALL", "title": "\\ud800", "venue": "V"}]}', "is not UTF-8 text"),
    ],
    ids=range(5),
)
def test_what_is_wrong_with_json_is_said_in_one_line(content: str, complaint: str) -> None:
    assert complaint in complaint_about(content, "season.json")


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    large = tmp_path / "large.yaml"
    large.write_bytes(b"#" * (FILE_BYTES_MAX + 1))
    with pytest.raises(WrongCatalogue, match="is larger than"):
        read(large)


@given(st.binary(max_size=200), st.sampled_from(["season.yaml", "season.json"]))
def test_no_file_whatever_is_more_than_one_line_of_trouble(content: bytes, name: str) -> None:
    try:
        parse(content, name)
    except WrongCatalogue as error:
        assert "\n" not in str(error)  # noqa: PT017 (most examples raise, but not all must)
