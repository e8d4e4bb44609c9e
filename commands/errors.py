"""Why a command could not be carried out, where no rule of the domain says no."""

from typing import Literal

from aggregates.errors import DomainError

RETRY_AFTER_S = 1
"""What stands in the way passes quickly: a batch, a reconnect."""


class IdempotencyKeyReused(DomainError):
    """I2: the same key was used with another request."""

    code = "IDEMPOTENCY_KEY_REUSED"

    def __init__(self) -> None:
        super().__init__("This Idempotency-Key was used with another request. Use a new one.")


class Overloaded(DomainError):
    """Too many commands are waiting; this one was not taken in."""

    code = "OVERLOADED"
    retry_after_s = RETRY_AFTER_S

    def __init__(self) -> None:
        super().__init__("Too many commands are waiting. Nothing was recorded; try again.")


class TryAgain(DomainError):
    """The command met a version conflict each time that it was decided."""

    code = "TRY_AGAIN"
    retry_after_s = RETRY_AFTER_S

    def __init__(self) -> None:
        super().__init__("Others kept changing the same things. Nothing was recorded; try again.")


class StoreUnavailable(DomainError):
    """The log did not answer in time.

    With the outcome `NONE` nothing was recorded. With `UNKNOWN` it may have been: only a command with an
    idempotency key can simply be repeated.
    """

    code = "STORE_UNAVAILABLE"

    def __init__(self, outcome: Literal["NONE", "UNKNOWN"], *, repeatable: bool = True) -> None:
        detail = {
            "NONE": "The event store cannot be reached. Nothing was recorded; try again.",
            "UNKNOWN": "The event store did not say whether this was recorded. Look before you repeat it.",
        }[outcome]
        super().__init__(detail, outcome=outcome)
        if outcome == "NONE" or repeatable:
            self.retry_after_s = RETRY_AFTER_S


class HistoryUnreadable(StoreUnavailable):
    """Something in the log that the command rests on cannot be read here: perhaps newer software wrote it."""

    retry_after_s = 60

    def __init__(self) -> None:
        DomainError.__init__(
            self,
            "The log holds an event about this that cannot be read here. Nothing was recorded.",
            outcome="NONE",
        )
