"""What a buyer does with every kind of answer that the service documents."""

import asyncio
from collections.abc import Mapping
from typing import Any, NamedTuple

import pytest

from cli.crowd.buyer import Buyer
from cli.crowd.calls import Service
from cli.crowd.visit import End, Visit, Wish
from tests.cli.crowd.played_service import (
    CODE,
    CUT,
    NO_DATES,
    SOLD_OUT,
    WAITING,
    Answer,
    PlayedService,
    playing,
    refusal,
    token,
)

WHOLE_WAY = ["register", "charge", "join", "poll", "dates", "seats", "reserve", "pay"]

WISH = Wish(concert=CODE, seats=1, charge=5_000, patience_s=20, poll_every_ms=None)


class Seen(NamedTuple):
    """What became of a buyer, and what the service saw of them."""

    visit: Visit
    service: PlayedService
    unexpected: Mapping[str, int]
    places: list[str]


def visit(wish: Wish = WISH, /, **played: list[Answer]) -> Seen:
    """Send one buyer to a service that plays these answers first."""
    service = PlayedService(played)
    places: list[str] = []

    async def go(reached: Service) -> Visit:
        buyer = Buyer(reached, wish, lambda _, place: places.append(place))
        await buyer.prepare()
        return await buyer.visit()

    async def play() -> tuple[Visit, Mapping[str, int]]:
        async with playing(service) as reached:
            return await go(reached), reached.measured.unexpected

    ended, unexpected = asyncio.run(play())
    return Seen(ended, service, unexpected, places)


def test_a_buyer_goes_the_whole_way() -> None:
    seen = visit()
    assert seen.service.calls == WHOLE_WAY
    assert seen.visit.end is End.BOUGHT
    assert seen.visit.payment is not None
    assert seen.visit.payment.seat_numbers == [2]
    assert seen.visit.amount_seen == 1_000
    assert seen.visit.waited_s is not None
    assert seen.places == ["not there yet", "joining", "waiting", "choosing seats", "paying", "bought"]
    assert not seen.unexpected


def test_a_buyer_shows_the_token_and_waits_for_what_was_acknowledged() -> None:
    seen = visit()
    (dates,) = seen.service.asked_for("dates")
    assert dates.headers["Authorization"] == "Bearer signed"
    assert dates.headers["Min-Log-Position"] == "7"


def test_every_command_carries_a_key_of_its_own() -> None:
    seen = visit(pay=[refusal("INSUFFICIENT_BALANCE", 402, balance=5, amount=30)])
    commands = ("register", "charge", "join", "reserve", "pay")
    keys = [asked.headers["Idempotency-Key"] for asked in seen.service.asked if asked.call in commands]
    assert len(keys) == len(set(keys)) == 7


@pytest.mark.parametrize(
    "lost",
    [
        CUT,
        refusal("OVERLOADED", 503, retry_after=0),
        refusal("TRY_AGAIN", 503, retry_after=0),
        refusal("STORE_UNAVAILABLE", 503, retry_after=0, outcome="UNKNOWN"),
    ],
    ids=["cut", "overloaded", "try again", "unknown"],
)
def test_a_lost_answer_is_asked_for_again_with_the_same_key(lost: Answer) -> None:
    seen = visit(pay=[lost, lost])
    assert seen.visit.end is End.BOUGHT
    keys = [asked.headers["Idempotency-Key"] for asked in seen.service.asked_for("pay")]
    assert len(keys) == 3
    assert len(set(keys)) == 1


def test_a_read_model_that_is_behind_is_asked_again() -> None:
    seen = visit(seats=[refusal("READ_MODEL_BEHIND", 503, retry_after=0)])
    assert seen.visit.end is End.BOUGHT
    assert len(seen.service.asked_for("seats")) == 2


@pytest.mark.parametrize("code", ["SEAT_ALREADY_HELD", "SEAT_ALREADY_SOLD"])
def test_a_race_that_is_lost_is_run_again(code: str) -> None:
    seen = visit(reserve=[refusal(code, seat_numbers=[2])] * 3)
    assert seen.visit.end is End.BOUGHT
    assert seen.visit.races_lost == 3
    assert len(seen.service.asked_for("seats")) == 4


@pytest.mark.parametrize(
    ("call", "code", "status"),
    [
        ("seats", "PERFORMANCE_STARTED", 409),
        ("seats", "PERFORMANCE_NOT_FOUND", 404),
        ("reserve", "SEAT_NOT_FOUND", 404),
        ("pay", "HOLD_EXPIRED", 409),
        ("pay", "RESERVATION_NOT_OPEN", 409),
    ],
)
def test_what_is_gone_is_looked_for_elsewhere(call: str, code: str, status: int) -> None:
    seen = visit(**{call: [refusal(code, status)]})
    assert seen.visit.end is End.BOUGHT
    assert seen.visit.races_lost == 0
    assert len(seen.service.asked_for("dates")) == 2


def test_too_little_money_is_charged_and_paid_again() -> None:
    seen = visit(pay=[refusal("INSUFFICIENT_BALANCE", 402, balance=400, amount=1_000)])
    assert seen.visit.end is End.BOUGHT
    assert [asked.body["amount"] for asked in seen.service.asked_for("charge")] == [5_000, 600]


def test_a_wallet_that_needs_a_token_is_charged_after_joining() -> None:
    seen = visit(charge=[refusal("TOKEN_MISSING", 401)])
    assert seen.visit.end is End.BOUGHT
    assert seen.service.calls[:4] == ["register", "charge", "join", "charge"]
    assert seen.service.asked_for("charge")[1].headers["Authorization"] == "Bearer signed"


def test_a_token_that_is_not_active_everywhere_yet_waits_on() -> None:
    seen = visit(dates=[refusal("TOKEN_NOT_ACTIVE", 403, retry_after=1, place=1)])
    assert seen.visit.end is End.BOUGHT
    assert len(seen.service.asked_for("poll")) == 2


def test_without_a_free_seat_an_active_buyer_looks_again_and_goes_when_all_is_sold() -> None:
    seen = visit(dates=[NO_DATES] * 3, poll=[token(), token(), token(sold_out=True)])
    assert seen.visit.end is End.SOLD_OUT
    assert seen.service.calls[-1] == "leave"


@pytest.mark.parametrize(
    ("polled", "end"),
    [
        (SOLD_OUT, End.SOLD_OUT),
        (token("WAITING", sales="CLOSED"), End.SALES_CLOSED),
    ],
)
def test_who_waits_in_vain_leaves_politely(polled: Answer, end: End) -> None:
    seen = visit(poll=[WAITING, polled])
    assert seen.visit.end is end
    assert seen.service.calls[-3:] == ["poll", "poll", "leave"]
    assert seen.places[-1] == end


@pytest.mark.parametrize(
    ("status", "end"),
    [("EXPIRED", End.OUT_OF_TIME), ("CANCELLED", End.TOKEN_ENDED), ("COMPLETED", End.TOKEN_ENDED)],
)
def test_a_token_that_has_ended_ends_the_visit(status: str, end: End) -> None:
    seen = visit(poll=[token(status)])
    assert (seen.visit.end, seen.visit.reason) == (end, status)
    assert "leave" not in seen.service.calls


@pytest.mark.parametrize(
    ("call", "answer", "end"),
    [
        ("join", refusal("SALES_NOT_OPEN"), End.SALES_CLOSED),
        ("reserve", refusal("SALES_NOT_OPEN"), End.SALES_CLOSED),
        ("dates", refusal("TOKEN_EXPIRED", 401), End.OUT_OF_TIME),
        ("pay", refusal("TOKEN_EXPIRED", 401), End.OUT_OF_TIME),
        ("poll", refusal("TOKEN_ENDED", 401), End.TOKEN_ENDED),
        ("reserve", refusal("SEAT_LIMIT_EXCEEDED"), End.REFUSED),
        ("reserve", refusal("RESERVATION_ALREADY_OPEN", reservation_id="…"), End.REFUSED),
        ("charge", refusal("AMOUNT_OUT_OF_RANGE", 422), End.REFUSED),
        ("charge", refusal("BALANCE_LIMIT_EXCEEDED"), End.REFUSED),
    ],
)
def test_a_refusal_for_good_ends_the_visit_with_its_code(call: str, answer: Answer, end: End) -> None:
    seen = visit(**{call: [answer]})
    assert (seen.visit.end, seen.visit.reason) == (end, answer.body["code"])
    assert not seen.unexpected


def test_who_cannot_charge_while_holding_gives_the_seats_back() -> None:
    seen = visit(
        pay=[refusal("INSUFFICIENT_BALANCE", 402, balance=0, amount=1_000)],
        charge=[Answer(201, {}), refusal("CHARGE_NOT_ALLOWED_WHILE_HOLDING")],
    )
    assert (seen.visit.end, seen.visit.reason) == (End.REFUSED, "CHARGE_NOT_ALLOWED_WHILE_HOLDING")
    assert seen.service.calls[-1] == "leave"


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (refusal("INTERNAL_ERROR", 500, request_id="…"), "reserve: INTERNAL_ERROR"),
        (refusal("VALIDATION_FAILED", 422, errors=[]), "reserve: VALIDATION_FAILED"),
        (refusal("NEVER_HEARD_OF", 418), "reserve: NEVER_HEARD_OF"),
        (Answer(502, b"<html>Bad gateway</html>"), "reserve: 502 without a problem document"),
    ],
)
def test_what_no_contract_tells_to_expect_is_counted_and_fails_the_visit(answer: Answer, words: str) -> None:
    seen = visit(reserve=[answer])
    assert seen.visit.end is End.FAILED
    assert seen.unexpected == {words: 1}
    assert seen.service.calls[-1] == "leave"


def test_an_answer_that_cannot_be_read_fails_the_visit() -> None:
    seen = visit(dates=[Answer(200, {"dates": "soon"})])
    assert seen.visit.end is End.FAILED
    assert "dates" in seen.visit.reason


def test_who_waits_for_too_long_gives_up_and_leaves() -> None:
    seen = visit(WISH._replace(patience_s=0.3), poll=[WAITING] * 10_000)
    assert (seen.visit.end, seen.visit.reason) == (End.IMPATIENT, "waiting")
    assert seen.service.calls[-1] == "leave"


def test_a_full_queue_is_asked_again_until_patience_ends() -> None:
    full: list[Any] = [refusal("QUEUE_FULL", 503, retry_after=0)] * 10_000
    seen = visit(WISH._replace(patience_s=0.3), join=full)
    assert (seen.visit.end, seen.visit.reason) == (End.IMPATIENT, "joining")
    assert len(seen.service.asked_for("join")) > 1


def test_who_wants_more_seats_than_are_left_takes_what_is_left() -> None:
    seen = visit(WISH._replace(seats=4))
    (reserve,) = seen.service.asked_for("reserve")
    assert reserve.body["seat_numbers"] == [2, 3, 4]
