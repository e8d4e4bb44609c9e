"""Every rule, over random histories of everything that can be asked for: the real handlers against the model.

`python -m tests.properties` looks for longer, and where this run does not look.
"""

from collections import Counter
from typing import ClassVar

from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from commands.table import HANDLERS
from tests.properties.machine import AnyHistory, Tally
from tests.properties.model.service import COMMANDS

EXAMPLES, STEPS = 120, 60
"""Some 8 s of them."""

REFUSALS = {
    "AMOUNT_MISMATCH",
    "AMOUNT_OUT_OF_RANGE",
    "BALANCE_LIMIT_EXCEEDED",
    "CHARGE_NOT_ALLOWED_WHILE_HOLDING",
    "CONCERT_ALREADY_EXISTS",
    "CONCERT_NOT_FOUND",
    "HOLD_EXPIRED",
    "IDEMPOTENCY_KEY_REUSED",
    "INSUFFICIENT_BALANCE",
    "PAYMENT_NOT_FOUND",
    "PERFORMANCE_ALREADY_EXISTS",
    "PERFORMANCE_AMBIGUOUS",
    "PERFORMANCE_NOT_FOUND",
    "PERFORMANCE_STARTED",
    "QUEUE_FULL",
    "RATE_LIMITED",
    "REFUND_NOT_ALLOWED",
    "RESERVATION_ALREADY_OPEN",
    "RESERVATION_NOT_FOUND",
    "RESERVATION_NOT_OPEN",
    "SALES_NOT_OPEN",
    "SEAT_ALREADY_HELD",
    "SEAT_ALREADY_SOLD",
    "SEAT_LIMIT_EXCEEDED",
    "SEAT_NOT_FOUND",
    "TOKEN_ENDED",
    "TOKEN_EXPIRED",
    "TOKEN_INVALID",
    "TOKEN_MISMATCH",
    "TOKEN_MISSING",
    "TOKEN_NOT_ACTIVE",
    "USER_NOT_FOUND",
    "VALIDATION_FAILED",
}
"""Every error that a handler can answer with."""

REFUSALS_LEFT_OUT = 4
"""So few examples may miss the rarest; which ones changes with every change of the steps."""


class Counted(AnyHistory):
    """Counts for itself."""

    tally: ClassVar[Tally] = Counter()


def test_every_rule_holds_over_any_history() -> None:
    """The examples are the same in every run, so that what they reach is no matter of luck."""
    examples = settings(
        max_examples=EXAMPLES, stateful_step_count=STEPS, derandomize=True, database=None, deadline=None
    )
    run_state_machine_as_test(Counted, settings=examples)
    assert {name for name, code in Counted.tally if code == "done"} == set(COMMANDS)
    reached = {code for _, code in Counted.tally}
    assert reached <= {*REFUSALS, "done", "repeat"}
    assert len(REFUSALS - reached) <= REFUSALS_LEFT_OUT, REFUSALS - reached


def test_the_model_knows_every_command() -> None:
    assert len(COMMANDS) == len(HANDLERS)
