"""Problem documents (RFC 9457): one table maps every error code to its HTTP status and title."""

import re
from typing import Any, Final
from urllib.parse import quote

import msgspec

from aggregates.errors import DomainError

PROBLEM_TYPE = b"application/problem+json"

PATH_CHARACTERS = "/:@!$&'()*+,;="
"""RFC 3986 (3.3): what else may stand in a path as it is."""

PLAIN_PATH = re.compile(r"[A-Za-z0-9/_-]*")
"""As nearly all paths are; looking at each character for itself takes longer."""

STATUS: Final[dict[str, int]] = {
    "BAD_REQUEST": 400,
    "TOKEN_MISSING": 401,
    "TOKEN_INVALID": 401,
    "TOKEN_LOST": 401,
    "TOKEN_EXPIRED": 401,
    "TOKEN_ENDED": 401,
    "ADMIN_KEY_REQUIRED": 401,
    "INSUFFICIENT_BALANCE": 402,
    "TOKEN_NOT_ACTIVE": 403,
    "TOKEN_MISMATCH": 403,
    "USER_NOT_FOUND": 404,
    "CONCERT_NOT_FOUND": 404,
    "PERFORMANCE_NOT_FOUND": 404,
    "SEAT_NOT_FOUND": 404,
    "RESERVATION_NOT_FOUND": 404,
    "PAYMENT_NOT_FOUND": 404,
    "STREAM_NOT_FOUND": 404,
    "AUDIT_NOT_FOUND": 404,
    "NOT_FOUND": 404,
    "METHOD_NOT_ALLOWED": 405,
    "SEAT_ALREADY_HELD": 409,
    "SEAT_ALREADY_SOLD": 409,
    "SEAT_LIMIT_EXCEEDED": 409,
    "RESERVATION_ALREADY_OPEN": 409,
    "HOLD_EXPIRED": 409,
    "RESERVATION_NOT_OPEN": 409,
    "SALES_NOT_OPEN": 409,
    "PERFORMANCE_STARTED": 409,
    "AMOUNT_MISMATCH": 409,
    "BALANCE_LIMIT_EXCEEDED": 409,
    "CHARGE_NOT_ALLOWED_WHILE_HOLDING": 409,
    "REFUND_NOT_ALLOWED": 409,
    "CONCERT_ALREADY_EXISTS": 409,
    "PERFORMANCE_ALREADY_EXISTS": 409,
    "POSITION_NOT_IN_LOG": 412,
    "BODY_TOO_LARGE": 413,
    "VALIDATION_FAILED": 422,
    "AMOUNT_OUT_OF_RANGE": 422,
    "PERFORMANCE_AMBIGUOUS": 422,
    "IDEMPOTENCY_KEY_REUSED": 422,
    "RATE_LIMITED": 429,
    "INTERNAL_ERROR": 500,
    "QUEUE_FULL": 503,
    "OVERLOADED": 503,
    "TRY_AGAIN": 503,
    "STORE_UNAVAILABLE": 503,
    "READ_MODEL_BEHIND": 503,
}


_KINDS: Final = {
    code: {
        "type": f"urn:ticketing:error:{code}",
        "title": code.replace("_", " ").capitalize(),
        "status": status,
    }
    for code, status in STATUS.items()
}
"""What is the same in every document of a code."""


class BadRequest(DomainError):
    """The body is not JSON, or the request is not HTTP."""

    code = "BAD_REQUEST"

    def __init__(self, detail: str = "The body is not JSON in UTF-8.") -> None:
        super().__init__(detail)


class AdminKeyRequired(DomainError):
    """An admin call without the admin key."""

    code = "ADMIN_KEY_REQUIRED"

    def __init__(self) -> None:
        super().__init__("Send the admin key as `Authorization: Bearer …`.")


class NotFound(DomainError):
    """No such route."""

    code = "NOT_FOUND"

    def __init__(self) -> None:
        super().__init__("There is nothing at this address. See /docs.")


class StreamNotFound(DomainError):
    """No event was ever recorded on this stream."""

    code = "STREAM_NOT_FOUND"

    def __init__(self) -> None:
        super().__init__("No event was ever recorded on this stream.")


class AuditNotFound(DomainError):
    """No audit was asked for under this id."""

    code = "AUDIT_NOT_FOUND"

    def __init__(self) -> None:
        super().__init__("There is no audit with this id.")


class MethodNotAllowed(DomainError):
    """The route exists, but not for this method."""

    code = "METHOD_NOT_ALLOWED"

    def __init__(self, allowed: str) -> None:
        super().__init__(f"This address answers {allowed}.")
        self.allowed = allowed


class BodyTooLarge(DomainError):
    """The body is over the limit."""

    code = "BODY_TOO_LARGE"

    def __init__(self, bytes_max: int) -> None:
        super().__init__(f"A body may have at most {bytes_max} bytes.")


class ReadModelBehind(DomainError):
    """The read model has not reached the position that the client has seen."""

    code = "READ_MODEL_BEHIND"
    retry_after_s = 1

    def __init__(self) -> None:
        super().__init__("The read model has not caught up with your Min-Log-Position yet. Try again.")


class PositionNotInLog(DomainError):
    """The log does not have the position that the client has seen: it was restored from a backup since."""

    code = "POSITION_NOT_IN_LOG"

    def __init__(self, position: int) -> None:
        super().__init__(
            "The log has no such Min-Log-Position: what you saw is lost, since the service was restored from "
            "a backup. Forget what you saw and look again, without it.",
            position=position,
        )


class InternalError(DomainError):
    """A defect of ours; the log holds more under the request id."""

    code = "INTERNAL_ERROR"

    def __init__(self, request_id: str) -> None:
        super().__init__("Something went wrong on our side.", request_id=request_id)


def quoted(path: str) -> str:
    """Write a path as it may stand in a document, and in a line of a log."""
    return path if PLAIN_PATH.fullmatch(path) else quote(path, safe=PATH_CHARACTERS)


def problem(error: DomainError, instance: str) -> dict[str, Any]:
    """Describe an error as a problem document; `instance` is the path that was asked for."""
    return {
        **_KINDS[error.code],
        "detail": error.detail,
        "instance": quoted(instance),
        "code": error.code,
        **error.members,
    }


def encoded(error: DomainError, instance: str) -> bytes:
    """Encode an error's problem document."""
    return msgspec.json.encode(problem(error, instance))
