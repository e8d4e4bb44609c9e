"""Every rule that a log can show: a forged breach is found, named, and pointed at."""

import pytest

from audit.breaches import KEPT_MAX
from audit.replay import Replay
from audit.report import Report, report
from tests.audit.forgeries import FORGERIES
from tests.audit.forgeries.forgery import ANN, Forgery, on_sale
from tests.audit.log_builder import LogBuilder

RULES_OF_A_LOG = {
    "A1", "Q1", "Q2", "Q3", "Q4", "Q5", "Q6", "L1", "L2",
    "S1", "S2", "S3", "S4", "S5", "W1", "W3", "P1", "P2", "P3", "P4",
}  # fmt: skip


def audited(log: LogBuilder) -> Report:
    replay = Replay()
    replay.apply_all(log.rows())
    replay.close()
    return report(replay, None, None)


@pytest.mark.parametrize(
    "forgery", FORGERIES, ids=[f"{forgery.rule}-{forgery.forge.__name__}" for forgery in FORGERIES]
)
def test_a1_a_forged_breach_is_found_named_and_pointed_at(forgery: Forgery) -> None:
    log = on_sale()
    expected = sorted({event.position for event in forgery.forge(log)})

    found = audited(log).breaches

    assert expected in [breach.positions for breach in found if breach.rule == forgery.rule], found
    assert {breach.rule for breach in found} - {forgery.rule} == forgery.also, found


def test_a1_every_rule_that_a_log_can_show_is_forged() -> None:
    assert {forgery.rule for forgery in FORGERIES} >= RULES_OF_A_LOG


def test_a1_of_very_many_breaches_the_first_are_kept_and_all_are_counted() -> None:
    log = LogBuilder()
    log.balances[ANN] = 0
    for _ in range(KEPT_MAX + 234):
        log.charge(ANN, 1)

    found = audited(log)

    assert not found.ok
    assert len(found.breaches) == KEPT_MAX + 1
    assert found.breaches[-1].detail == f"and 234 more breaches; all together by rule: W1 {KEPT_MAX + 234}"
