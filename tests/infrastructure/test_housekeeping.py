"""What has served its time beside the log is removed, and nothing that still counts (rules I1, Q8)."""

from datetime import timedelta
from uuid import UUID

import pytest

from infrastructure import housekeeping
from infrastructure.housekeeping import remove_heard_of_ended, remove_old_outcomes
from projections.queue import CHANGES_KEPT_S, remove_old_changes, tokens_changed_since
from tests.aggregates.given import ANN, BEN, token_of
from tests.commands.steps import CAT, inside, leave, waiting
from tests.live_sale import LiveSale, on_sale

KEY = """
    INSERT INTO ticketing.command_outcomes
        (caller, key, request, reply, position, command_id, recorded_at)
    SELECT 'admin', key, '', '', 1, gen_random_uuid(), now() - make_interval(hours => age)
    FROM unnest(%s::text[], %s::int[]) AS wanted (key, age)
"""

HEARD = """
    INSERT INTO ticketing.heard (token_id, last_heard_at)
    SELECT token_id, now() - interval '2 hours' FROM unnest(%s::uuid[]) AS token_id
"""

CHANGED_AGO = "UPDATE queue_v2.token_changes SET changed_at = changed_at - %s"


def test_an_idempotency_key_is_kept_for_a_day(sale: LiveSale) -> None:
    sale.connection.execute(KEY, [["today", "yesterday", "long ago"], [23, 25, 1_000]])
    assert sale.read(remove_old_outcomes) == 2
    assert keys(sale) == ["today"]


def test_only_some_rows_are_removed_at_once(sale: LiveSale, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(housekeeping, "ROWS_AT_ONCE", 2)
    sale.connection.execute(KEY, [["one", "two", "three"], [30, 50, 40]])
    assert sale.read(remove_old_outcomes) == 2
    assert keys(sale) == ["one"]


def test_that_a_token_was_heard_is_kept_until_it_has_ended(sale: LiveSale) -> None:
    sale.done(on_sale(), inside(ANN), waiting(BEN), waiting(CAT), leave(CAT))
    sale.connection.execute(HEARD, [[token_of(ANN), token_of(BEN), token_of(CAT), UUID(int=1)]])
    sale.project()
    assert sale.read(remove_heard_of_ended) == 1
    assert kept(sale) == {token_of(ANN), token_of(BEN), UUID(int=1)}, "also one that is not known yet"


def test_a_token_that_has_ended_and_is_still_heard_from_is_not_removed_all_the_time(sale: LiveSale) -> None:
    sale.done(on_sale(), waiting(ANN), leave(ANN))
    sale.connection.execute(HEARD, [[token_of(ANN)]])
    sale.connection.execute("UPDATE ticketing.heard SET last_heard_at = %s + now()", [timedelta()])
    sale.project()
    assert sale.read(remove_heard_of_ended) == 0


def test_which_tokens_have_changed_is_kept_for_as_long_as_anyone_follows(sale: LiveSale) -> None:
    sale.done(on_sale(), inside(ANN), waiting(BEN), leave(BEN))
    sale.project()
    sale.connection.execute(CHANGED_AGO, [timedelta(seconds=CHANGES_KEPT_S - 30)])
    sale.read(remove_old_changes)
    assert len(sale.read(tokens_changed_since, 0).value) == 2

    sale.connection.execute(CHANGED_AGO, [timedelta(seconds=60)])
    sale.read(remove_old_changes)
    assert sale.read(tokens_changed_since, 0).value == []


def keys(sale: LiveSale) -> list[str]:
    return [
        key for (key,) in sale.connection.execute("SELECT key FROM ticketing.command_outcomes").fetchall()
    ]


def kept(sale: LiveSale) -> set[UUID]:
    return {
        token_id for (token_id,) in sale.connection.execute("SELECT token_id FROM ticketing.heard").fetchall()
    }
