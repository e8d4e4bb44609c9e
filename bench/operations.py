"""What is measured: the calls of a sale, each prepared by the ones before it.

Every user of the run registers, charges, joins, is let in, reserves one seat and pays for it. So each
operation finds what it needs, and every request is one that a real buyer would send.
"""

import itertools
import math
import time
import urllib.request
from collections.abc import Iterator
from typing import Any, NamedTuple
from uuid import UUID

import msgspec

from bench.client import Result, request, run
from bench.service import ADMIN_KEY

CODE = "BENCH"
SEATS = 5_000
"""Of each performance."""

CONCERT = f"/api/v1/concerts/{CODE}"
LET_IN_WITHIN_S = 120


class Measured(NamedTuple):
    """One row of the table."""

    operation: str
    method: str
    result: Result
    expected: int
    """The status that every answer should have."""


class Buyer(NamedTuple):
    """A simulated user who holds a place in line."""

    user_id: str
    token: str


class Sale:
    """A sale that is measured call by call."""

    def __init__(self, port: int, users: int, connections: int, seconds: float) -> None:
        self._port = port
        self._connections = connections
        self._seconds = seconds
        self._users = [str(UUID(int=number + 1)) for number in range(users)]
        self._buyers: list[Buyer] = []

    def operations(self) -> Iterator[Measured]:
        """Go through the sale, and yield each operation as it is measured."""
        self._announce()
        yield self._measure("register a user", "POST", 201, self._registrations(), to_the_last=True)
        yield self._measure("charge a wallet", "POST", 201, self._charges(), to_the_last=True)
        joined = self._measure("issue a token", "POST", 201, self._joins(), keep=True)
        yield joined
        tokens = [msgspec.json.decode(body) for body in joined.result.bodies]
        self._buyers = [Buyer(token["user_id"], token["token"]) for token in tokens]
        yield self._measure("poll a waiting token", "GET", 200, self._polls())
        self._let_in()
        yield self._measure("look at the dates", "GET", 200, self._reads(f"{CONCERT}/dates"))
        seats = f"{CONCERT}/seats?date={_date(0)}"
        yield self._measure("look at a seat map of 5,000", "GET", 200, self._reads(seats))
        yield self._measure("reserve a free seat", "POST", 201, self._reservations())
        yield self._measure("pay", "POST", 201, self._payments())

    def _measure(
        self,
        operation: str,
        method: str,
        expected: int,
        requests: Iterator[bytes],
        *,
        keep: bool = False,
        to_the_last: bool = False,
    ) -> Measured:
        """Measure until the time is up or, where later calls need every user, to the last request."""
        seconds = math.inf if to_the_last else self._seconds
        result = run(self._port, requests, connections=self._connections, seconds=seconds, keep_bodies=keep)
        return Measured(operation, method, result, expected)

    def _announce(self) -> None:
        policy = {
            "max_active": 1,
            "admit_up_to_seats_left": False,
            "active_ttl_s": 3_600,
            "hold_ttl_s": 3_600,
        }
        concert = {"code": CODE, "title": "Bench", "category": "CONCERT", "venue": "Hall", "policy": policy}
        self._admin("POST", "concerts", concert)
        plan = [{"first": 1, "last": SEATS, "type": "STANDARD", "price": 1_000}]
        for day in range(-(-len(self._users) // SEATS)):
            performance = {"date": _date(day), "start_time": "19:00", "seats": plan}
            self._admin("POST", f"concerts/{CODE}/performances", performance)
        self._admin("POST", f"concerts/{CODE}/sales/open")

    def _let_in(self) -> None:
        """Open the gate to everyone who has a token, and wait until they are through."""
        self._admin("PATCH", f"concerts/{CODE}/policy", {"max_active": None})
        deadline = time.monotonic() + LET_IN_WITHIN_S
        while self._admin("GET", f"concerts/{CODE}/stats")["waiting"] > 0:
            if time.monotonic() > deadline:
                raise TimeoutError("the gate did not let everyone in")
            time.sleep(0.1)

    def _registrations(self) -> Iterator[bytes]:
        for user_id in self._users:
            yield request("POST", "/api/v1/users", b'{"user_id":"%s"}' % user_id.encode())

    def _charges(self) -> Iterator[bytes]:
        for user_id in self._users:
            yield request("POST", f"/api/v1/users/{user_id}/wallet/charges", b'{"amount":100000}')

    def _joins(self) -> Iterator[bytes]:
        for user_id in self._users:
            yield request("POST", f"{CONCERT}/token", b'{"user_id":"%s"}' % user_id.encode())

    def _polls(self) -> Iterator[bytes]:
        return self._reads(f"{CONCERT}/token", skip=1)

    def _reads(self, path: str, skip: int = 0) -> Iterator[bytes]:
        prepared = [request("GET", path, bearer=buyer.token) for buyer in self._buyers[skip : skip + 2_000]]
        while True:
            yield from prepared

    def _reservations(self) -> Iterator[bytes]:
        for place, buyer in enumerate(self._buyers):
            day, seat = divmod(place, SEATS)
            body = msgspec.json.encode({"date": _date(day), "seat_numbers": [seat + 1]})
            yield request("POST", f"{CONCERT}/reservations", body, buyer.token)

    def _payments(self) -> Iterator[bytes]:
        for buyer in self._buyers:
            yield request("POST", "/api/v1/payments", b"{}", buyer.token)

    def _admin(self, method: str, path: str, body: Any = None) -> Any:
        sent = urllib.request.Request(
            f"http://127.0.0.1:{self._port}/api/v1/admin/{path}",
            method=method,
            data=None if body is None else msgspec.json.encode(body),
            headers={"authorization": f"Bearer {ADMIN_KEY}"},
        )
        with urllib.request.urlopen(sent) as answer:  # noqa: S310
            return msgspec.json.decode(answer.read())


def ceiling(port: int, connections: int, seconds: float) -> dict[str, Result]:
    """Measure the bare route, by method."""
    body = b'{"user_id":"00000000-0000-0000-0000-000000000001"}'

    def measure(prepared: bytes) -> Result:
        return run(port, itertools.repeat(prepared), connections=connections, seconds=seconds)

    return {
        "POST": measure(request("POST", "/constant", body)),
        "GET": measure(request("GET", "/constant")),
    }


def _date(day: int) -> str:
    return f"2099-{1 + day // 28:02}-{1 + day % 28:02}"
