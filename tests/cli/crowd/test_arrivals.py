from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.crowd.arrivals import WrongArrivals, arrivals

RECORDED = """# when, who
2026-05-01T09:00:02.500Z,ann
2026-05-01T18:00:00+09:00,ben

2026-05-01T09:00:05Z,cho
"""


def written(folder: Path, text: str) -> str:
    file = folder / "arrivals.csv"
    file.write_text(text)
    return str(file)


def test_a_burst_comes_all_at_once() -> None:
    assert arrivals("burst", 3, None) == [0.0, 0.0, 0.0]


@given(st.integers(1, 500), st.floats(0.001, 86_400))
def test_even_arrivals_begin_at_once_keep_their_order_and_end_in_time(buyers: int, over_s: float) -> None:
    coming = arrivals("even", buyers, over_s)
    assert len(coming) == buyers
    assert coming[0] == 0.0
    assert list(coming) == sorted(coming)
    assert coming[-1] < over_s


def test_recorded_times_are_taken_from_the_first_on_in_their_order(tmp_path: Path) -> None:
    assert arrivals(written(tmp_path, RECORDED), 3, None) == [0.0, 2.5, 5.0]


def test_recorded_seconds_are_taken_as_they_are(tmp_path: Path) -> None:
    assert arrivals(written(tmp_path, "10\n12.5\n11\n"), 3, None) == [0.0, 1.0, 2.5]


def test_of_more_arrivals_than_buyers_the_first_are_taken(tmp_path: Path) -> None:
    assert arrivals(written(tmp_path, RECORDED), 2, None) == [0.0, 2.5]


def test_recorded_arrivals_are_stretched_to_the_span_asked_for(tmp_path: Path) -> None:
    assert arrivals(written(tmp_path, RECORDED), 3, 10.0) == [0.0, 5.0, 10.0]


def test_arrivals_at_one_instant_are_a_burst_whatever_the_span(tmp_path: Path) -> None:
    assert arrivals(written(tmp_path, "3\n3\n"), 2, 60.0) == [0.0, 0.0]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("1\n2\n", "has 2 arrivals, fewer than the 3 buyers"),
        ("1\nsoon\n3\n", "line 2: begins neither with a number of seconds nor with an RFC 3339 time"),
        ("1\nnan\n3\n", "line 2: nan is not a number of seconds"),
        ("", "has 0 arrivals"),
    ],
)
def test_a_wrong_file_is_told_with_the_line(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(WrongArrivals, match=complaint):
        arrivals(written(tmp_path, text), 3, None)


def test_a_file_that_is_no_text_is_told(tmp_path: Path) -> None:
    (tmp_path / "arrivals.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(WrongArrivals, match="is not UTF-8 text"):
        arrivals(str(tmp_path / "arrivals.csv"), 1, None)
