"""Poison: an event that cannot be applied is tried three times, parked with what follows it, and retried."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, LiteralString
from uuid import UUID

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg.rows import tuple_row
from structlog.testing import capture_logs

from aggregates.concert import SalesOpened
from aggregates.event import RecordedEvent
from aggregates.registry import AGGREGATES
from aggregates.seat import SeatHeld
from aggregates.stream import stream_id
from aggregates.wallet import WalletCharged
from projections import checkpoints, dead_letters, projector, retrying
from projections.dead_letters import DeadLetter
from projections.feed import Unreadable
from projections.projection import Projection
from projections.projector import Projector
from projections.registry import PROJECTIONS
from projections.retrying import StillFails
from tests.aggregates.given import ANN, BEN
from tests.commands.sale import Sale
from tests.commands.steps import (
    CAT,
    PRICE,
    SHOW_STARTS_AT,
    expire,
    inside,
    join,
    leave,
    let_in,
    on_sale,
    pay,
    refund,
    release,
    reserve,
    schedule,
    waiting,
    withdraw,
)
from tests.projections import tables
from tests.projections.histories import MATINEE, Crowd, crowds
from tests.projections.poison import Poison
from tests.projections.read_models import ListFeed, connect, project, projecting
from tests.projections.test_projector import run_until

NAMES = [projection.name for projection in PROJECTIONS]

SEAT_8 = "seat/IU-2026/2026-04-01T19:30/8"

EXAMPLES = settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])

FORGET: LiteralString = "DELETE FROM ticketing.dead_letters"


@pytest.fixture(autouse=True)
def logs(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sequence[Mapping[str, Any]]]:
    """What is logged; nobody rests between two tries."""
    monkeypatch.setattr(projector, "REST_MIN_S", 0.0)
    with capture_logs() as logs:
        yield logs


def a_sale() -> Sequence[RecordedEvent]:
    """Ann takes seat 7 and pays; Ben takes seat 8, gives it back, and takes it again."""
    sale = Sale()
    sale.done(on_sale(), inside(ANN, balance=2 * PRICE), inside(BEN, 2, balance=PRICE))
    sale.done(reserve(ANN, 7), pay(ANN), reserve(BEN, 8), release(BEN), reserve(BEN, 8, nth=2))
    return sale.log.events


def a_whole_sale() -> Sequence[RecordedEvent]:
    """Of every kind of stream several, and something of every other between any two of its events."""
    sale = Sale()
    sale.done(on_sale(seats=3), schedule(seats=2, start_time=MATINEE), inside(ANN, balance=2 * PRICE))
    sale.done(reserve(ANN, 1), pay(ANN), inside(BEN, 2), reserve(BEN, 2), refund(ANN))
    sale.ask(pay(BEN))
    sale.done(release(BEN), reserve(BEN, 1, nth=2), waiting(CAT, balance=PRICE), let_in((3, CAT)))
    sale.done(reserve(CAT, 3), pay(CAT), join(CAT, visit=2), leave(CAT, visit=2))
    sale.done(SHOW_STARTS_AT, expire(BEN), withdraw())
    return sale.log.events


def first(events: Sequence[RecordedEvent], event_type: type[Any], stream: str = "") -> RecordedEvent:
    """The first event of this kind in a stream of this name."""
    return next(one for one in events if isinstance(one.event, event_type) and one.stream.startswith(stream))


def rows(connection: psycopg.Connection[Any]) -> Mapping[str, Sequence[str]]:
    """All that is in the read models, and how far they have come."""
    projected = dict(tables.projected(connection))
    del projected["ticketing.projection_checkpoints"]
    cursor = connection.cursor(row_factory=tuple_row)
    cursor.execute("SELECT projection, position FROM ticketing.projection_checkpoints ORDER BY projection")
    return {**projected, "checkpoints": [str(row) for row in cursor.fetchall()]}


def letters(dsn: str) -> Sequence[DeadLetter]:
    async def run() -> Sequence[DeadLetter]:
        async with await connect(dsn) as connection:
            return await dead_letters.find_all(connection)

    return asyncio.run(run())


def parked(dsn: str) -> Mapping[str, Sequence[int]]:
    """The positions of all that is parked, by projection."""
    found: dict[str, list[int]] = {}
    for letter in letters(dsn):
        if letter.dropped_at is None:
            found.setdefault(letter.projection, []).append(letter.position)
    return found


def expected_parked(events: Sequence[RecordedEvent], poison: set[int]) -> Mapping[str, Sequence[int]]:
    """From the first poison of a stream on, all that the projection listens to."""
    found: dict[str, list[int]] = {}
    for projection in PROJECTIONS:
        streams = set()
        for event in events:
            if projection.listens_to(event.event):
                if event.position in poison:
                    streams.add(event.stream)
                if event.stream in streams:
                    found.setdefault(projection.name, []).append(event.position)
    return found


def project_poison(
    dsn: str, events: Sequence[RecordedEvent], poison: Poison, *, at_once: int = 1, **options: Any
) -> Sequence[Projector]:
    """Let so many projectors go through the log with poison in it."""
    poisoned = [poison.into(projection) for projection in PROJECTIONS]
    projectors = [Projector(dsn, ListFeed(events), poisoned, **options) for _ in range(at_once)]
    asyncio.run(run_until(projectors, NAMES, events[-1].position))
    return projectors


async def retry(
    dsn: str, events: Sequence[RecordedEvent], projection: Projection[Any], stream: UUID | str
) -> int:
    by_position = {event.position: event for event in events}

    async def read_at(positions: Sequence[int]) -> Sequence[RecordedEvent]:
        return [by_position[position] for position in positions]

    id_ = stream_id(stream) if isinstance(stream, str) else stream
    async with await connect(dsn) as connection:
        return await retrying.retry(connection, dsn, projection, id_, read_at)


def named(name: str) -> Projection[Any]:
    return PROJECTIONS[NAMES.index(name)]


@pytest.mark.parametrize("batch_events_max", [7, 5_000])
def test_poison_is_parked_with_what_follows_in_its_stream_and_all_else_goes_on(
    dsn: str, connection: psycopg.Connection[Any], batch_events_max: int
) -> None:
    events = a_sale()
    held = first(events, SeatHeld, SEAT_8)
    poison = Poison([held.position])
    others = [event for event in events if event.stream != held.stream]
    project(dsn, others)
    untouched = tables.projected(connection)["seat_map_v1.seats"]
    tables.empty(connection)

    (projected,) = project_poison(dsn, events, poison, batch_events_max=batch_events_max)

    assert parked(dsn) == expected_parked(events, poison.positions) != {}
    assert set(parked(dsn)) == {"seat_map"}
    assert tables.projected(connection)["seat_map_v1.seats"] == untouched
    parking, *waiting = letters(dsn)
    assert (parking.state, parking.tries, parking.stream) == ("FAILED", 3, held.stream)
    assert parking.topic == "seat.held"
    assert {(letter.state, letter.tries, letter.error) for letter in waiting} == {("WAITS", 0, None)}
    assert projected.standings["seat_map"].parked == 1 + len(waiting)
    assert projected.standings["seat_map"].failures == 3
    assert {projected.standings[name].failures for name in NAMES if name != "seat_map"} == {0}


def test_an_event_is_tried_three_times_by_itself(dsn: str) -> None:
    events = a_sale()
    held = first(events, SeatHeld)
    poison = Poison([held.position])

    async def run() -> Projector:
        async with projecting(
            Projector(dsn, ListFeed(events), [poison.into(named("seat_map"))], batch_events_max=1_000)
        ) as projector:
            standing = projector.standings["seat_map"]
            for tries in (1, 2):
                await projector.advance()
                assert (standing.tries, standing.failing) == (tries, held.position)
                assert standing.position < held.position
                assert standing.failures_in_a_row == tries
            tried = len(poison.tried)
            await projector.advance()
            assert len(poison.tried) == tried + 1
            assert standing.position >= held.position
            return projector

    assert asyncio.run(run()).standings["seat_map"].parked == 1


def test_an_event_that_can_be_applied_after_all_is_not_parked(
    dsn: str, connection: psycopg.Connection[Any]
) -> None:
    events = a_sale()
    project(dsn, events)
    expected = rows(connection)
    tables.empty(connection)
    poison = Poison([first(events, SeatHeld).position])

    async def run() -> None:
        poisoned = [poison.into(projection) for projection in PROJECTIONS]
        async with projecting(Projector(dsn, ListFeed(events), poisoned)) as projector:
            await projector.advance()
            await projector.advance()
            poison.heal()
            while await projector.advance():
                pass

    asyncio.run(run())

    assert letters(dsn) == []
    assert rows(connection) == expected


STORE_FAILURES: Sequence[LiteralString] = (
    "DO $$ BEGIN RAISE EXCEPTION 'disk full' USING ERRCODE = '53100'; END $$",
    "DO $$ BEGIN RAISE EXCEPTION 'deadlock' USING ERRCODE = '40P01'; END $$",
    "DO $$ BEGIN RAISE EXCEPTION 'timeout' USING ERRCODE = '57014'; END $$",
    "DO $$ BEGIN RAISE EXCEPTION 'locked' USING ERRCODE = '55P03'; END $$",
    "DO $$ BEGIN RAISE EXCEPTION 'a standby' USING ERRCODE = '25006'; END $$",
    "SELECT * FROM nowhere",
    "this is not SQL",
)


@pytest.mark.parametrize("failing", STORE_FAILURES)
def test_a_failure_of_the_store_or_of_a_statement_parks_nothing(dsn: str, failing: LiteralString) -> None:
    events = a_sale()

    class BrokenProjection(Projection[Any]):
        __slots__ = ()

        async def apply(self, connection: Any, events: Sequence[RecordedEvent]) -> None:  # noqa: ARG002 (none gets so far)
            await connection.execute(failing)

    broken = BrokenProjection(*named("concerts"))

    async def run() -> Projector:
        async with projecting(Projector(dsn, ListFeed(events), [broken, named("queue")])) as projector:
            for _ in range(6):
                await projector.advance()
            return projector

    standings = asyncio.run(run()).standings

    assert letters(dsn) == []
    assert standings["concerts"].position == 0
    assert standings["concerts"].failures_in_a_row == 6
    assert standings["queue"].position == events[-1].position


def test_two_projectors_park_the_same_once(dsn: str, connection: psycopg.Connection[Any]) -> None:
    events = a_sale()
    poison = Poison([event.position for event in events[10::9]])
    project_poison(dsn, events, poison)
    by_one = rows(connection), parked(dsn)
    tables.empty(connection)
    connection.execute(FORGET)

    racing = project_poison(dsn, events, poison, at_once=3, batch_events_max=5)

    assert (rows(connection), parked(dsn)) == by_one
    assert sum(one.standings[name].parked for one in racing for name in NAMES) == len(letters(dsn))
    for name in NAMES:
        assert sum(one.standings[name].events for one in racing) == len(events)


@pytest.mark.parametrize("statement", [dead_letters.PARK, checkpoints.MOVE])
def test_a_session_that_ends_while_parking_leaves_both_or_neither(
    dsn: str, connection: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch, statement: str
) -> None:
    """The letter and the checkpoint behind it are written together, wherever it is cut off."""
    events = a_sale()
    poison = Poison([first(events, SeatHeld).position])
    cut_off: LiteralString = "SELECT pg_terminate_backend(pg_backend_pid()), %s::text"
    park, cuts = dead_letters.park, [2]

    async def park_and_die(dying: Any, projection: Any, found: Any) -> None:
        if statement == checkpoints.MOVE:
            await park(dying, projection, found)
        if found and cuts[0]:
            cuts[0] -= 1
            await dying.execute(cut_off, [projection.name])
        if statement != checkpoints.MOVE:
            await park(dying, projection, found)

    monkeypatch.setattr(dead_letters, "park", park_and_die)
    (projected,) = project_poison(dsn, events, poison)

    assert projected.store_losses == 2
    assert parked(dsn) == expected_parked(events, poison.positions)


def unreadable(recorded: RecordedEvent, meant: type[Any] | None) -> RecordedEvent:
    event = Unreadable("seat.painted", meant, stream_id(recorded.stream), "UnknownTopic: seat.painted")
    return RecordedEvent(
        recorded.position, recorded.stream, recorded.version, event, recorded.partition_key,
        recorded.recorded_at, recorded.command_id, recorded.correlation_id, recorded.causation_id,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("meant", "concerned"),
    [(None, NAMES), (SeatHeld, ["seat_map"]), (SalesOpened, ["concerts", "deadlines"])],
)
def test_an_unreadable_event_is_parked_by_whom_it_could_concern(
    dsn: str, meant: type[Any] | None, concerned: Sequence[str]
) -> None:
    events = [*a_sale()]
    held = first(events, SeatHeld)
    events[held.position - 1] = unreadable(held, meant)

    project(dsn, events)

    found = parked(dsn)
    assert sorted(found) == sorted(concerned)
    assert {positions[0] for positions in found.values()} == {held.position}
    assert all(positions == [held.position] for name, positions in found.items() if name != "seat_map")
    assert {letter.error for letter in letters(dsn)} <= {"UnknownTopic: seat.painted", None}
    with pytest.raises(StillFails, match="UnknownTopic"):
        asyncio.run(retry(dsn, events, named(concerned[0]), held.stream))


def test_what_was_parked_is_applied_when_it_is_retried(dsn: str, connection: psycopg.Connection[Any]) -> None:
    events = a_sale()
    project(dsn, events)
    expected = rows(connection)
    tables.empty(connection)
    held = first(events, SeatHeld, SEAT_8)
    project_poison(dsn, events, Poison([held.position]))
    count = len(parked(dsn)["seat_map"])
    assert count > 2

    assert asyncio.run(retry(dsn, events, named("seat_map"), held.stream)) == count

    assert letters(dsn) == []
    assert rows(connection) == expected
    assert asyncio.run(retry(dsn, events, named("seat_map"), held.stream)) == 0


@pytest.mark.parametrize("at_once", [1, 2, 1_000])
def test_a_retry_stops_at_the_first_that_still_fails(
    dsn: str, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr(retrying, "EVENTS_AT_ONCE_MAX", at_once)
    events = a_sale()
    of_seat = [event for event in events if event.stream == SEAT_8]
    poison = Poison([of_seat[0].position])
    project_poison(dsn, events, poison)
    poison.positions = {of_seat[1].position}

    with pytest.raises(StillFails) as still:
        asyncio.run(retry(dsn, events, poison.into(named("seat_map")), of_seat[0].stream))

    assert still.value.position == of_seat[1].position
    left = letters(dsn)
    assert [letter.position for letter in left] == [event.position for event in of_seat[1:]]
    assert (left[0].state, left[0].tries) == ("FAILED", 1)


def test_what_is_recorded_while_a_stream_is_parked_waits_its_turn(
    dsn: str, connection: psycopg.Connection[Any]
) -> None:
    events = a_sale()
    half = first(events, SeatHeld, SEAT_8).position
    project(dsn, events)
    expected = rows(connection)
    tables.empty(connection)

    project_poison(dsn, events[:half], Poison([half]))
    project(dsn, events)

    assert parked(dsn) == expected_parked(events, {half})
    asyncio.run(retry(dsn, events, named("seat_map"), events[half - 1].stream))
    assert rows(connection) == expected


def test_what_is_dropped_stays_on_record_and_lets_the_rest_be_retried(dsn: str) -> None:
    events = a_sale()
    charged = first(events, WalletCharged)
    poison = Poison([charged.position])
    project_poison(dsn, events, poison)

    async def drop(position: int) -> bool:
        async with await connect(dsn) as connection:
            return await dead_letters.drop(
                connection, "wallet_entries", position, by="ann", reason="a test charge"
            )

    assert asyncio.run(drop(charged.position))
    assert not asyncio.run(drop(charged.position))
    assert not asyncio.run(drop(events[-1].position))
    retried = asyncio.run(retry(dsn, events, poison.into(named("wallet_entries")), charged.stream))

    assert retried == len(expected_parked(events, {charged.position})["wallet_entries"]) - 1
    (dropped,) = letters(dsn)
    assert (dropped.state, dropped.dropped_by, dropped.dropped_reason) == ("DROPPED", "ann", "a test charge")
    assert parked(dsn) == {}


def test_each_stream_can_be_parked_from_its_first_event_on_and_retried_at_the_end(
    dsn: str, connection: psycopg.Connection[Any]
) -> None:
    """Whatever other streams have done to the same rows in the meantime."""
    events = a_whole_sale()
    project(dsn, events)
    untroubled = rows(connection)
    firsts = {event.stream: event.position for event in reversed(events)}
    assert {stream.partition("/")[0] for stream in firsts} == {aggregate.kind for aggregate in AGGREGATES}
    for stream, position in firsts.items():
        tables.empty(connection)
        project_poison(dsn, events, Poison([position]))
        concerned = parked(dsn)
        for name in concerned:
            asyncio.run(retry(dsn, events, named(name), stream))
        assert concerned == expected_parked(events, {position}) != {}
        assert rows(connection) == untroubled, stream


@EXAMPLES
@given(crowds(), st.data())
def test_whatever_was_parked_and_in_whatever_order_it_is_retried_the_rows_are_the_same(
    dsn: str, crowd: Crowd, data: st.DataObject
) -> None:
    events = crowd.events
    streams = sorted({event.stream for event in events})
    poisoned = data.draw(st.sets(st.sampled_from(streams), min_size=1, max_size=5), label="poisoned")
    poison = Poison(
        data.draw(st.sampled_from([event.position for event in events if event.stream == stream]))
        for stream in sorted(poisoned)
    )
    with psycopg.connect(dsn, autocommit=True) as connection:
        tables.empty(connection)
        connection.execute(FORGET)
        project(dsn, events)
        untroubled = rows(connection)
        tables.empty(connection)
        batch_events_max = data.draw(st.sampled_from([3, 10, 5_000]), label="batch_events_max")
        project_poison(dsn, events, poison, batch_events_max=batch_events_max)

        found = letters(dsn)
        assert parked(dsn) == expected_parked(events, poison.positions)
        waiting = sorted({(letter.projection, letter.stream_id) for letter in found})
        for name, stream in data.draw(st.permutations(waiting), label="retried"):
            asyncio.run(retry(dsn, events, named(name), stream))

        assert letters(dsn) == []
        assert rows(connection) == untroubled


def test_an_amended_read_model_says_so(dsn: str) -> None:
    events = a_sale()
    held = first(events, SeatHeld)
    project_poison(dsn, events, Poison([held.position]))

    async def amended() -> int:
        async with await connect(dsn) as connection:
            return (await checkpoints.places(connection, PROJECTIONS))["seat_map"].amended

    before = asyncio.run(amended())
    asyncio.run(retry(dsn, events, named("seat_map"), held.stream))
    assert asyncio.run(amended()) == before + 1


def test_what_is_parked_is_counted(dsn: str) -> None:
    events = a_sale()
    charged = first(events, WalletCharged)
    project_poison(dsn, events, Poison([charged.position]))

    async def count() -> Mapping[str, dead_letters.Parked]:
        async with await connect(dsn) as connection:
            return await dead_letters.count(connection)

    counted = asyncio.run(count())

    assert set(counted) == {"wallet_entries"}
    one = counted["wallet_entries"]
    assert (one.events, one.streams) == (len(parked(dsn)["wallet_entries"]), 1)
    assert one.oldest_s >= 0
