"""The sale policy: its defaults, and what can be set."""

from datetime import datetime, timedelta, timezone
from typing import Any

import msgspec
import pytest
from hypothesis import given as for_all
from hypothesis import strategies as st

from aggregates.errors import ValidationFailed
from aggregates.policy import OnInsufficientBalance, Policy, changed
from tests.aggregates.given import assert_refused_for, at
from tests.aggregates.strategies import moments


def test_what_is_not_named_stays_as_it_was() -> None:
    before = Policy(max_active=7, hold_ttl_s=60)
    assert changed(before, {"max_active": None}) == Policy(max_active=None, hold_ttl_s=60)
    assert changed(before, {}) == before


def test_values_are_taken_as_json_has_them() -> None:
    changes = {"on_insufficient_balance": "release_hold", "sales_open_at": "2026-03-02T12:00:00Z"}
    assert changed(Policy(), changes) == Policy(
        on_insufficient_balance=OnInsufficientBalance.RELEASE_HOLD, sales_open_at=at("12:00")
    )


def test_times_are_kept_in_utc_whatever_offset_they_came_with() -> None:
    policy = changed(Policy(), {"sales_close_at": "2026-03-02T21:00:00+09:00"})
    assert msgspec.to_builtins(policy)["sales_close_at"] == "2026-03-02T12:00:00Z"
    assert policy.sales_close_at is not None
    assert policy.sales_close_at.utcoffset() == timedelta(0)


@pytest.mark.usefixtures("machine_elsewhere")
def test_times_are_kept_in_utc_wherever_the_machine_stands() -> None:
    policy = changed(Policy(), {"sales_open_at": "2026-03-02T12:00:00Z"})
    assert msgspec.to_builtins(policy)["sales_open_at"] == "2026-03-02T12:00:00Z"


@for_all(moments, st.integers(-14 * 60, 14 * 60))
def test_a_time_with_any_offset_stays_the_same_instant(moment: datetime, offset_minutes: int) -> None:
    local = moment.astimezone(timezone(timedelta(minutes=offset_minutes)))
    kept = changed(Policy(), {"sales_open_at": local.isoformat()}).sales_open_at
    assert kept is not None
    assert kept == moment
    assert kept.utcoffset() == timedelta(0)


@pytest.mark.parametrize(
    "changes",
    [
        {"max_actve": 5},
        {"max_active": 0},
        {"max_active": -1},
        {"max_active": 10**30},
        {"max_active": "5"},
        {"max_active": True},
        {"max_active": 1.5},
        {"admit_interval_s": 3_601},
        {"admit_interval_s": None},
        {"active_ttl_s": 0},
        {"hold_ttl_s": None},
        {"max_seats_per_user": 0},
        {"max_waiting": 0},
        {"abandon_waiting_after_s": 599},
        {"abandon_after_disconnect_s": -1},
        {"on_insufficient_balance": "shrug"},
        {"charge_while_holding": 1},
        {"sales_open_at": "2026-03-02T12:00:00"},
        {"sales_open_at": "noon"},
        {"sales_open_at": "0001-01-01T00:00:00+09:00"},
        {"sales_close_at": "9999-12-31T23:59:59-09:00"},
        {"refund_until_s": -1},
    ],
)
def test_what_a_policy_cannot_be_is_refused_by_the_name_of_its_field(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationFailed) as refusal:
        changed(Policy(), changes)
    (field,) = changes
    assert [error["field"] for error in refusal.value.members["errors"]] == [field]


@pytest.mark.parametrize(
    "changes",
    [{"max_actve": 5}, {"sales_open_at": "0001-01-01T00:00:00+09:00"}],
    ids=["unknown", "too early"],
)
def test_what_is_wrong_with_a_field_is_told_in_words(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationFailed) as refusal:
        changed(Policy(), changes)
    assert_refused_for(refusal.value, *changes)


@for_all(st.integers(-10, 4_000))
def test_an_interval_is_at_most_an_hour(seconds: int) -> None:
    if 1 <= seconds <= 3_600:
        assert changed(Policy(), {"admit_interval_s": seconds}) == Policy(admit_interval_s=seconds)
    else:
        with pytest.raises(ValidationFailed):
            changed(Policy(), {"admit_interval_s": seconds})


@for_all(st.none() | st.integers(0, 2_000))
def test_a_waiting_token_is_given_ten_minutes_of_silence_at_least(seconds: int | None) -> None:
    changes = {"abandon_waiting_after_s": seconds}
    if seconds is None or seconds >= 600:
        assert changed(Policy(), changes) == Policy(abandon_waiting_after_s=seconds)
    else:
        with pytest.raises(ValidationFailed):
            changed(Policy(), changes)
