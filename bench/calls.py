"""The calls that buyers make in a benchmark, prepared, and the places that they are about."""

import datetime as dt
from typing import Final
from uuid import UUID

import msgspec

from bench.client import request

STADIUM_SEATS: Final = 5_000
"""Of each performance where seats are reserved and paid by thousands."""

HALL_SEATS: Final = 50
"""Of each performance that is looked at, raced for and visited: what a performance has by default."""

HALL_DAYS: Final = 10
"""Performances of a concert in the hall."""

PRICE: Final = 1_000
"""Of each seat, in won."""

CHARGE: Final = 100_000
"""Enough for whatever a buyer is going to buy, in won."""

FIRST_DAY: Final = dt.date(2099, 1, 1)

PAY: Final = b"{}"
"""The token's open reservation."""

PAYMENTS: Final = "/api/v1/payments"


class Buyer(msgspec.Struct, frozen=True):
    """A user who holds a place in line: what of a TOKEN is needed to go on."""

    user_id: str
    token: str
    status: str
    queue_number: int = 0


def buyer(body: bytes) -> Buyer:
    """Read the answer of one who joined."""
    return _decode_buyer(body)


def buyers(bodies: list[bytes]) -> list[Buyer]:
    """Read the answers of those who joined."""
    return [buyer(body) for body in bodies]


def user(number: int) -> str:
    """The id of a user."""
    return str(UUID(int=number))


def register(user_id: str) -> bytes:
    """Open a wallet."""
    return request("POST", "/api/v1/users", _named(user_id))


def charge(user_id: str, amount: int = CHARGE) -> bytes:
    """Charge it."""
    return request("POST", f"/api/v1/users/{user_id}/wallet/charges", b'{"amount":%d}' % amount)


def join(code: str, user_id: str) -> bytes:
    """Stand in line."""
    return request("POST", f"{concert(code)}/token", _named(user_id))


def pay(token: str) -> bytes:
    """Pay what is reserved."""
    return request("POST", PAYMENTS, PAY, token)


def reserve(code: str, day: int, seat: int, token: str) -> bytes:
    """Go for a seat, counted from 0."""
    wanted = b'{"date":"%s","seat_numbers":[%d]}' % (date(day).encode(), seat + 1)
    return request("POST", f"{concert(code)}/reservations", wanted, token)


def read(path: str, token: str, etag: str | None = None) -> bytes:
    """Look at something."""
    return request("GET", path, bearer=token, etag=etag)


def concert(code: str) -> str:
    """The path of a concert, below which the rest is."""
    return f"/api/v1/concerts/{code}"


def seat_map(code: str, day: int) -> str:
    """The path of a seat map."""
    return f"{concert(code)}/seats?date={date(day)}"


def date(day: int) -> str:
    """The date of a performance, by its number."""
    return (FIRST_DAY + dt.timedelta(days=day)).isoformat()


_decode_buyer = msgspec.json.Decoder(Buyer).decode


def _named(user_id: str) -> bytes:
    return b'{"user_id":"%s"}' % user_id.encode()
