"""Curves are drawn as SVG that any reader of XML understands."""

from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import curve
from bench.curve import Curve, Line

SVG = "{http://www.w3.org/2000/svg}"


def drawn(*lines: Line, limit: float | None = None) -> ET.Element:
    places = [str(place) for place in range(len(lines[0].values))]
    return ET.fromstring(curve.svg(Curve("A < B", "x & y", places, "ms", lines, limit)))  # noqa: S314 (ours)


def heights(line: ET.Element) -> list[float]:
    return [float(point.partition(",")[2]) for point in line.attrib["points"].split()]


def words(picture: ET.Element) -> list[str]:
    return ["".join(text.itertext()) for text in picture.iter(f"{SVG}text")]


def test_what_is_more_stands_higher() -> None:
    (line,) = drawn(Line("rate", [1, 5, 3])).iter(f"{SVG}polyline")
    low, high, middle = heights(line)
    assert high < middle < low


def test_what_was_not_measured_is_left_out() -> None:
    (line,) = drawn(Line("rate", [1, None, 3])).iter(f"{SVG}polyline")
    assert len(heights(line)) == 2


def test_every_line_is_named_and_so_are_the_axes() -> None:
    said = words(drawn(Line("one", [1]), Line("other", [2])))
    assert {"one", "other", "A < B", "x & y", "ms", "0"} <= set(said)


def test_a_limit_has_a_line_of_its_own() -> None:
    without = drawn(Line("rate", [1, 2]))
    limited = drawn(Line("rate", [1, 2]), limit=2)
    assert "limit 2" in words(limited)
    assert len(list(limited.iter(f"{SVG}line"))) == len(list(without.iter(f"{SVG}line"))) + 1


@given(
    st.lists(st.floats(min_value=0, max_value=1e9), min_size=1, max_size=12),
    st.none() | st.floats(min_value=0.001, max_value=1e9),
)
def test_everything_is_drawn_within_the_axes(values: list[float], limit: float | None) -> None:
    (line,) = drawn(Line("rate", values), limit=limit).iter(f"{SVG}polyline")
    assert all(curve.TOP - 0.1 <= height <= curve.BOTTOM + 0.1 for height in heights(line))


@pytest.mark.parametrize("name", ["curve.svg", "results/curve.svg"])
def test_it_is_kept_in_a_file(tmp_path: Path, name: str) -> None:
    curve.keep(Curve("t", "x", ["1"], "y", [Line("rate", [1])]), tmp_path / name)
    assert (tmp_path / name).read_text(encoding="utf-8").startswith("<svg")
