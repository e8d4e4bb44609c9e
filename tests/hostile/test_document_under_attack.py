"""Requests made of the OpenAPI document: a short attack. `make hostile` is the long one."""

from typing import Final

import pytest

from tests.cli.running_service import RunningService
from tests.hostile.attack import Target

CASES_MIN: Final = 50
WITHIN_S: Final = 150.0
"""It takes six seconds; the machine may be busy."""

pytestmark = [pytest.mark.xdist_group("hostile"), pytest.mark.timeout(2 * WITHIN_S)]


def test_every_answer_is_documented_and_none_is_a_defect(whole_service: RunningService) -> None:
    target = Target(f"http://127.0.0.1:{whole_service.port}", whole_service.secrets["admin_key"])
    outcome = target.attack(
        "--phases", "fuzzing", "--max-examples", "2", "--generation-deterministic", seed=1, within_s=WITHIN_S
    )  # fmt: skip
    assert outcome.ok, outcome.said
    assert outcome.answers.total() >= CASES_MIN
    assert {answer[0] for answer in outcome.answers} >= {"2", "4"}
