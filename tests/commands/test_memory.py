"""What a bus remembers is true up to one position of the log, and no longer than that."""

from uuid import UUID

from aggregates import wallet
from aggregates.ids import UserId
from aggregates.wallet import Wallet, WalletCharged
from commands.memory import Memory
from commands.ports import Hearing, Known, NewEvent, Reading, nothing_known
from tests.aggregates.given import ANN, BEN, at
from tests.commands.steps import CAT

COMMAND = UUID(int=1)


def known(user_id: UserId, version: int, position: int) -> Known:
    return Known(wallet.stream(user_id), Wallet(opened=True, balance=version), version, position)


def by_name(*states: Known) -> dict[str, Known]:
    return {state.stream.name: state for state in states}


def reading(position: int, changed: set[str] | None) -> Reading:
    return Reading(at("12:00"), position, {}, {}, Hearing(), changed)


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


def test_what_others_changed_is_forgotten_and_nothing_else() -> None:
    memory = filled()
    memory.read_on(reading(5, {wallet.stream(ANN).name}))
    assert (remembered(memory), memory.until) == ({BEN: 1}, 5)


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
