"""The board that waiting users are answered from: what it counts, how old it may be, how it is made anew."""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from statistics import median
from uuid import uuid4

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from aggregates.ids import ConcertCode, TokenId, UserId
from api.board import Line
from cli.rebuild import rebuild
from commands.join_queue import JoinQueue
from commands.open_wallet import OpenWallet
from infrastructure.tokens import Claims
from projections import seat_map
from projections.registry import PROJECTIONS
from tests.api.conftest import Start
from tests.api.grammar import Api, until
from tests.api.store import execute

END_BOARDS = """
    SELECT pg_terminate_backend(pid)
    FROM pg_stat_activity
    WHERE datname = current_database() AND application_name = 'ticketing-board'
"""

FORGET_CHANGES = "DELETE FROM queue_v2.token_changes"

WAIT_FOR_SEATS = """
    SELECT pid FROM pg_locks WHERE NOT granted AND relation = 'seat_map_v1.seats'::regclass
"""

numbers = st.integers(1, 60)


class NaiveLine:
    """A line as a list of everyone who stands in it."""

    def __init__(self, issued: int) -> None:
        self.waiting = list(range(1, issued + 1))

    def pass_to(self, head: int) -> None:
        """Let everyone up to this number in."""
        self.waiting = [number for number in self.waiting if number > head]

    def leave(self, number: int) -> None:
        """Somebody leaves before their turn."""
        self.waiting = [other for other in self.waiting if other != number]


@given(st.lists(st.tuples(st.booleans(), numbers), max_size=40))
def test_the_board_counts_who_waits_ahead_as_a_list_of_everyone_would(
    steps: list[tuple[bool, int]],
) -> None:
    line, naive = Line(ConcertCode("A1"), issued=60), NaiveLine(60)
    for moves, number in steps:
        if moves:
            line.head = max(line.head, number)
            line.forget_passed()
            naive.pass_to(line.head)
        elif number > line.head:
            line.leave(number)
            naive.leave(number)
    for number in range(1, 61):
        assert line.waits(number) == (number in naive.waiting)
        if number in naive.waiting:
            assert line.ahead_of(number) == naive.waiting.index(number)
    assert line.waiting - len(line.left) == len(naive.waiting)


@given(st.lists(numbers, max_size=60), st.integers(0, 60))
def test_who_leaves_is_remembered_once_and_only_until_the_gate_has_passed(
    leavers: list[int], head: int
) -> None:
    line = Line(ConcertCode("A1"), issued=60, head=head)
    for number in leavers:
        line.leave(number)
    assert line.left == sorted({number for number in leavers if number > head})


def test_reads_are_as_fresh_as_promised(api: Api) -> None:
    user_id = api.given_user()
    wallet = f"/api/v1/users/{user_id}/wallet"
    ages = []
    for balance in range(1, 11):
        api.when("POST", f"{wallet}/charges", {"amount": 1}).then(201)
        started = time.monotonic()
        until(lambda: api.when("GET", wallet), lambda then: then.json.get("balance") == balance)  # noqa: B023
        ages.append(time.monotonic() - started)
    assert median(ages) < 0.35


def test_the_board_is_as_fresh_as_promised(api: Api) -> None:
    sale = api.given_sale()
    ann, ben = sale.given_inside(), sale.given_inside()
    ages = []
    for _ in range(5):
        for held in (1, 0):
            ben.when_reserving(7) if held else ben.when_releasing()
            started = time.monotonic()
            until(
                lambda: ann.when_listing_dates(since=None),
                lambda then: then.json["dates"][0]["seats_held"] == held,  # noqa: B023
            )
            ages.append(time.monotonic() - started)
    assert median(ages) < 0.35


def test_nobody_sees_more_of_the_board_than_its_positions_say(api: Api) -> None:
    """Their next read may go to another process, which shows exactly what those positions say."""
    sale = api.given_sale()
    sale.given_waiting().when_asking().then(200)
    board, shown = api.service.services.board, set[tuple[int, int]]()

    async def watch() -> None:
        while (line := board.line(ConcertCode(sale.code))) is not None and line.issued < 6:
            shown.add((board.positions[board.QUEUE], line.issued))
            await asyncio.sleep(0)

    watching = api.service.start(watch())
    for _ in range(5):
        sale.given_waiting().when_asking().then(200)
    watching.result(10)
    assert len({position for position, _ in shown}) == len(shown)


def test_a_board_that_lost_its_connection_makes_another(start: Start) -> None:
    api = start()
    ann = api.given_sale().given_waiting()
    ann.when_asking().then(200)
    with psycopg.connect(api.service.dsn, autocommit=True) as connection:
        connection.execute(END_BOARDS)
    ann.sale.given_waiting().when_asking().then(200, place=2)


def test_a_board_that_meets_a_defect_says_so_and_goes_on(start: Start) -> None:
    api = start()
    ann = api.given_sale().given_waiting()
    ann.when_asking().then(200)
    with psycopg.connect(api.service.dsn, autocommit=True) as connection, capture_logs() as logged:
        connection.execute("ALTER VIEW ticketing.read_model_positions RENAME TO elsewhere")
        until(lambda: ann.when_asking(since=None), lambda then: then.status == 503)
        connection.execute("ALTER VIEW ticketing.elsewhere RENAME TO read_model_positions")
    assert any(entry["event"] == "board_not_refreshed" and "exc_info" in entry for entry in logged)
    until(lambda: ann.when_asking(since=None), lambda then: then.status == 200).then(200, place=1)


def test_a_board_whose_read_models_went_back_starts_over(start: Start) -> None:
    """After a restore from a backup, say."""
    api = start()
    sale = api.given_sale()
    ann, ben = sale.given_inside(), sale.given_waiting()
    ben.when_leaving().then_nothing()
    cat = sale.given_waiting()
    ann.when_looking_at_seats().then(200)
    cat.when_asking().then(200, place=1)
    with api.service.without_projector(), psycopg.connect(api.service.dsn) as connection:
        for projection in PROJECTIONS:
            tables = connection.execute(
                "SELECT tablename FROM pg_tables WHERE schemaname = %s", [projection.schema]
            ).fetchall()
            for (table,) in tables:
                connection.execute(f"TRUNCATE {projection.schema}.{table}".encode())
        connection.execute("UPDATE ticketing.projection_checkpoints SET position = 0")
        connection.commit()
        board = api.service.services.board
        api.service.until(lambda: board.reached == 0)
        ann.when_listing_dates(since=None).then_refused("READ_MODEL_BEHIND")
        assert list(board.lines()) == []
    cat.when_asking().then(200, place=1)
    ann.when_asking().then(200, status="ACTIVE")
    ann.when_looking_at_seats().then(200)


def test_a_board_that_was_stopped_for_long_starts_over(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which tokens have changed meanwhile is no longer kept."""
    api = start()
    sale = api.given_sale()
    ann, ben, cat = (sale.given_waiting() for _ in range(3))
    cat.when_asking().then(200, place=3)
    with psycopg.connect(api.service.dsn) as connection:
        connection.execute("LOCK TABLE ticketing.projection_schemas IN ACCESS EXCLUSIVE MODE")
        ann.when_leaving().then_nothing()
        with psycopg.connect(api.service.dsn, autocommit=True) as other:
            api.service.until(lambda: other.execute(FORGET_CHANGES).rowcount > 0)
        monkeypatch.setattr("api.board.CHANGES_FOLLOWED", timedelta())
    cat.when_asking(since=ann.seen).then(200, place=2)
    monkeypatch.undo()
    ben.when_leaving().then_nothing()
    cat.when_asking(since=ben.seen).then(200, place=1)


def test_a_board_shows_what_a_rebuild_has_put_right(start: Start) -> None:
    """Nothing in those rows says that they have changed."""
    api = start()
    sale = api.given_sale(seats=10)
    ann = sale.given_inside()
    with psycopg.connect(api.service.dsn, autocommit=True) as connection:
        connection.execute("UPDATE seat_map_v1.performances SET seats_held = 7, changed_position = 1000000")
    sale.given_waiting().when_asking().then(200)
    until(ann.when_listing_dates, lambda then: then.json["dates"][0]["seats_held"] == 7)
    ann.when_looking_at_seats().then(200)

    rebuild(api.service.dsn, [seat_map.PROJECTION], lambda *_: None)

    until(ann.when_listing_dates, lambda then: then.json["dates"][0]["seats_held"] == 0)
    ann.when_reserving(3).then(201)
    until(ann.when_listing_dates, lambda then: then.json["dates"][0]["seats_held"] == 1)


def test_seat_maps_take_no_more_memory_than_they_may(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.board.SEAT_MAPS_BYTES_MAX", 10_000)
    api = start()
    sale = api.given_sale(seats=40)
    days = [f"2096-05-0{day}" for day in range(1, 6)]
    for day in days:
        sale.given_performance(day, seats=40)
    ann = sale.given_inside()
    board = api.service.services.board
    for day in [*days, *days]:
        ann.when_looking_at_seats(day).then(200, date=day)
        kept = [len(rendered.body) for rendered in board._seat_maps.values()]
        assert sum(kept) == board._seat_maps_bytes <= 10_000
        assert len(board._rendering) == len(kept)
    assert len(board._seat_maps) == 2


def test_a_seat_map_is_rendered_once_per_change(api: Api) -> None:
    sale = api.given_sale()
    ann = sale.given_inside()
    ann.when_looking_at_seats().then(200)
    board = api.service.services.board
    rendered = next(iter(reversed(board._seat_maps.values())))
    for _ in range(3):
        ann.when_looking_at_seats().then(200)
    assert next(iter(reversed(board._seat_maps.values()))) is rendered


def test_a_seat_map_that_many_ask_for_at_once_is_rendered_once(api: Api) -> None:
    sale = api.given_sale()
    ann = sale.given_inside()
    ann.when_listing_dates().then(200)
    with ThreadPoolExecutor(8) as people:
        answers = list(people.map(lambda _: ann.when_looking_at_seats(), range(16)))
    assert len({answer.headers["etag"] for answer in answers}) == 1


def test_a_seat_map_that_is_rendered_while_the_board_starts_over_is_shown(api: Api) -> None:
    """It is not kept, since nobody knows what it shows."""
    ann = api.given_sale().given_inside()
    ann.when_listing_dates().then(200)
    board = api.service.services.board
    amended = board._amended
    with ThreadPoolExecutor(1) as people, psycopg.connect(api.service.dsn) as holder:
        holder.execute("LOCK TABLE seat_map_v1.seats")
        looking = people.submit(ann.when_looking_at_seats)
        api.service.until(lambda: holder.execute(WAIT_FOR_SEATS).fetchall())
        execute(api, "UPDATE ticketing.projection_checkpoints SET amended = amended + 1")
        api.service.until(lambda: board._amended != amended)
        holder.rollback()
        looking.result().then(200)
    ann.when_looking_at_seats().then(200)


def test_a_board_catches_up_with_any_number_of_changes(api: Api) -> None:
    sale = api.given_sale(max_active=3)
    line = [sale.given_waiting() for _ in range(9)]
    line[-1].when_asking().then(200, place=9)
    with api.service.without_projector():
        for buyer in line[3:8]:
            buyer.when_leaving().then_nothing()
        seen = max(buyer.seen for buyer in line)
    line[-1].when_asking(since=seen).then(200, place=4)
    sale.let_in()
    line[-1].when_asking().then(200, place=1)


def test_a_token_of_a_log_that_is_gone_is_invalid(api: Api) -> None:
    """The secret outlives the log that was restored from a backup, and its tokens do not."""
    sale = api.given_sale()
    ann = sale.given_inside()
    gone = Claims(UserId(uuid4()), ConcertCode(sale.code), 1, TokenId(uuid4()), time.time())
    token = api.service.services.signer.sign(gone)
    sale.when("GET", "/token", token=token, since=ann.seen).then_refused("TOKEN_INVALID")
    sale.when("GET", "/dates", token=token, since=ann.seen).then_refused("TOKEN_INVALID")
    sale.when("DELETE", "/token", token=token).then_refused("TOKEN_INVALID")


def test_those_far_back_need_not_ask_as_often(api: Api) -> None:
    sale = api.given_sale()
    users = [UserId(uuid4()) for _ in range(600)]
    api.service.do_all(OpenWallet(user_id, None) for user_id in users)
    api.service.do_all(JoinQueue(ConcertCode(sale.code), user_id, TokenId(uuid4())) for user_id in users)
    last = sale.given_waiting()
    asked = last.when_asking().then(200, place=601, poll_after_ms=1_200)
    assert asked.headers["retry-after"] == "2"
    last.when_joining().then(200, poll_after_ms=1_200)
    refused = last.when_listing_dates().then_refused("TOKEN_NOT_ACTIVE", place=601)
    assert refused.headers["retry-after"] == "2"
