"""What the command bus relies on, whichever log it has: the cases that every implementation passes."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest

from aggregates import queue, wallet
from aggregates.event import Event
from aggregates.ids import TokenId, UserId
from aggregates.registry import stream_of
from aggregates.stream import Stream
from aggregates.wallet import Wallet, WalletCharged, WalletOpened
from commands.ports import (
    EventLog,
    KeyOfCaller,
    Known,
    LogUnavailable,
    NewEvent,
    NewName,
    NewOutcome,
    Reading,
    RecordedOutcome,
    VersionConflict,
    Wanted,
    Writes,
    nothing_known,
)
from tests.aggregates.given import ANN, BEN, CODE, token_of
from tests.asynchronous import asynchronous

WALLET = wallet.stream(ANN)
OTHER_WALLET = wallet.stream(BEN)
KEY = KeyOfCaller("admin", "key 1")

PATIENCE_S = 10.0
"""More than enough for anything that does not wait for someone else."""

HOUR = timedelta(hours=1)


def soon(seconds: float = PATIENCE_S) -> float:
    return asyncio.get_running_loop().time() + seconds


def new(stream: Stream[Any], version: int, event: Event, command_id: UUID | None = None) -> NewEvent:
    """An event about to be appended, in the name of a command of its own."""
    command_id = command_id or uuid4()
    return NewEvent(stream, version, event, stream.partition_key, command_id, command_id, command_id)


def opened(stream: Stream[Wallet] = WALLET) -> NewEvent:
    return new(stream, 1, WalletOpened())


def charged(version: int, amount: int, stream: Stream[Wallet] = WALLET) -> NewEvent:
    return new(stream, version, WalletCharged(amount))


def outcome(command_id: UUID | None = None, *, reply: bytes = b"done") -> NewOutcome:
    return NewOutcome(KEY, b"as asked", reply, command_id or uuid4())


def unread(*streams: Stream[Any]) -> Wanted:
    return Wanted([nothing_known(stream) for stream in streams])


async def read(event_log: EventLog, *streams: Stream[Any], keys: Sequence[KeyOfCaller] = ()) -> Reading:
    """Read these streams from their beginning, and leave the place."""
    append = await event_log.begin(msgspec.structs.replace(unread(*streams), keys=keys), soon())
    await append.give_up()
    return append.reading


async def record(event_log: EventLog, *events: NewEvent, **beside: Any) -> Sequence[int]:
    """Append these at the log's own time."""
    append = await event_log.begin(Wanted([]), soon())
    return await append.commit(Writes(append.reading.now, events, **beside))


class EventLogContract(ABC):
    """The cases. An implementation gives the fixture `event_log`, and says what it has beside it."""

    @abstractmethod
    def another(self, event_log: EventLog) -> EventLog:
        """The same log, as another process has it."""

    @abstractmethod
    async def names(self, event_log: EventLog) -> Mapping[UserId, str | None]:
        """The names beside the log."""

    @abstractmethod
    async def listen(self, event_log: EventLog, since: datetime, last: Mapping[TokenId, datetime]) -> None:
        """Somebody listens since then, and has heard these tokens last at these times."""

    @asynchronous
    async def test_an_empty_log_has_streams_without_events(self, event_log: EventLog) -> None:
        reading = await read(event_log, WALLET, queue.stream(CODE))
        assert reading.position == 0
        assert reading.known == {
            WALLET.name: Known(WALLET, Wallet()),
            f"queue/{CODE}": nothing_known(queue.stream(CODE)),
        }
        assert reading.outcomes == {}

    @asynchronous
    async def test_what_was_appended_is_read_by_everyone_at_its_positions(self, event_log: EventLog) -> None:
        first, second = await record(event_log, opened(), charged(2, 5))
        (third,) = await record(event_log, opened(OTHER_WALLET))
        assert 0 < first < second < third
        reading = await read(self.another(event_log), WALLET, OTHER_WALLET)
        assert reading.position == third
        assert reading.known[WALLET.name] == Known(WALLET, Wallet(opened=True, balance=5), 2, second)
        assert reading.known[OTHER_WALLET.name].position == third

    @asynchronous
    async def test_what_is_known_is_brought_up_to_date_with_what_followed(self, event_log: EventLog) -> None:
        await record(event_log, opened())
        known = (await read(event_log, WALLET)).known[WALLET.name]
        changed = msgspec.structs.replace(known, state=Wallet(opened=True, balance=1_000))
        (position,) = await record(event_log, charged(2, 5))
        append = await event_log.begin(Wanted([changed]), soon())
        await append.give_up()
        assert append.reading.known[WALLET.name] == Known(
            WALLET, Wallet(opened=True, balance=1_005), 2, position
        )

    @asynchronous
    async def test_what_was_appended_since_is_told(self, event_log: EventLog) -> None:
        (_, until) = await record(event_log, opened(), opened(OTHER_WALLET))
        since = Wanted([], appended_since=until)
        append = await event_log.begin(since, soon())
        await append.give_up()
        assert (append.reading.appended, append.reading.position) == ([], until)
        first, second = await record(self.another(event_log), charged(2, 5), charged(2, 7, OTHER_WALLET))
        append = await event_log.begin(since, soon())
        await append.give_up()
        told = append.reading.appended or ()
        assert [(one.stream, one.version) for one in told] == [(WALLET.name, 2), (OTHER_WALLET.name, 2)]
        events = [one.read() for one in told]
        assert [(event.position, event.event) for event in events] == [
            (first, WalletCharged(5)),
            (second, WalletCharged(7)),
        ]
        assert [stream_of(event) for event in events] == [WALLET, OTHER_WALLET]

    @asynchronous
    async def test_who_does_not_ask_is_told_nothing_of_what_was_appended(self, event_log: EventLog) -> None:
        await record(event_log, opened())
        append = await event_log.begin(unread(WALLET), soon())
        await append.give_up()
        assert append.reading.appended is None

    @asynchronous
    async def test_a_version_that_is_taken_is_refused_with_all_that_comes_with_it(
        self, event_log: EventLog
    ) -> None:
        await record(event_log, opened())
        append = await event_log.begin(Wanted([]), soon())
        writes = Writes(
            append.reading.now, [opened(OTHER_WALLET), opened()], [outcome()], [NewName(BEN, "Ben")]
        )
        with pytest.raises(VersionConflict):
            await append.commit(writes)
        reading = await read(event_log, WALLET, OTHER_WALLET, keys=[KEY])
        assert [known.version for known in reading.known.values()] == [1, 0]
        assert reading.outcomes == {}
        assert await self.names(event_log) == {}
        await record(event_log, opened(OTHER_WALLET), outcomes=[outcome()], names=[NewName(BEN, "Ben")])

    @asynchronous
    async def test_what_is_known_of_another_log_is_refused(self, event_log: EventLog) -> None:
        (position,) = await record(event_log, opened())
        state = Wallet(opened=True)
        for wrong in (Known(WALLET, state, 2, position + 1), Known(WALLET, state, 1, position + 1)):
            with pytest.raises(VersionConflict):
                await event_log.begin(Wanted([wrong]), soon())
        assert (await read(event_log, WALLET)).position == position

    @asynchronous
    async def test_what_is_given_up_is_not_recorded(self, event_log: EventLog) -> None:
        append = await event_log.begin(unread(WALLET), soon())
        await append.give_up()
        await append.give_up()
        assert (await read(event_log, WALLET)).position == 0

    @asynchronous
    async def test_more_streams_are_read_at_the_same_place(self, event_log: EventLog) -> None:
        await record(event_log, opened(), opened(OTHER_WALLET))
        append = await event_log.begin(unread(WALLET), soon())
        now, position = append.reading.now, append.reading.position
        await append.read_more([nothing_known(OTHER_WALLET)])
        assert append.reading.known[OTHER_WALLET.name].version == 1
        assert (append.reading.now, append.reading.position) == (now, position)
        await append.commit(Writes(now, [charged(2, 5, OTHER_WALLET)]))

    @asynchronous
    async def test_whoever_comes_second_waits_and_then_sees_what_the_first_recorded(
        self, event_log: EventLog
    ) -> None:
        first = await event_log.begin(unread(WALLET), soon())
        second = asyncio.create_task(self.another(event_log).begin(unread(WALLET), soon()))
        await asyncio.wait([second], timeout=0.1)
        assert not second.done()
        await first.commit(Writes(first.reading.now, [opened()]))
        append = await second
        assert append.reading.known[WALLET.name].version == 1
        assert append.reading.now > first.reading.now
        await append.give_up()

    @asynchronous
    async def test_whoever_waits_past_the_deadline_is_told_so(self, event_log: EventLog) -> None:
        first = await event_log.begin(Wanted([]), soon())
        with pytest.raises(LogUnavailable):
            await self.another(event_log).begin(Wanted([]), soon(0.2))
        with pytest.raises(LogUnavailable):
            await self.another(event_log).find(Writes(first.reading.now, [opened()]), soon(0.2))
        await first.commit(Writes(first.reading.now, [opened()]))

    @asynchronous
    async def test_recorded_times_increase_even_when_one_lies_in_the_future(
        self, event_log: EventLog
    ) -> None:
        append = await event_log.begin(Wanted([]), soon())
        future = append.reading.now + HOUR
        await append.commit(Writes(future, [opened()]))
        times = [future]
        for amount in range(1, 4):
            append = await event_log.begin(Wanted([]), soon())
            times.append(append.reading.now)
            await append.commit(Writes(append.reading.now, [charged(1 + amount, amount)]))
        assert times == sorted(set(times))
        assert times[-1] < future + timedelta(seconds=1)
        assert {time.utcoffset() for time in times} == {timedelta()}

    @asynchronous
    async def test_an_outcome_is_recorded_with_its_events_and_their_position(
        self, event_log: EventLog
    ) -> None:
        positions = await record(event_log, opened(), charged(2, 5), outcomes=[outcome()])
        reading = await read(self.another(event_log), keys=[KEY, KeyOfCaller("admin", "key 2")])
        assert reading.outcomes == {KEY: RecordedOutcome(b"as asked", b"done", positions[-1])}

    @asynchronous
    async def test_an_outcome_alone_stands_at_the_log_s_last_position(self, event_log: EventLog) -> None:
        (position,) = await record(event_log, opened())
        assert list(await record(event_log, outcomes=[outcome()])) == [position]
        assert (await read(event_log, keys=[KEY])).outcomes[KEY].position == position

    @asynchronous
    async def test_an_outcome_is_recorded_once(self, event_log: EventLog) -> None:
        await record(event_log, outcomes=[outcome()])
        with pytest.raises(VersionConflict):
            await record(event_log, opened(), outcomes=[outcome(reply=b"done again")])
        reading = await read(event_log, WALLET, keys=[KEY])
        assert (reading.position, reading.outcomes[KEY].reply) == (0, b"done")

    @asynchronous
    async def test_of_several_names_the_last_is_kept(self, event_log: EventLog) -> None:
        await record(event_log, names=[NewName(ANN, "Ann"), NewName(BEN, "Ben"), NewName(ANN, "Anna")])
        assert await self.names(event_log) == {ANN: "Anna", BEN: "Ben"}
        await record(event_log, names=[NewName(ANN, None)])
        assert await self.names(event_log) == {ANN: None, BEN: "Ben"}

    @asynchronous
    async def test_q8_silence_is_read_with_the_batch(self, event_log: EventLog) -> None:
        now = (await read(event_log)).now
        silent = Wanted([], silence_of=[token_of(ANN), token_of(BEN)])
        append = await event_log.begin(silent, soon())
        await append.give_up()
        assert append.reading.hearing.since is None
        await self.listen(event_log, now - HOUR, {token_of(ANN): now})
        append = await event_log.begin(silent, soon())
        await append.give_up()
        assert append.reading.hearing.since == now - HOUR
        assert append.reading.hearing.last_heard_at == {token_of(ANN): now}

    @asynchronous
    async def test_an_append_is_found_by_the_commands_at_its_versions(self, event_log: EventLog) -> None:
        append = await event_log.begin(Wanted([]), soon())
        writes = Writes(append.reading.now, [opened(), opened(OTHER_WALLET), charged(2, 5)], [outcome()])
        await append.give_up()
        assert await self.another(event_log).find(writes, soon()) is None
        append = await event_log.begin(Wanted([]), soon())
        positions = await append.commit(writes)
        assert list(await self.another(event_log).find(writes, soon()) or []) == list(positions)

    @asynchronous
    async def test_an_append_that_others_were_quicker_than_is_not_found(self, event_log: EventLog) -> None:
        await record(event_log, opened())
        mine = Writes((await read(event_log)).now, [opened()])
        assert await event_log.find(mine, soon()) is None

    @asynchronous
    async def test_an_append_of_outcomes_alone_is_found_by_them(self, event_log: EventLog) -> None:
        (position,) = await record(event_log, opened())
        append = await event_log.begin(Wanted([]), soon())
        mine = Writes(append.reading.now, outcomes=[outcome()])
        await append.commit(mine)
        theirs = Writes(append.reading.now, outcomes=[outcome()])
        assert list(await event_log.find(mine, soon()) or []) == [position]
        assert await event_log.find(theirs, soon()) is None

    @asynchronous
    async def test_names_alone_are_never_found_and_so_written_again(self, event_log: EventLog) -> None:
        append = await event_log.begin(Wanted([]), soon())
        writes = Writes(append.reading.now, names=[NewName(ANN, "Ann")])
        await append.commit(writes)
        assert await event_log.find(writes, soon()) is None
