"""Q8: the timer cancels tokens whose owners have been silent for too long, wherever they stand in line."""

from datetime import timedelta
from uuid import UUID, uuid5

import pytest

from aggregates.ids import UserId
from aggregates.queue import SlotsFreed
from aggregates.token import TokenCancelled
from tests.aggregates.given import ANN, BEN, CODE, token_of
from tests.commands.steps import CAT, abandon, change_policy, inside, join, registered, waiting
from tests.live_sale import LiveSale, always, on_sale
from workers import silence
from workers.silence import Silence
from workers.suggester import Suggester

HOUR = timedelta(hours=1)
ABANDONED = TokenCancelled("abandoned")


@pytest.fixture
def duty(sale: LiveSale) -> Silence:
    return Silence(sale.read_models, Suggester(sale.start_bus(sale.tally), always))


def test_who_waits_and_is_silent_is_cancelled(sale: LiveSale, duty: Silence) -> None:
    sale.done(on_sale(), waiting(ANN), waiting(BEN), ago=HOUR)
    listened(sale)
    heard(sale, BEN, seconds_ago=500)
    look(sale, duty)
    assert cancelled(sale) == [ANN]


def test_who_is_active_is_cancelled_only_if_the_policy_says_so(sale: LiveSale, duty: Silence) -> None:
    sale.done(on_sale(active_ttl_s=7_200), inside(ANN, 1), inside(BEN, 2), ago=HOUR)
    listened(sale)
    heard(sale, BEN, seconds_ago=30)
    look(sale, duty)
    assert cancelled(sale) == []
    sale.done(change_policy(abandon_active_after_s=60))
    look(sale, duty)
    assert cancelled(sale) == [ANN]
    assert sale.events(SlotsFreed) == [SlotsFreed(1)]


def test_a_policy_may_allow_any_silence(sale: LiveSale, duty: Silence) -> None:
    sale.done(on_sale(abandon_waiting_after_s=None), waiting(ANN), ago=HOUR)
    listened(sale)
    look(sale, duty)
    assert not sale.tally.outcomes


@pytest.mark.parametrize("beat_s_ago", [None, 11])
def test_where_a_silence_could_not_be_heard_nobody_is_suggested(
    sale: LiveSale, duty: Silence, beat_s_ago: int | None
) -> None:
    sale.done(on_sale(), waiting(ANN), ago=HOUR)
    if beat_s_ago is not None:
        listened(sale, beat_s_ago=beat_s_ago)
    look(sale, duty)
    assert not sale.tally.outcomes


def test_where_we_have_not_listened_for_long_enough_nobody_is_suggested(
    sale: LiveSale, duty: Silence
) -> None:
    sale.done(on_sale(), waiting(ANN), ago=HOUR)
    listened(sale, since_s_ago=500)
    look(sale, duty)
    assert not sale.tally.outcomes


def test_a_long_line_is_gone_through_page_by_page_again_and_again(
    sale: LiveSale, duty: Silence, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(silence, "NUMBERS_PER_ROUND", 2)
    crowd = [UserId(uuid5(UUID(int=0), str(number))) for number in range(25)]
    sale.done(on_sale(), ago=HOUR)
    sale.ask(*(registered(user)[0] for user in crowd), ago=HOUR)
    sale.ask(*(join(user) for user in crowd), ago=HOUR)
    listened(sale)
    for user in crowd[:24]:
        heard(sale, user, seconds_ago=1)
    sale.project()
    sale.until(lambda: sale.round(duty) or cancelled(sale) == crowd[24:])
    sale.connection.execute("DELETE FROM ticketing.heard WHERE token_id = %s", [token_of(crowd[0])])
    sale.project()
    sale.until(lambda: sale.round(duty) or cancelled(sale) == [crowd[24], crowd[0]])


def test_a_stale_suggestion_costs_one_command_and_no_event(sale: LiveSale, duty: Silence) -> None:
    sale.done(on_sale(), waiting(ANN), ago=HOUR)
    listened(sale)
    sale.project()
    sale.done(abandon(ANN))
    for _ in range(5):
        sale.round(duty)
    assert sale.tally.outcomes == {"AbandonToken OK": 1}
    assert sale.events(TokenCancelled) == [ABANDONED]


def test_the_timer_looks_for_the_silent(sale: LiveSale) -> None:
    sale.done(on_sale(max_active=1), inside(ANN), waiting(BEN), waiting(CAT), ago=HOUR)
    listened(sale)
    heard(sale, BEN, seconds_ago=1)
    sale.start_projector()
    sale.start_timer()
    sale.until(lambda: cancelled(sale) == [CAT])


def listened(sale: LiveSale, *, since_s_ago: int = 7_200, beat_s_ago: int = 0) -> None:
    """A process has listened for so long."""
    sale.connection.execute(
        """
        INSERT INTO ticketing.hearing (process_id, since, beat_at)
        SELECT gen_random_uuid(), now() - make_interval(secs => %s), now() - make_interval(secs => %s)
        """,
        [since_s_ago, beat_s_ago],
    )


def heard(sale: LiveSale, user_id: UserId, *, seconds_ago: int) -> None:
    sale.connection.execute(
        """
        INSERT INTO ticketing.heard (token_id, last_heard_at)
        VALUES (%s, now() - make_interval(secs => %s))
        """,
        [token_of(user_id), seconds_ago],
    )


def look(sale: LiveSale, duty: Silence) -> None:
    """Go through everything, more than once."""
    for _ in range(4):
        sale.project()
        sale.round(duty)


def cancelled(sale: LiveSale) -> list[UserId]:
    """Whose tokens were cancelled for their silence, in the order of the log."""
    streams = [one.stream for one in sale.log() if one.event == ABANDONED]
    return [UserId(UUID(stream.removeprefix(f"token/{CODE}/"))) for stream in streams]
