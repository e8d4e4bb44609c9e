"""What a bus remembers is true up to one position of the log, and no longer than that."""

from collections.abc import Sequence
from uuid import UUID

import pytest

from aggregates import wallet
from aggregates.event import RecordedEvent
from aggregates.ids import UserId
from aggregates.wallet import Wallet, WalletCharged, WalletEvent, WalletOpened
from commands.memory import Memory
from commands.ports import Appended, BrokenHistory, Hearing, Known, NewEvent, Reading, nothing_known
from tests.aggregates.given import ANN, BEN, at
from tests.commands.steps import CAT

COMMAND = UUID(int=1)


def known(user_id: UserId, version: int, position: int) -> Known:
    return Known(wallet.stream(user_id), Wallet(opened=True, balance=version), version, position)


def by_name(*states: Known) -> dict[str, Known]:
    return {state.stream.name: state for state in states}


def reading(position: int, appended: Sequence[Appended] | None) -> Reading:
    return Reading(at("12:00"), position, {}, {}, Hearing(), appended)


def appended(
    user_id: UserId, version: int, event: WalletEvent | None = None, *, broken: bool = False
) -> Appended:
    stream = wallet.stream(user_id)

    def read() -> RecordedEvent:
        if broken:
            raise BrokenHistory
        happened = event or WalletCharged(1_000)
        return RecordedEvent(
            10, stream.name, version, happened, str(user_id), at("12:00"), COMMAND, COMMAND, COMMAND
        )

    return Appended(stream.name, version, read)


def charged(state: Known) -> NewEvent:
    return NewEvent(state.stream, state.version, WalletCharged(1), "", COMMAND, COMMAND, COMMAND)


def remembered(memory: Memory) -> dict[UserId, int]:
    found = {user_id: memory.find(wallet.stream(user_id).name) for user_id in (ANN, BEN, CAT)}
    return {user_id: state.version for user_id, state in found.items() if state is not None}


def filled(states_max: int = 10) -> Memory:
    memory = Memory(states_max)
    memory.read_on(reading(2, None))
    memory.keep(by_name(known(ANN, 1, 1), known(BEN, 1, 2)), {}, [], [])
    return memory


def test_what_others_appended_is_added_in_its_order() -> None:
    memory = filled()
    memory.read_on(reading(12, [appended(ANN, 2), appended(ANN, 3)]))
    assert (remembered(memory), memory.until) == ({ANN: 3, BEN: 1}, 12)
    found = memory.find(wallet.stream(ANN).name)
    assert found == Known(wallet.stream(ANN), Wallet(opened=True, balance=2_001), 3, 10)


def test_streams_that_others_begin_are_learnt_and_those_that_they_go_on_with_are_not() -> None:
    memory = filled()
    memory.read_on(reading(12, [appended(CAT, 1, WalletOpened()), appended(CAT, 2)]))
    assert memory.find(wallet.stream(CAT).name) == Known(
        wallet.stream(CAT), Wallet(opened=True, balance=1_000), 2, 10
    )
    memory = Memory()
    memory.read_on(reading(12, [appended(CAT, 2)]))
    assert remembered(memory) == {}


def test_unless_it_is_not_to_learn() -> None:
    memory = Memory(learns=False)
    memory.read_on(reading(12, [appended(CAT, 1, WalletOpened())]))
    assert (remembered(memory), memory.until) == ({}, 12)


def test_own_events_that_are_read_again_change_nothing() -> None:
    memory = filled()
    memory.read_on(reading(12, [appended(ANN, 1), appended(BEN, 1)]))
    assert memory.find(wallet.stream(ANN).name) == known(ANN, 1, 1)


@pytest.mark.parametrize("strange", [appended(ANN, 3), appended(ANN, 2, broken=True)])
def test_what_does_not_follow_or_cannot_be_read_has_its_stream_forgotten(strange: Appended) -> None:
    memory = filled()
    memory.read_on(reading(12, [strange, appended(BEN, 2)]))
    assert remembered(memory) == {BEN: 2}


def test_those_that_are_learnt_make_room_like_all_others() -> None:
    memory = filled(states_max=2)
    memory.read_on(reading(12, [appended(CAT, 1, WalletOpened())]))
    assert remembered(memory) == {BEN: 1, CAT: 1}


def test_where_that_is_unknown_everything_is_forgotten() -> None:
    memory = filled()
    memory.read_on(reading(5, None))
    assert (remembered(memory), memory.until) == ({}, 5)


def test_own_appends_move_it_on() -> None:
    memory = filled()
    after = known(ANN, 3, 0)
    events = [charged(known(ANN, 2, 0)), charged(after)]
    memory.keep(by_name(known(ANN, 1, 1)), by_name(after), events, [3, 4])
    assert (remembered(memory), memory.until) == ({ANN: 3, BEN: 1}, 4)
    assert memory.find(wallet.stream(ANN).name) == known(ANN, 3, 4)


def test_a_batch_that_records_nothing_moves_nothing() -> None:
    memory = filled()
    memory.keep(by_name(nothing_known(wallet.stream(CAT))), {}, [], [])
    assert (remembered(memory), memory.until) == ({ANN: 1, BEN: 1, CAT: 0}, 2)


def test_the_streams_least_recently_used_make_room() -> None:
    memory = filled(states_max=2)
    memory.keep(by_name(known(ANN, 1, 1)), {}, [], [])
    memory.keep(by_name(known(CAT, 1, 3)), {}, [], [])
    assert remembered(memory) == {ANN: 1, CAT: 1}


def test_forgetting_everything_begins_anew() -> None:
    memory = filled()
    memory.clear()
    assert (remembered(memory), memory.until) == ({}, 0)


def test_it_moves_on_to_the_last_of_all_events_whatever_streams_they_belong_to() -> None:
    """Two wallets are charged in turns; the one named first was charged last."""
    memory = filled()
    ann, ben = known(ANN, 3, 0), known(BEN, 2, 0)
    events = [charged(known(ANN, 2, 0)), charged(ben), charged(ann)]
    memory.keep(by_name(known(ANN, 1, 1), known(BEN, 1, 2)), by_name(ann, ben), events, [3, 4, 5])
    assert (remembered(memory), memory.until) == ({ANN: 3, BEN: 2}, 5)


def test_what_came_between_own_events_and_the_reading_before_is_still_to_be_read() -> None:
    """Somebody wrote past the lock at position 3; or a number was lost, which costs no more than a look."""
    memory = filled()
    after = known(ANN, 2, 0)
    memory.keep(by_name(known(ANN, 1, 1)), by_name(after), [charged(after)], [4])
    assert (remembered(memory), memory.until) == ({ANN: 2, BEN: 1}, 2)
