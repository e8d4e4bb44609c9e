"""Why a command can be refused. Each error has a stable code; the API maps codes to HTTP in one table."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar, Self
from uuid import UUID

import msgspec


class DomainError(Exception):
    """A rule says no. Nothing was recorded, unless the rule itself asks for a record of the refusal."""

    code: ClassVar[str]
    retry_after_s: int | None = None
    """After so many seconds trying again makes sense; such refusals are never kept for an idempotency key."""

    def __init__(self, detail: str, **members: Any) -> None:
        """`detail` tells the user what was wrong and what to do; `members` are facts a program can use."""
        super().__init__(detail)
        self.detail = detail
        self.members: Mapping[str, Any] = members


class TokenExpired(DomainError):
    """Q5: the token's time to buy has run out."""

    code = "TOKEN_EXPIRED"

    def __init__(self) -> None:
        super().__init__("Your time to buy has run out. Ask for a new token to stand in line again.")


class TokenEnded(DomainError):
    """Q6: the token was completed or cancelled."""

    code = "TOKEN_ENDED"

    def __init__(self, status: str) -> None:
        super().__init__(f"This token is {status.lower()}. Ask for a new one to stand in line again.")


class TokenMissing(DomainError):
    """The call needs a signed token, and none was shown."""

    code = "TOKEN_MISSING"

    def __init__(self, detail: str = "Send your queue token as `Authorization: Bearer …`.") -> None:
        super().__init__(detail)


class TokenInvalid(DomainError):
    """The token shown is not one of ours, or not one of this user."""

    code = "TOKEN_INVALID"

    def __init__(self, detail: str = "This is not a token that the service has signed.") -> None:
        super().__init__(detail)


class TokenLost(DomainError):
    """The token was issued in a part of the log that was lost when the service was restored from a backup."""

    code = "TOKEN_LOST"

    def __init__(self, restored_up_to: datetime | None) -> None:
        super().__init__(
            "Your place in line is lost: the service was restored from a backup made before you joined. "
            "Ask for a new token to stand in line again.",
            restored_up_to=restored_up_to,
        )


class TokenMismatch(DomainError):
    """Q7: the token is for another concert."""

    code = "TOKEN_MISMATCH"

    def __init__(self) -> None:
        super().__init__("This token is for another concert.")


class TokenNotActive(DomainError):
    """Q7: the token still waits in line."""

    code = "TOKEN_NOT_ACTIVE"

    def __init__(self, place: int, retry_after_s: int) -> None:
        super().__init__("You are still waiting in line. Poll your token until it is active.", place=place)
        self.retry_after_s = retry_after_s


class InsufficientBalance(DomainError):
    """P3: the wallet holds less than the reservation's amount."""

    code = "INSUFFICIENT_BALANCE"

    def __init__(self, balance: int, amount: int, payment_id: UUID) -> None:
        super().__init__(
            f"The wallet holds {balance} won, and the reservation costs {amount}. Charge it and pay again.",
            balance=balance,
            amount=amount,
            payment_id=payment_id,
        )


class UserNotFound(DomainError):
    """No wallet was ever opened for this user."""

    code = "USER_NOT_FOUND"

    def __init__(self) -> None:
        super().__init__("There is no such user. Register the user first.")


class ConcertNotFound(DomainError):
    """No concert has this code."""

    code = "CONCERT_NOT_FOUND"

    def __init__(self) -> None:
        super().__init__("There is no concert with this code.")


class PerformanceNotFound(DomainError):
    """The concert has no performance then."""

    code = "PERFORMANCE_NOT_FOUND"

    def __init__(self) -> None:
        super().__init__("The concert has no performance on that date and at that time.")


class SeatNotFound(DomainError):
    """The performance's plan does not have these seats."""

    code = "SEAT_NOT_FOUND"

    def __init__(self, seat_numbers: Sequence[int]) -> None:
        super().__init__("The performance has no such seats.", seat_numbers=list(seat_numbers))


class ReservationNotFound(DomainError):
    """There is no such reservation, or it is another user's."""

    code = "RESERVATION_NOT_FOUND"

    def __init__(self) -> None:
        super().__init__("There is no such reservation of yours.")


class PaymentNotFound(DomainError):
    """There is no such payment, or it is another user's."""

    code = "PAYMENT_NOT_FOUND"

    def __init__(self, detail: str = "There is no such payment of yours.") -> None:
        super().__init__(detail)


class SeatAlreadyHeld(DomainError):
    """S1: someone else's live hold is on these seats."""

    code = "SEAT_ALREADY_HELD"

    def __init__(self, seat_numbers: Sequence[int]) -> None:
        super().__init__("Someone else holds these seats. Choose others.", seat_numbers=list(seat_numbers))


class SeatAlreadySold(DomainError):
    """S1: these seats have an owner."""

    code = "SEAT_ALREADY_SOLD"

    def __init__(self, seat_numbers: Sequence[int]) -> None:
        super().__init__("These seats are sold. Choose others.", seat_numbers=list(seat_numbers))


class SeatLimitExceeded(DomainError):
    """S4: the user would hold and own more seats of the concert than its policy allows."""

    code = "SEAT_LIMIT_EXCEEDED"

    def __init__(self, seats_max: int) -> None:
        super().__init__(f"One user may have at most {seats_max} seats of this concert, held and bought.")


class ReservationAlreadyOpen(DomainError):
    """S5: the token has an open reservation."""

    code = "RESERVATION_ALREADY_OPEN"

    def __init__(self, reservation_id: UUID) -> None:
        super().__init__(
            "You have an open reservation. Pay or release it first.", reservation_id=reservation_id
        )


class HoldExpired(DomainError):
    """P2: the hold's deadline has passed; no money was taken."""

    code = "HOLD_EXPIRED"

    def __init__(self) -> None:
        super().__init__("The time to pay for these seats has run out. No money was taken.")


class ReservationNotOpen(DomainError):
    """The reservation was paid, released or has expired, or there is none."""

    code = "RESERVATION_NOT_OPEN"

    def __init__(self) -> None:
        super().__init__("There is no open reservation to do this with.")


class SalesNotOpen(DomainError):
    """L1: the sale of this concert is closed."""

    code = "SALES_NOT_OPEN"

    def __init__(self) -> None:
        super().__init__("Tickets for this concert are not on sale now.")


class PerformanceStarted(DomainError):
    """L2: the performance has begun."""

    code = "PERFORMANCE_STARTED"

    def __init__(self) -> None:
        super().__init__("This performance has begun. Choose another.")


class AmountMismatch(DomainError):
    """The amount sent is not the reservation's."""

    code = "AMOUNT_MISMATCH"

    def __init__(self, amount: int) -> None:
        super().__init__(f"The reservation costs {amount} won.", amount=amount)


class AmountOutOfRange(DomainError):
    """W2: the charge is smaller or larger than the service allows."""

    code = "AMOUNT_OUT_OF_RANGE"

    def __init__(self, smallest: int, largest: int) -> None:
        super().__init__(f"Charge between {smallest} and {largest} won.")


class BalanceLimitExceeded(DomainError):
    """W2: the charge would take the wallet past the largest balance."""

    code = "BALANCE_LIMIT_EXCEEDED"

    def __init__(self, largest: int) -> None:
        super().__init__(f"A wallet holds at most {largest} won.")


class ChargeNotAllowedWhileHolding(DomainError):
    """W3: charging is suspended while a reservation is open."""

    code = "CHARGE_NOT_ALLOWED_WHILE_HOLDING"

    def __init__(self) -> None:
        super().__init__("While you hold seats of this concert your wallet cannot be charged.")


class RefundNotAllowed(DomainError):
    """P4: the payment failed, was refunded already, or it is too late."""

    code = "REFUND_NOT_ALLOWED"

    def __init__(self, detail: str) -> None:
        super().__init__(detail)


class ConcertAlreadyExists(DomainError):
    """The code is taken."""

    code = "CONCERT_ALREADY_EXISTS"

    def __init__(self) -> None:
        super().__init__("There is a concert with this code already.")


class PerformanceAlreadyExists(DomainError):
    """The concert has a performance on that date at that time."""

    code = "PERFORMANCE_ALREADY_EXISTS"

    def __init__(self) -> None:
        super().__init__("The concert has a performance on that date at that time already.")


class PerformanceAmbiguous(DomainError):
    """There are several performances on that date, and none was named."""

    code = "PERFORMANCE_AMBIGUOUS"

    def __init__(self, start_times: Sequence[str]) -> None:
        super().__init__(
            "There are several performances on that date. Say which by its start_time.",
            start_times=list(start_times),
        )


class ValidationFailed(DomainError):
    """The request has the wrong shape, or values that cannot be."""

    code = "VALIDATION_FAILED"

    def __init__(self, message: str, field: str | None = None) -> None:
        error = {"message": message} if field is None else {"field": field, "message": message}
        super().__init__(message if field is None else f"{field}: {message}", errors=[error])

    @classmethod
    def of(cls, error: msgspec.ValidationError, words: Mapping[str, str] | None = None) -> Self:
        """Name the field of which msgspec says `… - at `$.seats[0].price``; `words` are better ones.

        The path stands last: before it a value may be quoted, and that may hold anything.
        """
        text = str(error)
        message, told, path = text.rpartition(" - at `")
        if not told:
            return cls((words or {}).get(text, text))
        return cls(
            (words or {}).get(message, message), path.removesuffix("`").removeprefix("$").removeprefix(".")
        )


class RateLimited(DomainError):
    """P3: too many failed attempts at one reservation."""

    code = "RATE_LIMITED"

    def __init__(self, retry_after_s: int) -> None:
        super().__init__("Too many payments have failed. Charge the wallet before you try again.")
        self.retry_after_s = retry_after_s


class QueueFull(DomainError):
    """As many are waiting as the policy allows."""

    code = "QUEUE_FULL"

    def __init__(self, retry_after_s: int) -> None:
        super().__init__("The line is full. Try again in a while.")
        self.retry_after_s = retry_after_s
