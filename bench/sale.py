"""A sale at one contestant, measured call by call: every request is one that a real buyer would send."""

import itertools
import math
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from email.message import Message
from typing import Any, Final, NamedTuple

import msgspec

from bench import calls, visits
from bench.calls import HALL_DAYS, HALL_SEATS, PRICE, STADIUM_SEATS, Buyer
from bench.client import run, run_flows
from bench.measured import WARM_SHARE, Like, Measured, measured
from bench.races import RACES, Races
from bench.service import ADMIN_KEY

READERS: Final = 2_000
"""As many tokens take turns in reading."""

LET_IN_WITHIN_S: Final = 120

POLICY: Final[Mapping[str, Any]] = {
    "max_active": None,
    "admit_up_to_seats_left": False,
    "active_ttl_s": 3_600,
    "hold_ttl_s": 3_600,
    "abandon_waiting_after_s": None,
}
"""Nobody is held up at the gate, and nothing runs out while it is measured."""


class Crowd(NamedTuple):
    """How many take part, so that each measurement can go on for its time."""

    users: int
    buyers: int
    """Of the users; they reserve and pay."""
    visitors: int
    """Of the users; they go the whole way."""


class Sale:
    """One round, on concerts of its own."""

    def __init__(self, port: int, crowd: Crowd, number: int, *, connections: int, seconds: float) -> None:
        """`number` counts the rounds from 1."""
        self._port = port
        self._crowd = crowd
        self._number = number
        self._connections = connections
        self._seconds = seconds
        self._line = f"LINE-{number}"
        self._stadium = f"STADIUM-{number}"
        self._hall = f"HALL-{number}"
        self._users = [calls.user(place + 1) for place in range(crowd.users)]
        self._waiting: list[Buyer] = []
        self._buyers: list[Buyer] = []
        self._racers: list[Buyer] = []
        self._reserved = 0
        self.measures: Mapping[str, Callable[[], Measured]] = {
            "register": self._register,
            "charge": self._charge,
            "issue_token": self._issue_token,
            "poll_waiting": self._poll_waiting,
            "dates": self._look_at_dates,
            "seat_map_200": self._look_at_seats,
            "seat_map_304": self._look_at_seats_again,
            "lose_race": self._race,
            "reserve": self._reserve,
            "pay": self._pay,
            "whole_visit": self._visit,
        }
        """By the operation's name; `bench.operations` has them in the order in which a sale goes."""

    def prepare(self) -> None:
        """Put the round's concerts on sale, and let in those who are to reserve, to look and to race."""
        if self._number == 1:
            self._send([calls.register(user) for user in self._users])
            self._send([calls.charge(user) for user in self._users])
        self._announce(self._line, 1, HALL_SEATS, max_active=1)
        self._announce(self._stadium, -(-self._crowd.buyers // STADIUM_SEATS), STADIUM_SEATS)
        self._announce(self._hall, HALL_DAYS, HALL_SEATS)
        for tour in range(-(-self._crowd.visitors // visits.CONCERT_SEATS)):
            self._announce(self._tour(tour), HALL_DAYS, HALL_SEATS)
        self._buyers = self._join(self._stadium, self._crowd.buyers)
        self._racers = self._join(self._hall, RACES * self._connections)
        for code in (self._stadium, self._hall):
            self._wait_until_let_in(code)

    def _tour(self, tour: int) -> str:
        return f"TOUR-{self._number}-{tour}"

    def _announce(self, code: str, days: int, seats: int, **policy: Any) -> None:
        concert = {"code": code, "title": "Bench", "category": "CONCERT", "venue": "Hall"}
        self._admin("POST", "concerts", {**concert, "policy": {**POLICY, **policy}})
        plan = [{"first": 1, "last": seats, "type": "STANDARD", "price": PRICE}]
        for day in range(days):
            performance = {"date": calls.date(day), "start_time": "19:00", "seats": plan}
            self._admin("POST", f"concerts/{code}/performances", performance)
        self._admin("POST", f"concerts/{code}/sales/open")

    def _join(self, code: str, count: int) -> list[Buyer]:
        return calls.buyers(self._send([calls.join(code, user) for user in self._users[:count]]))

    def _wait_until_let_in(self, code: str) -> None:
        deadline = time.monotonic() + LET_IN_WITHIN_S
        while self._admin("GET", f"concerts/{code}/stats")["waiting"] > 0:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{code}: the gate did not let everyone in")
            time.sleep(0.05)

    def _register(self) -> Measured:
        first = self._number * 1_000_000
        return self._post([calls.register(calls.user(first + place)) for place in range(len(self._users))])

    def _charge(self) -> Measured:
        return self._post([calls.charge(user) for user in self._users])

    def _issue_token(self) -> Measured:
        issued = self._post([calls.join(self._line, user) for user in self._users], keep_bodies=True)
        self._waiting = calls.buyers(issued.result.bodies)[1:]
        return issued

    def _poll_waiting(self) -> Measured:
        if not self._waiting:
            self._issue_token()
        return self._read(f"{calls.concert(self._line)}/token", self._waiting)

    def _look_at_dates(self) -> Measured:
        return self._read(f"{calls.concert(self._hall)}/dates", self._racers)

    def _look_at_seats(self) -> Measured:
        return self._read(calls.seat_map(self._hall, 0), self._racers)

    def _look_at_seats_again(self) -> Measured:
        path = calls.seat_map(self._hall, 0)
        etag = self._ask("GET", path, self._racers[0].token)[0]["etag"]
        return self._read(path, self._racers, expected=304, etag=etag)

    def _race(self) -> Measured:
        races = Races(self._hall, self._racers, self._connections)
        flows = [races.run(client) for client in range(self._connections)]
        result = run_flows(self._port, flows, seconds=math.inf)
        races.check()
        asked = races.request(0, self._racers[0], 0)
        return Measured(result, [Like("POST", asked, 409, result.body_bytes_mean)])

    def _reserve(self) -> Measured:
        asked = [
            calls.reserve(self._stadium, *divmod(place, STADIUM_SEATS), buyer.token)
            for place, buyer in enumerate(self._buyers)
        ]
        reserved = self._post(asked)
        self._reserved = reserved.result.statuses.total()
        return reserved

    def _pay(self) -> Measured:
        if not self._reserved:
            self._reserve()
        return self._post([calls.pay(buyer.token) for buyer in self._buyers[: self._reserved]])

    def _visit(self) -> Measured:
        seconds = max(self._seconds, visits.SECONDS_MIN)
        warm_s = seconds * visits.WARM_SHARE
        coming = visits.Visits(self._tour, self._users[: self._crowd.visitors], warm_s)
        flows = [coming.follow() for _ in range(self._connections)]
        result = run_flows(self._port, flows, seconds=seconds, warm_s=warm_s)
        return Measured(result, coming.likes(), coming.remark())

    def _post(self, asked: Sequence[bytes], *, keep_bodies: bool = False) -> Measured:
        """Measure until these requests or the time run out."""
        result = run(
            self._port,
            iter(asked),
            connections=self._connections,
            seconds=self._seconds,
            keep_bodies=keep_bodies,
            warm_s=self._seconds * WARM_SHARE,
        )
        return measured(result, asked[0], 201)

    def _read(
        self, path: str, readers: Sequence[Buyer], *, expected: int = 200, etag: str | None = None
    ) -> Measured:
        """Measure what these readers ask for in turns, again and again."""
        asked = [calls.read(path, reader.token, etag) for reader in readers[:READERS]]
        result = run(
            self._port,
            itertools.cycle(asked),
            connections=self._connections,
            seconds=self._seconds,
            warm_s=self._seconds * WARM_SHARE,
        )
        return measured(result, asked[0], expected)

    def _send(self, asked: Sequence[bytes]) -> list[bytes]:
        """Send all of these, unmeasured, and return the answers' bodies."""
        result = run(
            self._port, iter(asked), connections=self._connections, seconds=math.inf, keep_bodies=True
        )
        return measured(result, asked[0], 201).result.bodies

    def _admin(self, method: str, path: str, body: Any = None) -> Any:
        sent = None if body is None else msgspec.json.encode(body)
        return msgspec.json.decode(self._ask(method, f"/api/v1/admin/{path}", ADMIN_KEY, sent)[1])

    def _ask(self, method: str, path: str, bearer: str, body: bytes | None = None) -> tuple[Message, bytes]:
        """Make one call, unmeasured, and return the answer's headers and body."""
        headers = {"authorization": f"Bearer {bearer}", "content-type": "application/json"}
        url = f"http://127.0.0.1:{self._port}{path}"
        asked = urllib.request.Request(url, body, headers, method=method)
        with urllib.request.urlopen(asked, timeout=10) as answer:  # noqa: S310 (ours)
            return answer.headers, answer.read()
