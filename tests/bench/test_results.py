"""The arithmetic of the benchmarks: medians of the rounds, ratios within them, and the files."""

import math
from collections import Counter
from pathlib import Path

import msgspec

from bench import results
from bench.client import Result
from bench.operations import OPERATIONS, Operation, Target
from bench.results import Figures, Round, Row

NAMES = {
    "issue_token",
    "poll_waiting",
    "seat_map_200",
    "seat_map_304",
    "charge",
    "reserve",
    "lose_race",
    "pay",
    "whole_visit",
}

PAY = Operation("pay", "pay", Target(0.5, 3))
BESIDES = Operation("dates", "look at ten dates", None)


def at(per_s: float, ms: float = 1.0, client_cpu: float = 0.2) -> Figures:
    """What one measurement came to."""
    return Figures(per_s, ms, 2 * ms, 3 * ms, client_cpu)


def row(operation: Operation = PAY) -> Row:
    """Three rounds, of which the second met a busy machine."""
    rounds = [
        Round(at(60, 5), at(100), at(10)),
        Round(at(20, 9), at(40, client_cpu=0.4), at(5)),
        Round(at(70, 4), at(100), at(30)),
    ]
    return results.row(operation, rounds)


def test_figures_are_the_medians_of_the_rounds() -> None:
    assert row().product == at(60, 5)
    assert row().ceiling == at(100)
    assert row().plain == at(10)


def test_ratios_are_medians_of_those_within_a_round() -> None:
    assert math.isclose(row().of_ceiling or 0, 0.6), "of 0.6, 0.5 and 0.7"
    assert math.isclose(row().times_plain or 0, 4), "of 6, 4 and 2.33"


def test_the_client_s_share_is_the_largest_of_all() -> None:
    assert row().client_cpu_max == 0.4


def test_a_target_is_reached_if_both_its_ratios_are() -> None:
    assert row().reached
    assert not row(Operation("pay", "pay", Target(0.61, 3))).reached
    assert not row(Operation("pay", "pay", Target(0.5, 4.1))).reached
    assert row(BESIDES).reached is None


def test_without_others_beside_it_there_is_no_ratio() -> None:
    alone = results.row(PAY, [Round(at(60))])
    assert (alone.of_ceiling, alone.times_plain, alone.reached) == (None, None, None)
    assert alone.product == at(60)


def test_latencies_are_told_by_the_share_of_answers_that_stay_below() -> None:
    result = Result(100, 2.0, [float(ms) for ms in range(1, 101)], Counter({200: 100}), 0.3, [], 0)
    assert results.figures(result) == Figures(50.0, 51.0, 96.0, 100.0, 0.3)


def test_the_file_says_what_is_promised_and_no_more(tmp_path: Path) -> None:
    growth = [{"name": "waiting", "value": 1.2}]
    (tmp_path / results.GROWTH).write_bytes(msgspec.json.encode(growth))
    document = results.document([row(), row(BESIDES)], results.last_growth(tmp_path), {"cores": 2})
    kept = results.keep(document, results.LAST, tmp_path)
    assert msgspec.json.decode(kept.read_bytes()) == {
        "operations": [
            {
                "name": "pay",
                "per_s": 60.0,
                "p50_ms": 5.0,
                "p95_ms": 10.0,
                "p99_ms": 15.0,
                "of_ceiling": 0.6,
                "times_plain": 4.0,
            }
        ],
        "growth": growth,
        "machine": {"cores": 2},
    }
    assert results.last_rates(tmp_path) == {"pay": 60.0}
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".new"] == []


def test_who_has_measured_nothing_before_starts_with_nothing(tmp_path: Path) -> None:
    assert results.last_growth(tmp_path) == []
    assert results.last_rates(tmp_path) == {}


def test_the_operations_with_targets_are_those_that_are_asked_for() -> None:
    assert {operation.name for operation in OPERATIONS if operation.target is not None} == NAMES
