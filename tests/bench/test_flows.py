"""Races and visits of the benchmarks, told what to think of by their answers."""

import msgspec
import pytest

from bench import races, visits
from bench.calls import HALL_SEATS, Buyer
from bench.client import Answer, Flow
from bench.measured import UnexpectedAnswer
from bench.races import RACES, TRIES, Races
from bench.visits import WAITING, Visits

WON = Answer(201, b"{}")
LOST = Answer(409, b'{"code":"SEAT_ALREADY_HELD"}')


def race(clients: int) -> Races:
    """A race of so many clients."""
    buyers = [Buyer(str(number), f"token-{number}", "ACTIVE") for number in range(RACES * clients)]
    return Races("HALL", buyers, clients)


def played(flow: Flow, *answers: Answer) -> list[bytes]:
    """What a flow asks for, answered one after another with these, the last of them to its end."""
    asked = [next(flow)]
    try:
        while True:
            asked.append(flow.send(answers[min(len(asked), len(answers)) - 1]))
    except StopIteration:
        return asked


def test_as_many_winners_as_seats_are_a_race_as_it_should_be() -> None:
    fair = race(HALL_SEATS)
    for client in range(HALL_SEATS):
        assert len(played(fair.run(client), WON)) == RACES, "who has a seat goes for no other"
    fair.check()


@pytest.mark.parametrize("winners", [HALL_SEATS - 1, HALL_SEATS + 1])
def test_a_seat_too_few_or_too_many_fails_the_benchmark(winners: int) -> None:
    unfair = race(winners)
    for client in range(winners):
        played(unfair.run(client), WON)
    with pytest.raises(UnexpectedAnswer, match="should have won"):
        unfair.check()


def test_who_loses_tries_other_seats_of_the_same_performance() -> None:
    first = played(race(2).run(0), LOST)[: races.TRIES]
    assert len(set(first)) == TRIES
    assert len({asked.partition(b'"date":')[2][:12] for asked in first}) == 1


@pytest.mark.parametrize("answer", [Answer(409, b'{"code":"RESERVATION_ALREADY_OPEN"}'), Answer(503, b"")])
def test_any_other_answer_fails_the_race(answer: Answer) -> None:
    with pytest.raises(UnexpectedAnswer, match=str(answer.status)):
        played(race(1).run(0), answer)


def token(user_id: str, status: str) -> bytes:
    return msgspec.json.encode(Buyer(user_id, f"token-of-{user_id}", status))


def step(asked: bytes) -> str:
    """Which call it is."""
    method, path, _ = asked.split(b" ", 2)
    name = path.rpartition(b"/")[2].partition(b"?")[0].decode()
    return f"{method.decode()} {name}"


STATUSES = {"POST token": 201, "POST reservations": 201, "POST charges": 201, "POST payments": 201}

WHOLE = ["GET token", "GET dates", "GET seats", "POST reservations", "POST charges", "POST payments"]


def visited(users: int, *, polls_in_vain: int = 0) -> tuple[list[str], Visits]:
    """The calls of a connection whose first polls come too early."""
    coming = Visits(lambda concert: f"TOUR-{concert}", [f"user-{number}" for number in range(users)], 0.0)
    flow = coming.follow()
    steps: list[str] = []
    asked = next(flow)
    try:
        while True:
            steps.append(step(asked))
            too_early = steps.count("GET token") <= polls_in_vain
            body = token("someone", "WAITING" if too_early else "ACTIVE")
            asked = flow.send(Answer(STATUSES.get(steps[-1], 200), body))
    except StopIteration:
        return steps, coming


def test_a_visit_is_seven_calls_and_others_join_while_it_waits() -> None:
    steps, coming = visited(users=WAITING + 2)
    assert steps[: WAITING + 1] == ["POST token"] * (WAITING + 1)
    assert steps[WAITING + 1 : WAITING + 8] == [*WHOLE, "POST token"]
    assert len(steps) == 7 * (WAITING + 2)
    assert [like.status for like in coming.likes()] == [201, 200, 200, 200, 201, 201, 201]
    assert coming.remark() == "1.00 polls a visit"


def test_who_is_not_let_in_yet_is_asked_about_again_and_that_is_counted() -> None:
    steps, coming = visited(users=4, polls_in_vain=2)
    assert steps.count("GET token") == 6
    assert steps.count("POST payments") == 4
    assert coming.remark() == "1.50 polls a visit"


def test_a_refusal_in_a_visit_fails_the_benchmark() -> None:
    flow = visits.Visits(lambda _: "TOUR", ["user"], 0.0).follow()
    next(flow)
    with pytest.raises(UnexpectedAnswer, match="in a visit, token"):
        flow.send(Answer(409, b"{}"))
