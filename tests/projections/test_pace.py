"""How often the log is looked at."""

import pytest

from projections.feed import POLL_MAX_S, POLL_MIN_S, Pace


def test_there_is_no_waiting_while_there_is_a_backlog() -> None:
    pace = Pace(limit=100)
    assert pace.wait_s(100) == 0.0
    assert pace.wait_s(50) == 0.0


def test_after_a_few_events_the_next_are_waited_for_a_little() -> None:
    assert Pace(limit=100).wait_s(49) == POLL_MIN_S


def test_a_quiet_log_is_looked_at_ever_more_rarely_until_something_comes() -> None:
    pace = Pace(limit=100)
    waits_s = [pace.wait_s(0) for _ in range(20)]
    assert waits_s == sorted(waits_s)
    assert waits_s[0] > POLL_MIN_S
    assert waits_s[-1] == pytest.approx(POLL_MAX_S)
    assert pace.wait_s(1) == POLL_MIN_S
