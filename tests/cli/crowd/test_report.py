import io
import json
from uuid import UUID, uuid4

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from cli.crowd.answers import Payment
from cli.crowd.calls import Measured
from cli.crowd.display import show_report
from cli.crowd.report import RushReport, contradictions, latencies, report
from cli.crowd.visit import End, Visit

ANN, BEN = uuid4(), uuid4()


def bought(user_id: UUID, queue_number: int, *seat_numbers: int, amount: int = 1_000) -> Visit:
    payment = Payment(uuid4(), "2031-05-01", "19:00", list(seat_numbers), amount, "COMPLETED")
    return Visit(user_id, End.BOUGHT, "", queue_number, 0.5, 1.5, 2.5, 1, payment, 1_000)


def went_home(end: End, reason: str = "") -> Visit:
    return Visit(uuid4(), end, reason, 7, 0.5, None, 3.0, 0, None, 0)


def reported(*visits: Visit, measured: Measured | None = None) -> RushReport:
    return report(
        concert="HALL",
        url="http://127.0.0.1:8000",
        arrival="burst",
        interrupted=False,
        visits=visits,
        measured=measured or Measured(),
        seconds=3.0,
        seconds_in_all=4.0,
    )


def test_it_counts_who_got_seats_and_who_did_not_and_why() -> None:
    summed = reported(
        bought(ANN, 1, 7), went_home(End.SOLD_OUT), went_home(End.REFUSED, "SEAT_LIMIT_EXCEEDED")
    )
    assert summed.ends == {"bought": 1, "sold out": 1, "refused": 1}
    assert summed.reasons == {"SEAT_LIMIT_EXCEEDED": 1}
    assert (summed.seats_bought, summed.won_paid, summed.races_lost) == (1, 1_000, 1)
    assert summed.waited is not None
    assert summed.waited.count == 1


def test_percentiles_are_by_nearest_rank() -> None:
    summed = latencies([number / 1_000 for number in range(1, 101)])
    assert summed is not None
    assert (summed.p50_ms, summed.p95_ms, summed.p99_ms, summed.max_ms) == (50, 95, 99, 100)


@given(st.lists(st.floats(0, 100), min_size=1))
def test_percentiles_are_measured_values_in_their_order(seconds: list[float]) -> None:
    summed = latencies(seconds)
    assert summed is not None
    ranked = [summed.p50_ms, summed.p95_ms, summed.p99_ms, summed.max_ms]
    assert ranked == sorted(ranked)
    assert set(ranked) <= {round(value * 1_000, 2) for value in seconds}


def test_of_nothing_there_are_no_percentiles() -> None:
    assert latencies([]) is None


def test_buyers_who_agree_contradict_nothing() -> None:
    assert list(contradictions([bought(ANN, 1, 7), bought(BEN, 2, 8), went_home(End.SOLD_OUT)])) == []


def test_a_seat_that_two_were_sold_is_a_contradiction() -> None:
    (found,) = contradictions([bought(ANN, 1, 7), bought(BEN, 2, 7)])
    assert found == f"S1: seat 7 of 2031-05-01T19:00 was sold to {ANN} and {BEN}"


def test_a_queue_number_that_two_were_given_is_a_contradiction() -> None:
    (found,) = contradictions([bought(ANN, 1, 7), bought(BEN, 1, 8)])
    assert found == f"Q1: queue number 1 was given to {ANN} and {BEN}"


def test_an_amount_that_is_not_the_maps_is_a_contradiction() -> None:
    (found,) = contradictions([bought(ANN, 1, 7, amount=999)])
    assert found.startswith("P1: ")
    assert found.endswith("took 999 won for seats that cost 1000")


def test_the_report_is_json_and_fits_on_a_terminal() -> None:
    measured = Measured()
    measured.seconds["join"] += [0.010, 0.020]
    measured.statuses["join"][201] += 2
    measured.refusals["reserve"]["SEAT_ALREADY_HELD"] += 2
    measured.seconds["reserve"] += [0.030]
    measured.unexpected["pay: INTERNAL_ERROR"] += 1
    summed = reported(bought(ANN, 1, 7), went_home(End.FAILED, "pay: INTERNAL_ERROR"), measured=measured)
    as_json = json.loads(msgspec.json.encode(summed))
    assert as_json["calls"][0] == {
        "call": "join",
        "latencies": {"count": 2, "p50_ms": 10.0, "p95_ms": 20.0, "p99_ms": 20.0, "max_ms": 20.0},
        "statuses": {"201": 2},
        "refusals": {},
    }
    shown = io.StringIO()
    show_report(summed, Console(file=shown, width=120))
    for words in ("2 buyers for HALL", "1 seats for 1,000 won", "2 SEAT_ALREADY_HELD", "Unexpected answers"):
        assert words in shown.getvalue()
