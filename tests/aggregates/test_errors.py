"""Errors: stable codes, sentences for people, members for programs."""

from collections.abc import Callable
from typing import Any, Literal

import msgspec
import pytest

from aggregates import errors
from aggregates.errors import DomainError
from tests.aggregates.given import ANN, SENTENCES, at, payment_of, reservation_of

EXAMPLES: list[tuple[Callable[[], DomainError], str, dict[str, Any]]] = [
    (errors.TokenExpired, "TOKEN_EXPIRED", {}),
    (lambda: errors.TokenEnded("COMPLETED"), "TOKEN_ENDED", {}),
    (errors.TokenMissing, "TOKEN_MISSING", {}),
    (errors.TokenInvalid, "TOKEN_INVALID", {}),
    (lambda: errors.TokenLost(at("12:00")), "TOKEN_LOST", {"restored_up_to": at("12:00")}),
    (errors.TokenMismatch, "TOKEN_MISMATCH", {}),
    (lambda: errors.TokenNotActive(7, retry_after_s=2), "TOKEN_NOT_ACTIVE", {"place": 7}),
    (
        lambda: errors.InsufficientBalance(100, 200, payment_of(ANN)),
        "INSUFFICIENT_BALANCE",
        {"balance": 100, "amount": 200, "payment_id": payment_of(ANN)},
    ),
    (errors.UserNotFound, "USER_NOT_FOUND", {}),
    (errors.ConcertNotFound, "CONCERT_NOT_FOUND", {}),
    (errors.PerformanceNotFound, "PERFORMANCE_NOT_FOUND", {}),
    (lambda: errors.SeatNotFound([51]), "SEAT_NOT_FOUND", {"seat_numbers": [51]}),
    (errors.ReservationNotFound, "RESERVATION_NOT_FOUND", {}),
    (errors.PaymentNotFound, "PAYMENT_NOT_FOUND", {}),
    (lambda: errors.SeatAlreadyHeld([7]), "SEAT_ALREADY_HELD", {"seat_numbers": [7]}),
    (lambda: errors.SeatAlreadySold([7, 8]), "SEAT_ALREADY_SOLD", {"seat_numbers": [7, 8]}),
    (lambda: errors.SeatLimitExceeded(4), "SEAT_LIMIT_EXCEEDED", {}),
    (
        lambda: errors.ReservationAlreadyOpen(reservation_of(ANN)),
        "RESERVATION_ALREADY_OPEN",
        {"reservation_id": reservation_of(ANN)},
    ),
    (errors.HoldExpired, "HOLD_EXPIRED", {}),
    (errors.ReservationNotOpen, "RESERVATION_NOT_OPEN", {}),
    (errors.SalesNotOpen, "SALES_NOT_OPEN", {}),
    (errors.PerformanceStarted, "PERFORMANCE_STARTED", {}),
    (lambda: errors.AmountMismatch(200), "AMOUNT_MISMATCH", {"amount": 200}),
    (lambda: errors.AmountOutOfRange(1, 10), "AMOUNT_OUT_OF_RANGE", {}),
    (lambda: errors.BalanceLimitExceeded(10), "BALANCE_LIMIT_EXCEEDED", {}),
    (errors.ChargeNotAllowedWhileHolding, "CHARGE_NOT_ALLOWED_WHILE_HOLDING", {}),
    (lambda: errors.RefundNotAllowed("Too late."), "REFUND_NOT_ALLOWED", {}),
    (errors.ConcertAlreadyExists, "CONCERT_ALREADY_EXISTS", {}),
    (errors.PerformanceAlreadyExists, "PERFORMANCE_ALREADY_EXISTS", {}),
    (
        lambda: errors.PerformanceAmbiguous(["14:00", "19:30"]),
        "PERFORMANCE_AMBIGUOUS",
        {"start_times": ["14:00", "19:30"]},
    ),
    (
        lambda: errors.ValidationFailed("too long", "title"),
        "VALIDATION_FAILED",
        {"errors": [{"field": "title", "message": "too long"}]},
    ),
    (lambda: errors.RateLimited(retry_after_s=9), "RATE_LIMITED", {}),
    (lambda: errors.QueueFull(retry_after_s=200), "QUEUE_FULL", {}),
]


@pytest.mark.parametrize(("make", "code", "members"), EXAMPLES, ids=[code for _, code, _ in EXAMPLES])
def test_an_error_has_a_code_sentences_for_people_and_members_for_programs(
    make: Callable[[], DomainError], code: str, members: dict[str, Any]
) -> None:
    error = make()
    assert error.code == code
    assert error.members == members
    assert error.detail == str(error)
    assert SENTENCES.fullmatch(error.detail) or code == "VALIDATION_FAILED"


def test_every_error_has_an_example_here_and_a_code_of_its_own() -> None:
    declared = [
        each
        for each in vars(errors).values()
        if isinstance(each, type) and issubclass(each, DomainError) and each is not DomainError
    ]
    assert sorted(map(str, declared)) == sorted(str(type(make())) for make, _, _ in EXAMPLES)
    assert len({each.code for each in declared}) == len(declared)


@pytest.mark.parametrize(
    ("make", "retry_after_s"),
    [
        (lambda: errors.TokenNotActive(7, retry_after_s=2), 2),
        (lambda: errors.RateLimited(retry_after_s=9), 9),
        (lambda: errors.QueueFull(retry_after_s=200), 200),
        (errors.HoldExpired, None),
    ],
)
def test_what_passes_with_time_says_when_to_try_again(
    make: Callable[[], DomainError], retry_after_s: int | None
) -> None:
    assert make().retry_after_s == retry_after_s


@pytest.mark.parametrize("detail", ["The token's signature is wrong.", "The token is of another service."])
def test_what_is_wrong_with_a_token_may_be_told_more_exactly(detail: str) -> None:
    assert (errors.TokenMissing(detail).detail, errors.TokenInvalid(detail).detail) == (detail, detail)


def test_a_token_s_end_is_told_in_small_letters() -> None:
    assert "is completed." in errors.TokenEnded("COMPLETED").detail


def test_what_is_wrong_with_a_request_is_told_with_its_field_or_without() -> None:
    field, none = errors.ValidationFailed("too long", "title"), errors.ValidationFailed("no JSON")
    assert (field.detail, field.members) == (
        "title: too long",
        {"errors": [{"field": "title", "message": "too long"}]},
    )
    assert (none.detail, none.members) == ("no JSON", {"errors": [{"message": "no JSON"}]})


class Shape(msgspec.Struct):
    """Something to ask for."""

    kinds: list[Literal["A", "B"]]


@pytest.mark.parametrize(
    ("value", "field"),
    [
        ({"kinds": "A"}, "kinds"),
        ({"kinds": ["A", "C"]}, "kinds[1]"),
        ({"kinds": [" - at `$.elsewhere`"]}, "kinds[0]"),
        ([], None),
    ],
)
def test_the_field_that_has_the_wrong_shape_is_named(value: object, field: str | None) -> None:
    with pytest.raises(msgspec.ValidationError) as wrong:
        msgspec.convert(value, Shape)
    (error,) = errors.ValidationFailed.of(wrong.value).members["errors"]
    assert error.get("field") == field
    assert str(wrong.value).startswith(error["message"])
    assert "`$" not in error["message"] or field == "kinds[0]"


def test_better_words_may_be_given_for_what_is_wrong() -> None:
    words = {"Expected `array`, got `str`": "list them", "Expected `object`, got `array`": "send an object"}
    for value, told in (({"kinds": "A"}, "kinds: list them"), ([], "send an object"), ({}, None)):
        with pytest.raises(msgspec.ValidationError) as wrong:
            msgspec.convert(value, Shape)
        assert errors.ValidationFailed.of(wrong.value, words).detail == (told or str(wrong.value))
