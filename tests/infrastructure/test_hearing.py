"""Q8: nobody is cancelled for a silence that we could not hear."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID, uuid5

import pytest
from structlog.testing import capture_logs

from aggregates.ids import TokenId, UserId
from aggregates.token import TokenCancelled
from infrastructure.hearing import Hearing
from tests.aggregates.given import ANN, BEN, token_of
from tests.commands.steps import abandon, waiting
from tests.infrastructure.read_only import nobody_writes
from tests.live_sale import LiveSale, on_sale

WAITING = """
    SELECT pid FROM pg_stat_activity
    WHERE datname = current_database() AND application_name = 'ticketing-hearing'
      AND wait_event_type = 'Lock'
"""

END_WAITING = f"SELECT pg_terminate_backend(pid) FROM ({WAITING}) AS waiting"  # noqa: S608 (a constant)

LET_NOBODY_TELL_OTHERS = """
    CREATE FUNCTION ticketing.fail() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE EXCEPTION 'they stand in each other''s way' USING ERRCODE = '40P01'; END $$;
    CREATE TRIGGER untold BEFORE UPDATE ON ticketing.hearing
        FOR EACH ROW WHEN (new.beat_at = old.beat_at) EXECUTE FUNCTION ticketing.fail();
"""

HOUR = timedelta(hours=1)
WRITE_EVERY_S = 0.05


class Heartbeat(NamedTuple):
    process_id: UUID
    since: datetime
    beat_at: datetime


class Listener:
    """An API process that listens."""

    def __init__(self, sale: LiveSale) -> None:
        before = {beat.process_id for beat in heartbeats(sale)}
        self._sale = sale
        self._stop = asyncio.Event()
        self.hearing = Hearing(sale.dsn, WRITE_EVERY_S)
        self._running = sale.in_background(self.hearing.run(self._stop))
        sale.until(lambda: self.hearing.counts)
        (self.process_id,) = {beat.process_id for beat in heartbeats(sale)} - before

    def hears(self, user_id: UserId) -> None:
        self.hears_of(token_of(user_id))

    def hears_of(self, token_id: TokenId) -> None:
        self.hearing.heard(token_id)

    def beats_again(self, times: int = 3) -> None:
        """Let it write what it has heard, and look after the others."""
        for _ in range(times):
            last = heartbeat(self._sale, self.process_id)
            self._sale.until(lambda: heartbeat(self._sale, self.process_id).beat_at > last.beat_at)  # noqa: B023

    def says_goodbye(self) -> None:
        self._stop.set()
        self._sale.until(self._running.done)

    def dies(self) -> None:
        """End without a goodbye, as when it is killed: the session ends, the heartbeat stays."""
        self._running.cancel()
        self._sale.until(self._running.done)


@pytest.fixture
def line(sale: LiveSale) -> LiveSale:
    """Ann joined an hour ago, and may be silent for ten minutes."""
    sale.done(on_sale(), waiting(ANN), ago=HOUR)
    return sale


@pytest.fixture
def listening_process(line: LiveSale) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-m", "tests.infrastructure.listening", line.dsn])
    line.until(lambda: heartbeats(line))
    yield process
    process.kill()
    process.wait()


def test_who_is_silent_while_everybody_listens_is_cancelled(line: LiveSale) -> None:
    Listener(line)
    an_hour_passes(line)
    assert cancelled(line)


def test_who_was_heard_lately_is_not_cancelled(line: LiveSale) -> None:
    listener = Listener(line)
    an_hour_passes(line)
    listener.hears(ANN)
    listener.beats_again()
    assert not cancelled(line)
    an_hour_passes(line)
    assert cancelled(line)


def test_where_nobody_listens_nobody_is_cancelled(line: LiveSale) -> None:
    assert not cancelled(line)


def test_one_who_has_just_begun_to_listen_has_heard_no_silence(line: LiveSale) -> None:
    Listener(line)
    assert not cancelled(line)


def test_when_another_begins_to_listen_all_silence_counts_anew(line: LiveSale) -> None:
    Listener(line)
    an_hour_passes(line)
    Listener(line).says_goodbye()
    assert not cancelled(line)


def test_also_where_it_could_not_tell_the_others_at_once(line: LiveSale) -> None:
    Listener(line)
    an_hour_passes(line)
    line.connection.execute(LET_NOBODY_TELL_OTHERS)
    hearing, stop = Hearing(line.dsn, WRITE_EVERY_S), asyncio.Event()
    try:
        with capture_logs() as logs:
            running = line.in_background(hearing.run(stop))
            line.until(lambda: logs)
    finally:
        line.connection.execute("DROP FUNCTION ticketing.fail CASCADE")
    line.until(lambda: hearing.counts)
    stop.set()
    line.until(running.done)
    assert not cancelled(line)


def test_what_was_heard_last_is_written_with_the_goodbye(line: LiveSale) -> None:
    one, other = Listener(line), Listener(line)
    an_hour_passes(line)
    other.hears(ANN)
    other.says_goodbye()
    assert [beat.process_id for beat in heartbeats(line)] == [one.process_id]
    assert not cancelled(line)


def test_a_goodbye_does_not_make_all_silence_count_anew(line: LiveSale) -> None:
    _, other = Listener(line), Listener(line)
    an_hour_passes(line)
    other.says_goodbye()
    assert cancelled(line)


def test_after_the_last_goodbye_nobody_is_cancelled(line: LiveSale) -> None:
    listener = Listener(line)
    an_hour_passes(line)
    listener.says_goodbye()
    assert not heartbeats(line)
    assert not cancelled(line)


def test_while_a_heartbeat_is_late_nobody_is_cancelled(line: LiveSale) -> None:
    _, other = Listener(line), Listener(line)
    other.dies()
    an_hour_passes(line)
    seconds_pass_without_a_beat(line, other.process_id, 11)
    assert not cancelled(line)


def test_when_one_is_gone_without_a_goodbye_all_silence_counts_anew(line: LiveSale) -> None:
    one, other = Listener(line), Listener(line)
    other.dies()
    an_hour_passes(line)
    seconds_pass_without_a_beat(line, other.process_id, 20)
    one.beats_again()
    assert [beat.process_id for beat in heartbeats(line)] == [one.process_id]
    assert not cancelled(line)
    an_hour_passes(line)
    assert cancelled(line)


def test_that_it_counts_anew_is_not_forgotten_when_the_one_who_noticed_leaves(line: LiveSale) -> None:
    one, two, three = Listener(line), Listener(line), Listener(line)
    one.dies()
    an_hour_passes(line)
    seconds_pass_without_a_beat(line, one.process_id, 20)
    two.beats_again()
    three.beats_again()
    two.says_goodbye()
    assert not cancelled(line)


def test_when_its_own_heartbeat_was_late_all_silence_counts_anew(line: LiveSale) -> None:
    one, other = Listener(line), Listener(line)
    an_hour_passes(line)
    seconds_pass_without_a_beat(line, other.process_id, 11)
    one.beats_again()
    other.beats_again()
    other.says_goodbye()
    assert not cancelled(line)


def test_one_that_is_killed_is_noticed_by_another(
    line: LiveSale, listening_process: subprocess.Popen[bytes]
) -> None:
    (killed,) = heartbeats(line)
    one = Listener(line)
    listening_process.kill()
    listening_process.wait()
    an_hour_passes(line)
    seconds_pass_without_a_beat(line, killed.process_id, 20)
    one.beats_again()
    assert [beat.process_id for beat in heartbeats(line)] == [one.process_id]
    assert not cancelled(line)


def test_one_that_is_stopped_may_be_talked_to_in_vain_until_it_goes_on(
    line: LiveSale, listening_process: subprocess.Popen[bytes]
) -> None:
    (stopped,) = heartbeats(line)
    one = Listener(line)
    os.kill(listening_process.pid, signal.SIGSTOP)
    an_hour_passes(line)
    seconds_pass_without_a_beat(line, stopped.process_id, 20)
    one.beats_again()
    assert len(heartbeats(line)) == 2
    assert not cancelled(line)

    late = heartbeat(line, stopped.process_id)
    os.kill(listening_process.pid, signal.SIGCONT)
    line.until(lambda: heartbeat(line, stopped.process_id).since > late.since)
    one.beats_again()
    assert not cancelled(line)
    an_hour_passes(line)
    assert cancelled(line)


def test_nobody_is_cancelled_by_a_clock_that_was_set_back(line: LiveSale) -> None:
    Listener(line)
    an_hour_passes(line)
    line.done(waiting(BEN), ago=-HOUR)
    assert not cancelled(line)


def test_what_could_not_be_written_is_written_when_the_database_can_be_reached_again(line: LiveSale) -> None:
    listener = Listener(line)
    an_hour_passes(line)
    listener.hears(ANN)
    with line.connection.transaction():
        line.connection.execute("LOCK TABLE ticketing.heard IN SHARE MODE")
        line.until(lambda: end_waiting_session(line))
    listener.beats_again()
    assert not cancelled(line)


def test_several_who_hear_the_same_people_do_not_stand_in_each_other_s_way(line: LiveSale) -> None:
    listeners = [Listener(line) for _ in range(3)]
    tokens = [TokenId(UUID(int=number)) for number in range(2_000)]
    for listener in listeners:
        for token_id in tokens if listener is listeners[0] else reversed(tokens):
            listener.hears_of(token_id)
        listener.beats_again(1)
    for listener in listeners:
        listener.says_goodbye()
    assert line.connection.execute("SELECT count(*) FROM ticketing.heard").fetchone() == (len(tokens),)


def test_all_write_in_the_same_order_so_that_none_waits_for_one_who_waits_for_it(line: LiveSale) -> None:
    listener = Listener(line)
    tokens = sorted(TokenId(uuid5(UUID(int=4), str(number))) for number in range(100))
    for token_id in tokens:
        listener.hears_of(token_id)
    listener.beats_again()
    with line.connection.transaction():
        line.connection.execute(
            "UPDATE ticketing.heard SET last_heard_at = now() WHERE token_id = %s", tokens[-1:]
        )
        for token_id in tokens:
            listener.hears_of(token_id)
        line.until(lambda: line.connection.execute(WAITING).fetchall())
        free = line.connection.execute("SELECT token_id FROM ticketing.heard FOR UPDATE SKIP LOCKED")
        assert free.fetchall() == [tuple(tokens[-1:])], "it has come to the last one, and has all others"


def test_one_that_may_not_write_for_a_while_keeps_what_it_hears_and_goes_on(line: LiveSale) -> None:
    listener = Listener(line)
    with nobody_writes(line.dsn, "ticketing-hearing"), capture_logs() as logs:
        listener.hears(ANN)
        line.until(lambda: any("read-only" in entry["error"] for entry in logs))
    listener.beats_again()
    heard = line.connection.execute("SELECT token_id FROM ticketing.heard").fetchall()
    assert heard == [(token_of(ANN),)]


def test_what_is_heard_counts_from_the_first_heartbeat_on(line: LiveSale) -> None:
    assert not Hearing(line.dsn).counts
    assert Listener(line).hearing.counts


def cancelled(sale: LiveSale) -> bool:
    """Let the timer ask whether Ann has been silent for too long."""
    (outcome,) = sale.ask(abandon(ANN))
    assert outcome is None
    return sale.events(TokenCancelled) == [TokenCancelled("abandoned")]


def end_waiting_session(sale: LiveSale) -> bool:
    """End the session of one whose writing waits for a lock."""
    return sale.connection.execute(END_WAITING).fetchall() != []


def heartbeats(sale: LiveSale) -> list[Heartbeat]:
    rows = sale.connection.execute("SELECT process_id, since, beat_at FROM ticketing.hearing").fetchall()
    return [Heartbeat(*row) for row in rows]


def heartbeat(sale: LiveSale, process_id: UUID) -> Heartbeat:
    (found,) = (beat for beat in heartbeats(sale) if beat.process_id == process_id)
    return found


def an_hour_passes(sale: LiveSale) -> None:
    """Let what was heard, and since when, be an hour old; heartbeats go on all the while."""
    sale.connection.execute("UPDATE ticketing.heard SET last_heard_at = last_heard_at - interval '1 hour'")
    sale.connection.execute("UPDATE ticketing.hearing SET since = since - interval '1 hour'")


def seconds_pass_without_a_beat(sale: LiveSale, process_id: UUID, seconds: int) -> None:
    sale.connection.execute(
        "UPDATE ticketing.hearing SET beat_at = beat_at - make_interval(secs => %s) WHERE process_id = %s",
        [seconds, process_id],
    )
