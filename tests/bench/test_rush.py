"""A small rush through the whole service, and whether what a large one must hold would be missed."""

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from bench.rush import SEATS, Rushed, in_markdown, rush, wrong
from cli.crowd.report import CallReport

pytestmark = pytest.mark.xdist_group("rush")  # one is run for all

BUYERS = 120


@pytest.fixture(scope="module")
def rushed() -> Rushed:
    """With no limit on admission all of them are let in, and race for the seats."""
    return rush("no limit on admission", BUYERS, connections=32)


def with_call(rushed: Rushed, name: str, **changes: Any) -> Rushed:
    """The same, but that one kind of call was answered otherwise."""

    def changed(call: CallReport) -> CallReport:
        return msgspec.structs.replace(call, **changes) if call.call == name else call

    calls: Sequence[CallReport] = [changed(call) for call in rushed.report.calls]
    return rushed._replace(report=msgspec.structs.replace(rushed.report, calls=calls))


def test_everyone_races_and_each_seat_is_sold_once(rushed: Rushed) -> None:
    assert list(wrong(rushed)) == []
    assert rushed.report.seats_bought == SEATS
    assert rushed.report.races_lost > 0
    assert rushed.audit.concerts[0].activated == BUYERS
    assert set(rushed.costs) == {"api", "project", "timer", "postgres", "rush"}
    assert f"{BUYERS} buyers for {SEATS} seats" in next(in_markdown(rushed))


def test_what_must_not_be_is_found(rushed: Rushed) -> None:
    def complaint(of: Rushed) -> str:
        return "\n".join(wrong(of))

    report, audit = rushed.report, rushed.audit
    oversold = rushed._replace(report=msgspec.structs.replace(report, seats_bought=SEATS + 1))
    broken = rushed._replace(audit=msgspec.structs.replace(audit, ok=False))
    surprised = rushed._replace(report=msgspec.structs.replace(report, unexpected={"pay: 500": 1}))
    assert "seats were to be sold" in complaint(oversold)
    assert "the audit found" in complaint(broken)
    assert "1 pay: 500" in complaint(surprised)
    assert "{'500'}" in complaint(with_call(rushed, "pay", statuses={201: SEATS, 500: 1}))
    assert "{'SEAT_NOT_FOUND'}" in complaint(with_call(rushed, "poll", refusals={"SEAT_NOT_FOUND": 1}))
    assert "not the statuses" in complaint(with_call(rushed, "pay", statuses={201: SEATS, 402: 1}))
