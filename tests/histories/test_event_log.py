"""An answer without its event, an event without its command: each is found."""

from collections.abc import Sequence

import pytest

from tests.histories.event_log import Event, compare
from tests.histories.story import CODE, DATE, HOLD_S, PRICE, START_TIME, Story, an_id, moment

ANN = "ann"


def a_sale() -> Story:
    story = Story()
    story.register(ANN, (0, 0.2))
    story.join(ANN, 1, (1, 1.2))
    story.charge(ANN, PRICE, (2, 2.2), balance=PRICE)
    story.reserve(ANN, [1], (3, 3.2))
    story.pay(ANN, [1], (4, 4.2))
    story.refund(ANN, [1], (5, 5.2))
    return story


def its_log() -> list[Event]:
    """What such a sale records, as far as anyone is told of it."""
    wallet, payment = f"wallet/{an_id(ANN)}", f"payment/{an_id('payment ann')}"
    reservation, token = f"reservation/{an_id('reservation ann')}", f"token/{CODE}/{an_id(ANN)}"
    seats = {"code": CODE, "date": DATE, "start_time": START_TIME, "seat_numbers": [1]}
    user = {"user_id": an_id(ANN)}
    issued = {"token_id": an_id("token ann"), **user, "code": CODE, "queue_number": 1}
    opened = {**user, **seats, "amount": PRICE, "until": moment(3.1 + HOLD_S)}
    completed = {**user, **seats, "amount": PRICE, "balance": 0}
    returned = {"amount": PRICE, "payment_id": an_id("payment ann")}
    return [
        Event(101, wallet, "wallet.opened", moment(0.1), {}),
        Event(102, token, "token.issued", moment(1.1), issued),
        Event(103, wallet, "wallet.charged", moment(2.1), {"amount": PRICE}),
        Event(104, reservation, "reservation.opened", moment(3.1), opened),
        Event(105, wallet, "wallet.debited", moment(4.1), returned),
        Event(105, payment, "payment.completed", moment(4.1), completed),
        Event(106, wallet, "wallet.refunded", moment(5.1), returned),
        Event(106, payment, "payment.refunded", moment(5.1), {"amount": PRICE, "balance": PRICE}),
    ]


def test_a_log_of_just_what_was_answered_is_passed() -> None:
    assert compare(a_sale().history, its_log()) == []


@pytest.mark.parametrize(
    "topic", ["wallet.opened", "token.issued", "wallet.charged", "reservation.opened", "payment.refunded"]
)
def test_an_answer_without_its_event_is_found(topic: str) -> None:
    left_out = [event for event in its_log() if event.topic != topic]
    assert topic in _found(a_sale(), left_out)


@pytest.mark.parametrize(
    "topic", ["wallet.opened", "token.issued", "wallet.charged", "reservation.opened", "payment.completed"]
)
def test_an_event_that_is_there_twice_is_found(topic: str) -> None:
    log = its_log()
    twice = [event for event in log if event.topic == topic]
    assert topic in _found(a_sale(), [*log, *twice])


def test_an_event_of_what_nobody_was_told_is_passed_once() -> None:
    story = a_sale()
    story.charge(ANN, 5, (6, None), balance=0)
    again = Event(107, f"wallet/{an_id(ANN)}", "wallet.charged", moment(6.1), {"amount": 5})
    assert compare(story.history, [*its_log(), again]) == []
    assert compare(story.history, [*its_log(), again, again._replace(position=108)])


def test_an_event_beyond_the_position_of_its_answer_is_found() -> None:
    log = its_log()
    assert "token.issued" in _found(a_sale(), [log[0], log[1]._replace(position=900), *log[2:]])


def _found(story: Story, events: Sequence[Event]) -> str:
    return "\n".join(violation.what for violation in compare(story.history, events))
