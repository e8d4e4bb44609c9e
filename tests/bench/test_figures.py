"""Figures are held against their limits, and kept by their names."""

from pathlib import Path

from bench.growth.figure import at_least, at_most, keep, kept, told


def test_a_limit_is_reached_from_one_side() -> None:
    assert at_most("lag", 250, "ms", 250).reached
    assert not at_most("lag", 251, "ms", 250).reached
    assert at_least("rate", 0.95, "×", 0.95).reached
    assert not at_least("rate", 0.94, "×", 0.95).reached
    assert told("memory", 90, "MiB").reached is None


def test_a_figure_that_only_rounds_to_its_limit_misses_it() -> None:
    assert not at_most("lag", 250.001, "ms", 250).reached


def test_a_figure_says_its_limit() -> None:
    assert at_most("lag", 1, "ms", 250).limit == "≤ 250"
    assert at_least("audit", 1, "events/s", 100_000).limit == "≥ 100,000"


def test_a_figure_takes_the_place_of_the_one_before(tmp_path: Path) -> None:
    file = tmp_path / "results" / "growth.json"
    keep([told("one", 1, "s"), told("other", 2, "s")], file)
    keep([told("other", 3, "s")], file)
    assert {figure.name: figure.value for figure in kept(file)} == {"one": 1, "other": 3}
