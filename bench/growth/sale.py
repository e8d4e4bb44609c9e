"""A sale over HTTP, call by call, for measurements that need one in a certain state."""

import itertools
import time
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final
from uuid import UUID

import msgspec

from aggregates.ids import ConcertCode, UserId
from bench import calls
from bench.calls import PRICE, Buyer
from bench.client import request, run
from bench.service import ADMIN_KEY

WITHIN_S = 120.0
LOOK_EVERY_S = 0.05

START_TIME: Final = "19:00"

ALL_WAIT: Mapping[str, Any] = {
    "max_active": 1,
    "max_waiting": 10_000_000,
    "active_ttl_s": 86_400,
    "abandon_waiting_after_s": None,
}
"""One is in, whoever comes later waits, and nobody is given up while others are measured."""

OPEN_GATE: Mapping[str, Any] = {
    **ALL_WAIT,
    "max_active": None,
    "admit_up_to_seats_left": False,
    "hold_ttl_s": 86_400,
}
"""Whoever comes is let in."""


class Sale:
    """One concert of a running service."""

    def __init__(self, port: int, code: str, policy: Mapping[str, Any], *, connections: int = 128) -> None:
        """Announce it, and open its sale."""
        self.port = port
        self.code = ConcertCode(code)
        self.connections = connections
        self._path = calls.concert(code)
        self._seen = "0"
        concert = {"code": code, "title": "Growth", "category": "CONCERT", "venue": "Hall", "policy": policy}
        self.admin("POST", "concerts", concert)
        self.admin("POST", f"concerts/{code}/sales/open")

    def schedule(self, day: int, seats: int) -> None:
        """Schedule a performance."""
        plan = [{"first": 1, "last": seats, "type": "STANDARD", "price": PRICE}]
        performance = {"date": calls.date(day), "start_time": START_TIME, "seats": plan}
        self.admin("POST", f"concerts/{self.code}/performances", performance)

    def change_policy(self, policy: Mapping[str, Any]) -> None:
        """Set some of it anew."""
        self.admin("PATCH", f"concerts/{self.code}/policy", policy)

    def until(self, reached: Callable[[Mapping[str, int]], bool]) -> None:
        """Wait until the concert's statistics are so. Raises TimeoutError."""
        deadline = time.monotonic() + WITHIN_S
        while not reached(self.admin("GET", f"concerts/{self.code}/stats")):
            if time.monotonic() > deadline:
                raise TimeoutError("waited in vain for the line")
            time.sleep(LOOK_EVERY_S)

    def join(self, users: Iterable[UserId]) -> Sequence[Buyer]:
        """Have the users join, or tell again what place they have."""
        joined = run(
            self.port,
            self.joins(users),
            connections=min(self.connections, 32),
            seconds=WITHIN_S,
            keep_bodies=True,
        )
        return calls.buyers(joined.bodies)

    def joins(self, users: Iterable[UserId]) -> Iterator[bytes]:
        """Ask for a token for each."""
        for user_id in users:
            yield calls.join(self.code, str(user_id))

    def polls(self, buyers: Sequence[Buyer]) -> Iterator[bytes]:
        """Ask for the places of these, again and again."""
        return self._reads("token", buyers)

    def dates(self, buyers: Sequence[Buyer]) -> Iterator[bytes]:
        """Look at the performances, again and again."""
        return self._reads("dates", buyers)

    def seat_maps(self, buyers: Sequence[Buyer], day: int) -> Iterator[bytes]:
        """Look at a seat map, again and again."""
        return self._reads(f"seats?date={calls.date(day)}", buyers)

    def seat_maps_known(self, buyers: Sequence[Buyer], day: int) -> Iterator[bytes]:
        """Ask again and again whether a seat map is still as it was."""
        path = calls.seat_map(self.code, day)
        asked = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}", headers={"authorization": f"Bearer {buyers[0].token}"}
        )
        with urllib.request.urlopen(asked) as answer:  # noqa: S310 (our own address)
            etag = answer.headers["etag"]
        return itertools.cycle([calls.read(path, one.token, etag) for one in buyers])

    def reservations(self, buyers: Iterable[Buyer], day: int, seats: int) -> Iterator[bytes]:
        """Reserve a seat for each: the first of that day's performance, and of those that follow it."""
        for place, one in enumerate(buyers):
            yield self.reservation(one, day + place // seats, place % seats + 1)

    def reservation(self, one: Buyer, day: int, seat: int) -> bytes:
        """Reserve one seat."""
        return calls.reserve(self.code, day, seat - 1, one.token)

    def lost_races(self, buyers: Sequence[Buyer], day: int, taken: int) -> Iterator[bytes]:
        """Try to reserve a seat that somebody holds, of the first that are taken, again and again."""
        prepared = [self.reservation(one, day, 1 + place % taken) for place, one in enumerate(buyers[:2_000])]
        return itertools.cycle(prepared)

    def leave(self, one: Buyer) -> bytes:
        """Leave the line, or the sale."""
        return request("DELETE", f"{self._path}/token", bearer=one.token)

    def _reads(self, what: str, buyers: Sequence[Buyer]) -> Iterator[bytes]:
        return itertools.cycle([calls.read(f"{self._path}/{what}", one.token) for one in buyers])

    def admin(self, method: str, path: str, body: Any = None) -> Any:
        """Make one of the calls for administrators; it sees what those before it did."""
        sent = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/api/v1/admin/{path}",
            method=method,
            data=None if body is None else msgspec.json.encode(body),
            headers={"authorization": f"Bearer {ADMIN_KEY}", "min-log-position": self._seen},
        )
        with urllib.request.urlopen(sent) as answer:  # noqa: S310 (our own address)
            self._seen = answer.headers["log-position"]
            return msgspec.json.decode(answer.read())


def user(number: int) -> UserId:
    """The user of that number, the same each time."""
    return UserId(UUID(int=number))


def users(first: int, count: int) -> Sequence[UserId]:
    """So many users."""
    return [user(number) for number in range(first, first + count)]


def registrations(them: Iterable[UserId]) -> Iterator[bytes]:
    """Register each."""
    return (calls.register(str(user_id)) for user_id in them)


def charges(them: Iterable[UserId], amount: int = 1) -> Iterator[bytes]:
    """Charge the wallet of each."""
    return (calls.charge(str(user_id), amount) for user_id in them)


def payments(buyers: Iterable[Buyer]) -> Iterator[bytes]:
    """Have each pay for what it reserved."""
    return (calls.pay(one.token) for one in buyers)
