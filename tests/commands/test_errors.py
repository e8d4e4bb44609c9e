"""Errors of commands: stable codes, sentences for people, and whether trying again makes sense."""

from collections.abc import Callable

import pytest

from aggregates.errors import DomainError
from commands import errors
from tests.aggregates.given import SENTENCES

EXAMPLES: list[tuple[Callable[[], DomainError], str, int | None]] = [
    (errors.IdempotencyKeyReused, "IDEMPOTENCY_KEY_REUSED", None),
    (errors.Overloaded, "OVERLOADED", 1),
    (errors.TryAgain, "TRY_AGAIN", 1),
    (errors.HistoryUnreadable, "STORE_UNAVAILABLE", 60),
    (lambda: errors.StoreUnavailable("NONE"), "STORE_UNAVAILABLE", 1),
    (lambda: errors.StoreUnavailable("NONE", repeatable=False), "STORE_UNAVAILABLE", 1),
    (lambda: errors.StoreUnavailable("UNKNOWN"), "STORE_UNAVAILABLE", 1),
    (lambda: errors.StoreUnavailable("UNKNOWN", repeatable=False), "STORE_UNAVAILABLE", None),
]


@pytest.mark.parametrize(("make", "code", "retry_after_s"), EXAMPLES)
def test_an_error_has_a_code_sentences_and_says_when_to_try_again(
    make: Callable[[], DomainError], code: str, retry_after_s: int | None
) -> None:
    error = make()
    assert error.code == code
    assert SENTENCES.fullmatch(error.detail)
    assert error.retry_after_s == retry_after_s


def test_where_the_store_did_not_answer_it_is_told_whether_something_may_have_been_recorded() -> None:
    nothing, perhaps = errors.StoreUnavailable("NONE"), errors.StoreUnavailable("UNKNOWN")
    assert (nothing.members, perhaps.members) == ({"outcome": "NONE"}, {"outcome": "UNKNOWN"})
    assert errors.HistoryUnreadable().members == {"outcome": "NONE"}
    assert "Nothing was recorded" in nothing.detail
    assert "Nothing was recorded" not in perhaps.detail
