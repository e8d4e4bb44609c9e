"""The command bus on a log in memory: batches, their order and limits, and what goes wrong at the log."""

import asyncio
from collections.abc import Sequence
from itertools import count
from typing import Any
from uuid import UUID, uuid4

import pytest
from structlog.typing import EventDict

from aggregates import concert, queue, wallet
from aggregates.errors import UserNotFound
from aggregates.ids import UserId
from aggregates.stream import Stream, stream_id
from aggregates.wallet import WalletCharged, WalletOpened
from commands import bus as command_bus
from commands.bus import (
    APPEND_DEADLINE_S,
    BATCH_COMMANDS_MAX,
    FIND_DEADLINE_S,
    READS_MAX,
    RETRY_PAUSE_S,
    TRIES_MAX,
    Answer,
)
from commands.charge_wallet import ChargeWallet, WalletChargedResult
from commands.command import Command, Handler
from commands.errors import HistoryUnreadable, Overloaded, StoreUnavailable, TryAgain
from commands.ports import BrokenHistory, LogReplaced, NewEvent, Wanted, Writes
from commands.run_sale import CloseSales
from commands.table import HANDLERS
from commands.unit_of_work import UnitOfWork
from tests.aggregates.given import ANN, BEN, CODE, at, token_of
from tests.commands.bus_in_memory import RunningBus, Trouble, TroubledLog, in_no_time
from tests.commands.sale import keyed, reply_to
from tests.commands.steps import CAT, abandon, inside, on_sale, registered, waiting

CHARGE = ChargeWallet(ANN, 5)
MORE = ChargeWallet(ANN, 7)


def now_s() -> float:
    return asyncio.get_running_loop().time()


def balances(answers: Sequence[Answer]) -> list[int]:
    return [answer.outcome.balance for answer in answers]


def balance_of(service: RunningBus, user_id: UserId = ANN) -> int:
    recorded = [event.event for event in service.log.log.events if event.stream == f"wallet/{user_id}"]
    return sum(event.amount for event in recorded if isinstance(event, WalletCharged))


def versions_wanted(wanted: Wanted) -> dict[str, int]:
    return {known.stream.name: known.version for known in wanted.streams}


@in_no_time
async def test_commands_that_wait_together_share_an_append_and_keep_their_order() -> None:
    async with RunningBus() as service:
        await service.done(registered(ANN))
        answers = await service.ask(*[CHARGE] * (BATCH_COMMANDS_MAX + 2))
        assert balances(answers) == list(range(5, 5 * (BATCH_COMMANDS_MAX + 3), 5))
        assert service.appends == [(1, 1), (BATCH_COMMANDS_MAX, BATCH_COMMANDS_MAX), (2, 2)]
        assert [answer.position for answer in answers] == [257] * BATCH_COMMANDS_MAX + [259] * 2
        assert all(0 <= seconds < 60 for seconds in service.seconds)


@in_no_time
async def test_an_answer_holds_at_the_position_of_its_append_or_of_what_it_read() -> None:
    async with RunningBus() as service:
        await service.done(registered(ANN))
        (charged,) = await service.ask(CHARGE)
        (refused,) = await service.ask(ChargeWallet(BEN, 1))
        assert (charged.position, refused.position) == (2, 2)
        assert service.appends[-1] == (1, 0)


@in_no_time
async def test_whoever_watches_is_told_what_became_of_every_command() -> None:
    async with RunningBus() as service:
        await service.done(registered(ANN))
        service.outcomes.clear()
        await service.ask(CHARGE, ChargeWallet(BEN, 1), MORE)
        assert [(command, type(outcome)) for command, outcome in service.outcomes] == [
            (CHARGE, WalletChargedResult),
            (ChargeWallet(BEN, 1), UserNotFound),
            (MORE, WalletChargedResult),
        ]


@in_no_time
async def test_an_event_names_its_command_and_the_request_that_sent_it() -> None:
    request = uuid4()
    async with RunningBus() as service:
        await service.done(registered(ANN))
        await service.execute(CHARGE, causation_id=request)
        opened, charged = service.log.log.events
        assert opened.causation_id == opened.command_id
        assert (charged.causation_id, charged.correlation_id) == (request, charged.command_id)
        assert len({request, opened.command_id, charged.command_id}) == 3


@in_no_time
async def test_a_merged_event_names_the_batch_and_each_batch_has_a_name_of_its_own() -> None:
    async with RunningBus() as service:
        await service.done(on_sale(), waiting(ANN), waiting(BEN))
        merged = [event for event in service.log.log.events if event.stream == queue.stream(CODE).name]
        named = [event.command_id for event in service.log.log.events]
        assert all(isinstance(event.command_id, UUID) for event in merged)
        assert [named.count(event.command_id) for event in merged] == [1] * len(merged)


@in_no_time
async def test_q1_what_a_batch_did_not_get_to_keeps_its_place_before_later_arrivals() -> None:
    async with RunningBus() as service:
        await service.done(on_sale(), registered(ANN))
        answers = await service.ask(CHARGE, CloseSales(CODE), MORE, CHARGE, *[CHARGE] * BATCH_COMMANDS_MAX)
        assert balances([answers[0], *answers[2:]])[:4] == [5, 12, 17, 22]
        assert [commands for commands, _ in service.appends[-3:]] == [2, BATCH_COMMANDS_MAX, 2]


@in_no_time
async def test_i1_a_repeat_holds_at_the_position_of_the_first_answer() -> None:
    async with RunningBus() as service:
        await service.done(registered(ANN))
        first, other, again = await service.ask(keyed(CHARGE), MORE, keyed(CHARGE))
        await service.done(CHARGE)
        (later,) = await service.ask(keyed(CHARGE))
        assert [answer.recorded for answer in (first, again, later)] == [first.recorded] * 3
        assert (other.recorded, again.outcome, later.outcome) == (None, None, None)
        assert [answer.position for answer in (first, other, again, later)] == [3, 3, 3, 3]
        assert first.recorded == reply_to(first.outcome)


@in_no_time
async def test_i1_the_outcomes_of_all_keys_are_read_and_each_is_recorded_for_its_command() -> None:
    async with RunningBus() as service:
        await service.done(registered(ANN))
        mine, other = keyed(CHARGE), keyed(MORE, "key 2")
        await service.ask(mine, CHARGE, other)
        assert service.log.wanted[-1].keys == [mine.keyed.key, other.keyed.key]
        assert [outcome.position for outcome in service.log.log.outcomes.values()] == [4, 4]


@in_no_time
async def test_q8_whose_silence_is_in_question_is_asked_for_and_nobody_s_else() -> None:
    async with RunningBus() as service:
        await service.done(on_sale(), waiting(ANN), waiting(BEN))
        await service.ask(CHARGE, abandon(BEN))
        assert service.log.wanted[-1].silence_of == [token_of(BEN)]


@in_no_time
async def test_when_too_many_wait_the_next_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command_bus, "WAITING_MAX", 3)
    async with RunningBus() as service:
        await service.done(registered(ANN))
        waiting_in_line = [asyncio.create_task(service.execute(CHARGE)) for _ in range(3)]
        await asyncio.sleep(0)
        refused = await service.execute(MORE)
        assert isinstance(refused.outcome, Overloaded)
        assert refused.position == 0
        assert balances(await asyncio.gather(*waiting_in_line)) == [5, 10, 15]


@in_no_time
async def test_once_closed_everyone_who_waits_is_answered_and_nobody_else() -> None:
    async with RunningBus() as service:
        await service.done(registered(ANN))
        waiting_in_line = [asyncio.create_task(service.execute(CHARGE)) for _ in range(300)]
        await asyncio.sleep(0)
        service.bus.close()
        assert isinstance((await service.execute(CHARGE)).outcome, Overloaded)
        assert balances(await asyncio.gather(*waiting_in_line))[-1] == 1_500
        await service.running
    assert balance_of(service) == 1_500


@in_no_time
async def test_an_idle_bus_ends_when_it_is_closed() -> None:
    async with RunningBus() as service:
        await service.done(registered(ANN))
    assert service.running.done()
    assert service.running.exception() is None


@in_no_time
async def test_a_caller_who_stops_waiting_does_not_stop_the_command() -> None:
    async with RunningBus() as service:
        await service.done(registered(ANN))
        impatient = asyncio.create_task(service.execute(CHARGE))
        await asyncio.sleep(0)
        impatient.cancel()
        assert balances(await service.ask(MORE)) == [12]


@in_no_time
async def test_a_bus_that_is_cut_off_leaves_nobody_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command_bus, "BATCH_COMMANDS_MAX", 2)
    async with RunningBus() as service:
        await service.done(registered(ANN))
        somebody = await service.log.log.begin(Wanted([]), deadline=now_s() + 1)
        asked = [asyncio.create_task(service.execute(each)) for each in (CHARGE, keyed(MORE), CHARGE)]
        await asyncio.sleep(1)
        service.running.cancel()
        answers = await asyncio.gather(*asked)
        await somebody.give_up()
        assert [answer.outcome.members["outcome"] for answer in answers] == ["UNKNOWN", "UNKNOWN", "NONE"]
        assert [answer.outcome.retry_after_s for answer in answers] == [None, 1, 1]
        assert [answer.position for answer in answers] == [0, 0, 0]
        assert isinstance((await service.execute(CHARGE)).outcome, Overloaded)
        assert service.running.cancelled()
    assert balance_of(service) == 0


@in_no_time
async def test_what_was_read_or_written_is_remembered_and_not_read_again() -> None:
    async with RunningBus() as service:
        await service.done(registered(ANN), CHARGE)
        await service.ask(CHARGE)
        wanted = service.log.wanted[-1]
        assert (wanted.streams, wanted.appended_since) == ([], 2)
        assert service.log.reads == 3


@in_no_time
async def test_what_another_process_appended_is_never_missed_nor_read_again() -> None:
    log = TroubledLog()
    async with RunningBus(log) as one, RunningBus(log) as other:
        await one.done(registered(ANN), registered(BEN), ChargeWallet(BEN, 1))
        for process in (other, one, other, other, one):
            await process.done(CHARGE)
        assert (await one.execute(CHARGE)).outcome.balance == 30
        await other.done(registered(CAT))
        await one.done(ChargeWallet(CAT, 1))
        assert versions_wanted(log.wanted[-1]) == {wallet.stream(CAT).name: 0}, "asked before it was told"
        await other.done(ChargeWallet(CAT, 1), ChargeWallet(BEN, 1))
        reads = log.reads
        assert (await one.execute(ChargeWallet(BEN, 1))).outcome.balance == 3
        assert (log.wanted[-1].streams, log.reads) == ([], reads + 1)


class ChargeUnforeseen(Command, frozen=True):
    """Charge wallets that the handler finds out about only when it decides."""

    user_ids: tuple[UserId, ...]


def charge_unforeseen(command: ChargeUnforeseen, unit_of_work: UnitOfWork) -> None:
    for user_id in command.user_ids:
        unit_of_work.load(wallet.stream(user_id))
    for user_id in command.user_ids:
        unit_of_work.record(wallet.stream(user_id), [WalletCharged(1)])


def handled_by(monkeypatch: pytest.MonkeyPatch, kind: type[Command], handler: Handler) -> None:
    monkeypatch.setitem(HANDLERS, kind, handler)


@in_no_time
async def test_what_a_handler_finds_that_it_needs_is_read_on_the_way(monkeypatch: pytest.MonkeyPatch) -> None:
    handled_by(monkeypatch, ChargeUnforeseen, Handler(charge_unforeseen, lambda _command, _peek: ()))
    async with RunningBus() as service:
        await service.done(registered(ANN), CHARGE)
        (answer, _) = await service.ask(ChargeUnforeseen((ANN, BEN)), ChargeWallet(CAT, 1))
        assert answer.outcome is None
        read = [versions_wanted(Wanted(streams)) for streams in service.log.read_more]
        assert read == [{wallet.stream(BEN).name: 0}], "the other one was remembered"
        assert balance_of(service, BEN) == 1


@in_no_time
async def test_a_handler_that_always_needs_more_is_a_defect(monkeypatch: pytest.MonkeyPatch) -> None:
    fresh = count()

    def always_more(_command: Command, unit_of_work: UnitOfWork) -> None:
        unit_of_work.load(wallet.stream(UserId(UUID(int=next(fresh)))))

    handled_by(monkeypatch, ChargeUnforeseen, Handler(always_more, lambda _command, _peek: ()))
    async with RunningBus() as service:
        await service.done(registered(ANN))
        (answer,) = await service.ask(ChargeUnforeseen(()))
        assert isinstance(answer.outcome, AssertionError)
        assert len(service.log.read_more) == READS_MAX - 1, "the first read was the batch's own"
        assert balances(await service.ask(CHARGE)) == [5]


@pytest.mark.parametrize("conflicts", range(1, TRIES_MAX))
@in_no_time
async def test_after_a_conflict_the_batch_is_read_and_decided_anew(conflicts: int) -> None:
    async with RunningBus() as service:
        await service.done(registered(ANN), CHARGE)
        service.log.commit_troubles += [Trouble.CONFLICT] * conflicts
        assert balances(await service.ask(CHARGE, MORE)) == [10, 17]
        assert service.conflicts == conflicts
        assert versions_wanted(service.log.wanted[-1]) == {wallet.stream(ANN).name: 0}


@in_no_time
async def test_after_five_conflicts_the_batch_is_told_to_try_again() -> None:
    async with RunningBus() as service:
        await service.done(registered(ANN))
        service.log.commit_troubles += [Trouble.CONFLICT] * 5
        answers = await service.ask(CHARGE, ChargeWallet(BEN, 5))
        assert [type(answer.outcome) for answer in answers] == [TryAgain, TryAgain]
        assert [answer.position for answer in answers] == [0, 0]
        assert service.conflicts == TRIES_MAX == 5
        assert balances(await service.ask(CHARGE)) == [5]


@in_no_time
async def test_a_log_that_is_back_in_time_is_not_missed() -> None:
    async with RunningBus() as service:
        await service.done(registered(ANN))
        tries = int(APPEND_DEADLINE_S / RETRY_PAUSE_S) - 2
        service.log.begin_troubles += [Trouble.UNREACHABLE] * tries
        assert balances(await service.ask(CHARGE)) == [5]
        assert now_s() == pytest.approx(tries * RETRY_PAUSE_S)


@in_no_time
async def test_while_the_log_is_away_everyone_who_waits_hears_so_at_the_deadline() -> None:
    async with RunningBus() as service:
        await service.done(registered(ANN))
        service.log.begin_troubles += [Trouble.UNREACHABLE] * 200
        answers = await service.ask(*[CHARGE] * (BATCH_COMMANDS_MAX + 1))
        assert {type(answer.outcome) for answer in answers} == {StoreUnavailable}
        assert {answer.outcome.members["outcome"] for answer in answers} == {"NONE"}
        assert {(answer.outcome.retry_after_s, answer.position) for answer in answers} == {(1, 0)}
        assert APPEND_DEADLINE_S - 2 * RETRY_PAUSE_S <= now_s() <= APPEND_DEADLINE_S
        service.log.begin_troubles.clear()
        assert balances(await service.ask(CHARGE)) == [5]


@in_no_time
async def test_an_append_is_given_up_at_its_deadline_while_others_keep_the_lock() -> None:
    async with RunningBus() as service:
        await service.done(registered(ANN))
        somebody = await service.log.log.begin(Wanted([]), deadline=now_s() + 1)
        (answer,) = await service.ask(CHARGE)
        await somebody.give_up()
        assert answer.outcome.members == {"outcome": "NONE"}
        assert now_s() == pytest.approx(APPEND_DEADLINE_S)


@in_no_time
async def test_a_commit_that_was_not_acknowledged_is_found_and_not_done_twice() -> None:
    async with RunningBus() as service:
        await service.done(registered(ANN))
        service.log.commit_troubles.append(Trouble.LOST_ACKNOWLEDGEMENT)
        answers = await service.ask(CHARGE, keyed(MORE))
        assert balances(answers) == [5, 12]
        assert [answer.position for answer in answers] == [3, 3]
        assert (service.log.finds, service.conflicts) == (1, 0)
    assert balance_of(service) == 12


@in_no_time
async def test_i1_also_where_it_recorded_nothing_but_an_outcome() -> None:
    async with RunningBus() as service:
        service.log.commit_troubles.append(Trouble.LOST_ACKNOWLEDGEMENT)
        (answer,) = await service.ask(keyed(CHARGE))
        assert answer.recorded == reply_to(UserNotFound())
        assert service.conflicts == 0


@in_no_time
async def test_a_commit_that_never_arrived_is_not_found_and_done_anew() -> None:
    async with RunningBus() as service:
        await service.done(registered(ANN))
        service.log.commit_troubles.append(Trouble.LOST_COMMIT)
        assert balances(await service.ask(CHARGE, MORE)) == [5, 12]
        assert (service.log.finds, service.conflicts) == (1, 1)
    assert balance_of(service) == 12


@in_no_time
async def test_it_is_looked_up_for_as_long_as_that_makes_sense(logs: Sequence[EventDict]) -> None:
    async with RunningBus() as service:
        await service.done(registered(ANN))
        service.log.commit_troubles.append(Trouble.LOST_ACKNOWLEDGEMENT)
        tries = int(FIND_DEADLINE_S / RETRY_PAUSE_S) - 2
        service.log.find_troubles += [Trouble.UNREACHABLE] * tries
        assert balances(await service.ask(CHARGE)) == [5]
        assert now_s() == pytest.approx(tries * RETRY_PAUSE_S)
    (entry,) = logs
    assert (entry["event"], entry["log_level"], entry["events"]) == ("append_outcome_unknown", "warning", 1)


@in_no_time
async def test_where_even_looking_it_up_fails_the_outcome_is_told_to_be_unknown() -> None:
    async with RunningBus() as service:
        await service.done(on_sale(), registered(ANN))
        service.log.commit_troubles.append(Trouble.LOST_ACKNOWLEDGEMENT)
        service.log.find_troubles += [Trouble.UNREACHABLE] * 70
        answers = await service.ask(CHARGE, keyed(CloseSales(CODE)), MORE)
        assert [answer.outcome.members["outcome"] for answer in answers[:2]] == ["UNKNOWN"] * 2
        assert [answer.outcome.retry_after_s for answer in answers[:2]] == [None, 1]
        assert balances(answers[2:]) == [12], "it was not in the batch that closed the sale"
        assert FIND_DEADLINE_S <= now_s() <= FIND_DEADLINE_S + RETRY_PAUSE_S
    assert balance_of(service) == 12


@in_no_time
async def test_looking_it_up_is_given_up_at_its_deadline_while_others_keep_the_lock() -> None:
    async with RunningBus() as service:
        await service.done(registered(ANN))
        service.log.commit_troubles.append(Trouble.LOST_COMMIT)
        service.log.find_troubles.append(Trouble.LOCKED)
        (answer,) = await service.ask(CHARGE)
        assert answer.outcome.members == {"outcome": "UNKNOWN"}
        assert now_s() == pytest.approx(FIND_DEADLINE_S, abs=2 * RETRY_PAUSE_S)


@in_no_time
async def test_a_bus_whose_log_was_replaced_decides_nothing_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command_bus, "BATCH_COMMANDS_MAX", 2)
    async with RunningBus() as service:
        await service.done(registered(ANN))
        service.log.begin_troubles.append(Trouble.REPLACED)
        answers = await service.ask(*[CHARGE] * 5)
        assert [answer.outcome.members["outcome"] for answer in answers] == ["NONE"] * 5
        assert {answer.position for answer in answers} == {0}
        assert isinstance((await service.execute(CHARGE)).outcome, Overloaded)
        assert isinstance(service.running.exception(), LogReplaced)
        assert service.log.reads == 2
    assert balance_of(service) == 0


@in_no_time
async def test_what_became_of_an_append_nobody_can_say_once_the_log_was_replaced() -> None:
    async with RunningBus() as service:
        await service.done(registered(ANN))
        service.log.commit_troubles.append(Trouble.LOST_COMMIT)
        service.log.find_troubles.append(Trouble.REPLACED)
        (answer,) = await service.ask(keyed(CHARGE))
        assert answer.outcome.members == {"outcome": "UNKNOWN"}
        assert (service.log.finds, now_s()) == (1, 0)
        assert balances(await service.ask(CHARGE)) == [5]


@in_no_time
async def test_a_defect_on_the_way_to_the_log_meets_only_the_command_that_caused_it(
    monkeypatch: pytest.MonkeyPatch, logs: Sequence[EventDict]
) -> None:
    def break_down(_command: Command, _peek: Any) -> Any:
        raise ZeroDivisionError

    handled_by(monkeypatch, ChargeUnforeseen, Handler(charge_unforeseen, break_down))
    async with RunningBus() as service:
        await service.done(registered(ANN))
        answers = await service.ask(*[CHARGE] * 5, ChargeUnforeseen(()), *[CHARGE] * 5)
        assert isinstance(answers[5].outcome, ZeroDivisionError)
        assert answers[5].position == 0
        assert balances([*answers[:5], *answers[6:]]) == list(range(5, 55, 5))
    assert [entry["event"] for entry in logs] == ["batch_failed"] * len(logs)
    assert [entry["commands"] for entry in logs][:2] == [11, 5 + 1], "the half with it, then what was left"
    assert all(entry["exc_info"] for entry in logs)


@in_no_time
async def test_what_cannot_be_read_is_told_and_logged_and_keeps_nobody_else_waiting(
    logs: Sequence[EventDict],
) -> None:
    async with RunningBus() as service:
        await service.done(registered(ANN))
        service.log.begin_troubles += [Trouble.BROKEN] * 2
        broken, charged = await service.ask(CHARGE, MORE)
        assert isinstance(broken.outcome, HistoryUnreadable)
        assert broken.position == 0
        assert balances([charged]) == [7]
    assert [(entry["event"], entry["log_level"], entry["commands"]) for entry in logs] == [
        ("history_broken", "error", 2),
        ("history_broken", "error", 1),
    ]
    assert [entry["reason"] for entry in logs] == [str(BrokenHistory())] * 2


@in_no_time
async def test_a_defect_at_the_log_is_met_by_a_batch_that_is_read_anew() -> None:
    async with RunningBus() as service:
        await service.done(registered(ANN), CHARGE)
        service.log.commit_troubles.append(Trouble.DEFECT)
        assert balances(await service.ask(CHARGE, MORE)) == [10, 17]
        assert versions_wanted(service.log.wanted[-2]) == {wallet.stream(ANN).name: 0}
        service.log.commit_troubles.append(Trouble.DEFECT)
        (answer,) = await service.ask(CHARGE)
        assert isinstance(answer.outcome, ZeroDivisionError)
        assert balances(await service.ask(CHARGE)) == [22]


@in_no_time
async def test_a_defect_under_the_lock_does_not_keep_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The handler needs a stream that was not read; on the way to read it the defect is met."""
    looks = count()

    def break_at_the_second_look(_command: Command, _peek: Any) -> Any:
        if next(looks):
            raise ZeroDivisionError
        return ()

    handled_by(monkeypatch, ChargeUnforeseen, Handler(charge_unforeseen, break_at_the_second_look))
    async with RunningBus() as service:
        await service.done(registered(ANN))
        (answer,) = await service.ask(ChargeUnforeseen((ANN,)))
        assert isinstance(answer.outcome, ZeroDivisionError)
        assert balances(await service.ask(CHARGE)) == [5]
        assert now_s() == 0


@in_no_time
async def test_nor_does_one_that_is_met_when_what_others_appended_is_taken_over() -> None:
    """They begin a stream of a kind that is not known here."""
    async with RunningBus() as service:
        await service.done(registered(ANN))
        strange = Stream("loan/1", wallet.WALLET, str(ANN), stream_id("loan/1"))
        event = NewEvent(strange, 1, WalletOpened(), str(ANN), *[uuid4()] * 3)
        service.log.log.append(Writes(at("12:00"), [event]))
        (answer,) = await service.ask(CHARGE)
        assert isinstance(answer.outcome, KeyError)
        assert balances(await service.ask(CHARGE)) == [5]
        assert now_s() == 0


@in_no_time
async def test_nothing_remembered_is_older_than_what_was_read_under_the_lock() -> None:
    """Two buses on one log: each reads on from what it knows, and so sees what the other did."""
    async with RunningBus() as one, RunningBus(one.log) as other:
        await one.done(on_sale(), inside(ANN))
        await other.done(CHARGE)
        await one.done(CHARGE)
        assert balances(await other.ask(CHARGE)) == [15]
        assert one.conflicts == other.conflicts == 0
        assert concert.stream(CODE).name not in versions_wanted(one.log.wanted[-1])
