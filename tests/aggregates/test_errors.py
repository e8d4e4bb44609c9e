"""Errors: stable codes, sentences for people, members for programs."""

from typing import Any

import pytest

from aggregates import errors
from aggregates.errors import DomainError
from tests.aggregates.given import ANN, payment_of, reservation_of

EXAMPLES: list[tuple[DomainError, str, dict[str, Any]]] = [
    (errors.TokenExpired(), "TOKEN_EXPIRED", {}),
    (errors.TokenEnded("COMPLETED"), "TOKEN_ENDED", {}),
    (errors.TokenMissing(), "TOKEN_MISSING", {}),
    (errors.TokenInvalid(), "TOKEN_INVALID", {}),
    (errors.TokenMismatch(), "TOKEN_MISMATCH", {}),
    (errors.TokenNotActive(7, retry_after_s=2), "TOKEN_NOT_ACTIVE", {"place": 7}),
    (
        errors.InsufficientBalance(100, 200, payment_of(ANN)),
        "INSUFFICIENT_BALANCE",
        {"balance": 100, "amount": 200, "payment_id": payment_of(ANN)},
    ),
    (errors.UserNotFound(), "USER_NOT_FOUND", {}),
    (errors.ConcertNotFound(), "CONCERT_NOT_FOUND", {}),
    (errors.PerformanceNotFound(), "PERFORMANCE_NOT_FOUND", {}),
    (errors.SeatNotFound([51]), "SEAT_NOT_FOUND", {"seat_numbers": [51]}),
    (errors.ReservationNotFound(), "RESERVATION_NOT_FOUND", {}),
    (errors.PaymentNotFound(), "PAYMENT_NOT_FOUND", {}),
    (errors.SeatAlreadyHeld([7]), "SEAT_ALREADY_HELD", {"seat_numbers": [7]}),
    (errors.SeatAlreadySold([7, 8]), "SEAT_ALREADY_SOLD", {"seat_numbers": [7, 8]}),
    (errors.SeatLimitExceeded(4), "SEAT_LIMIT_EXCEEDED", {}),
    (
        errors.ReservationAlreadyOpen(reservation_of(ANN)),
        "RESERVATION_ALREADY_OPEN",
        {"reservation_id": reservation_of(ANN)},
    ),
    (errors.HoldExpired(), "HOLD_EXPIRED", {}),
    (errors.ReservationNotOpen(), "RESERVATION_NOT_OPEN", {}),
    (errors.SalesNotOpen(), "SALES_NOT_OPEN", {}),
    (errors.PerformanceStarted(), "PERFORMANCE_STARTED", {}),
    (errors.AmountMismatch(200), "AMOUNT_MISMATCH", {"amount": 200}),
    (errors.AmountOutOfRange(1, 10), "AMOUNT_OUT_OF_RANGE", {}),
    (errors.BalanceLimitExceeded(10), "BALANCE_LIMIT_EXCEEDED", {}),
    (errors.ChargeNotAllowedWhileHolding(), "CHARGE_NOT_ALLOWED_WHILE_HOLDING", {}),
    (errors.RefundNotAllowed("Too late."), "REFUND_NOT_ALLOWED", {}),
    (errors.ConcertAlreadyExists(), "CONCERT_ALREADY_EXISTS", {}),
    (errors.PerformanceAlreadyExists(), "PERFORMANCE_ALREADY_EXISTS", {}),
    (
        errors.PerformanceAmbiguous(["14:00", "19:30"]),
        "PERFORMANCE_AMBIGUOUS",
        {"start_times": ["14:00", "19:30"]},
    ),
    (
        errors.ValidationFailed("too long", "title"),
        "VALIDATION_FAILED",
        {"errors": [{"field": "title", "message": "too long"}]},
    ),
    (errors.RateLimited(retry_after_s=9), "RATE_LIMITED", {}),
    (errors.QueueFull(retry_after_s=200), "QUEUE_FULL", {}),
]


@pytest.mark.parametrize(("error", "code", "members"), EXAMPLES, ids=[code for _, code, _ in EXAMPLES])
def test_an_error_has_a_code_a_sentence_and_its_members(
    error: DomainError, code: str, members: dict[str, Any]
) -> None:
    assert error.code == code
    assert error.members == members
    assert error.detail == str(error) != ""
    assert error.detail.endswith(".") or code == "VALIDATION_FAILED"


def test_every_error_has_an_example_here_and_a_code_of_its_own() -> None:
    declared = [
        each
        for each in vars(errors).values()
        if isinstance(each, type) and issubclass(each, DomainError) and each is not DomainError
    ]
    assert sorted(map(str, declared)) == sorted(str(type(error)) for error, _, _ in EXAMPLES)
    assert len({each.code for each in declared}) == len(declared)


@pytest.mark.parametrize(
    ("error", "retry_after_s"),
    [
        (errors.TokenNotActive(7, retry_after_s=2), 2),
        (errors.RateLimited(retry_after_s=9), 9),
        (errors.QueueFull(retry_after_s=200), 200),
        (errors.HoldExpired(), None),
    ],
)
def test_what_passes_with_time_says_when_to_try_again(error: DomainError, retry_after_s: int | None) -> None:
    assert error.retry_after_s == retry_after_s
