"""What the product's speed is held against does the same job: `bench.plain` gives the same answers."""

import json
import re
import urllib.request
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple
from urllib.error import HTTPError
from uuid import UUID

import pytest

from bench.service import ADMIN_KEY, plain, service
from tests.cli.running_service import wait_until

SALE: Final = "/concerts/SALE"
STRICT: Final = "/concerts/STRICT"
SEATS: Final = f"{SALE}/seats?date=2096-04-01"
ANN, BEN, EVA, GIL, NOBODY = (str(UUID(int=number)) for number in range(1, 6))
ADMIN: Final = "the admin"

OWN: Final = {"token", "token_id", "reservation_id", "payment_id"}
"""Members that each service makes up for itself."""

ESTIMATED: Final = "eta_seconds"
"""The plain service estimates nothing."""

MOMENT: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")

ALIKE: Final = ("retry-after", "content-type")
"""Headers."""


class Answer(NamedTuple):
    """What a service said, but for ids and times."""

    call: str
    status: int
    headers: Mapping[str, str | None]
    body: Any


class Client:
    """A service, as several buyers and the admin reach it, who read what they have written."""

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}/api/v1"
        self._bearers = {ADMIN: ADMIN_KEY}
        self._position = 0
        self._etag = ""

    def ask(self, call: str, body: Any = None, *, by: str = "", known: bool = False) -> Answer:
        """Make a call for the one who bears a token; `known` is to have seen the last seat map."""
        method, _, path = call.partition(" ")
        headers = {"Min-Log-Position": str(self._position), "If-None-Match": self._etag if known else ""}
        headers["Content-Type"] = "application/json"
        if by:
            headers["Authorization"] = f"Bearer {self._bearers.get(by, by)}"
        sent = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._url + path, sent, headers, method=method)  # noqa: S310 (ours)
        try:
            response: Any = urllib.request.urlopen(request, timeout=10)  # noqa: S310 (our own address)
        except HTTPError as refused:
            response = refused
        with response:
            text = response.read()
            self._position = max(self._position, int(response.headers.get("Log-Position") or 0))
            self._etag = response.headers.get("ETag") or self._etag
            said = json.loads(text) if text else None
            if isinstance(said, dict) and "token" in said:
                self._bearers[said["user_id"] + path.removesuffix("/token")] = said["token"]
            alike = {name: response.headers.get(name) for name in ALIKE}
            return Answer(call, response.status, alike, _alike(said))

    def wait_until_active(self, bearer: str) -> None:
        """Poll until let in."""
        concert = bearer[bearer.index("/") :]

        def is_active() -> bool:
            answer = self.ask(f"GET {concert}/token", by=bearer)
            return bool(answer.body["status"] == "ACTIVE")

        wait_until(is_active, f"{bearer} is active")


def _alike(said: Any) -> Any:
    """Leave out what two services cannot have in common."""
    if isinstance(said, list):
        return [_alike(item) for item in said]
    if isinstance(said, dict):
        if said.get("code") == "VALIDATION_FAILED":
            said = {**said, "detail": "", "errors": []}
        return {
            name: "its own" if name in OWN and value else _alike(value)
            for name, value in said.items()
            if name != ESTIMATED
        }
    return "a time" if isinstance(said, str) and MOMENT.fullmatch(said) else said


def story(client: Client) -> Iterator[Answer]:
    """A small sale, with nearly all that can go wrong in it."""
    ask = client.ask
    announce(client)
    yield from registering(client)
    yield ask(f"POST {SALE}/token", {"user_id": ANN})
    ask(f"POST /admin{SALE}/sales/open", by=ADMIN)
    yield from joining(client)
    yield from looking(client)
    yield from reserving(client)
    yield from paying(client)
    yield from losing(client)
    yield from charging_while_holding(client)


def announce(client: Client) -> None:
    """One concert that lets in one at a time, one that lets nobody charge who holds seats."""
    concert = {"title": "A concert", "category": "CONCERT", "venue": "Hall"}
    policies: Mapping[str, Any] = {"SALE": {"max_active": 1}, "STRICT": {"charge_while_holding": False}}
    for code, policy in policies.items():
        client.ask("POST /admin/concerts", {**concert, "code": code, "policy": policy}, by=ADMIN)
        for day in ("2096-04-01", "2096-04-02"):
            showing = {"date": day, "start_time": "19:00"}
            client.ask(f"POST /admin/concerts/{code}/performances", showing, by=ADMIN)


def registering(client: Client) -> Iterator[Answer]:
    """Users and wallets."""
    for user in (ANN, ANN, BEN, EVA, GIL):
        yield client.ask("POST /users", {"user_id": user})
    for amount in (0, 150_000, 10_000_001, "much"):
        yield client.ask(f"POST /users/{ANN}/wallet/charges", {"amount": amount})
    yield client.ask(f"POST /users/{NOBODY}/wallet/charges", {"amount": 1})


def joining(client: Client) -> Iterator[Answer]:
    """Ann comes first, and is let in; Gil loses patience, which brings Eva forward."""
    yield client.ask(f"POST {SALE}/token", {"user_id": NOBODY})
    yield client.ask("POST /concerts/NO-SUCH/token", {"user_id": ANN})
    yield client.ask(f"POST {SALE}/token", {"user_id": ANN})
    client.wait_until_active(ANN + SALE)
    for user in (ANN, BEN, GIL, EVA, BEN):
        yield client.ask(f"POST {SALE}/token", {"user_id": user})
    yield client.ask(f"DELETE {SALE}/token", by=GIL + SALE)
    for user in (ANN, BEN, GIL, EVA):
        yield client.ask(f"GET {SALE}/token", by=user + SALE)
    yield client.ask(f"GET {SALE}/token")


def looking(client: Client) -> Iterator[Answer]:
    """Dates and seats are for those who were let in."""
    for call in (f"GET {SALE}/dates", SEATS.join(("GET ", ""))):
        for bearer in ("", "rubbish", BEN + SALE, ANN + SALE):
            yield client.ask(call, by=bearer)
    yield client.ask(f"GET {SEATS}", by=ANN + SALE, known=True)
    yield client.ask(f"GET {SALE}/seats?date=2096-04-03", by=ANN + SALE)
    yield client.ask(f"GET {SALE}/seats", by=ANN + SALE)
    yield client.ask(f"GET {STRICT}/dates", by=ANN + SALE)


def wish(*seats: Any, day: str = "2096-04-01") -> Mapping[str, Any]:
    """Seats of a performance."""
    return {"date": day, "seat_numbers": seats}


def reserving(client: Client) -> Iterator[Answer]:
    """Ann takes two seats, once she asks for some that there are."""
    reserve = f"POST {SALE}/reservations"
    yield client.ask(reserve, wish(1))
    yield client.ask(reserve, wish(1), by=BEN + SALE)
    bad = (wish(), wish(1, 1), wish("x"), wish(51, -1), wish(1, day="2096-04-03"), wish(1, 2, 3, 4, 5))
    for wished in (*bad, wish(1, 2), wish(3)):
        yield client.ask(reserve, wished, by=ANN + SALE)
    yield client.ask(f"GET {SEATS}", by=ANN + SALE)
    yield client.ask(f"GET {SALE}/dates", by=ANN + SALE)


def paying(client: Client) -> Iterator[Answer]:
    """She has too little money, charges more, and is done; then it is Ben's turn."""
    yield client.ask("POST /payments", {"reservation_id": NOBODY}, by=ANN + SALE)
    yield client.ask("POST /payments", {"amount": 7}, by=ANN + SALE)
    yield client.ask("POST /payments", {}, by=BEN + SALE)
    yield client.ask("POST /payments", {}, by=ANN + SALE)
    yield client.ask(f"POST /users/{ANN}/wallet/charges", {"amount": 60_000})
    yield client.ask("POST /payments", {"amount": 200_000}, by=ANN + SALE)
    yield client.ask("POST /payments", {}, by=ANN + SALE)
    yield client.ask(f"GET {SALE}/token", by=ANN + SALE)
    yield client.ask(f"GET {SALE}/dates", by=ANN + SALE)
    client.wait_until_active(BEN + SALE)
    yield client.ask(f"GET {SEATS}", by=BEN + SALE)
    yield client.ask(f"POST {SALE}/token", {"user_id": ANN})


def losing(client: Client) -> Iterator[Answer]:
    """Seats that are sold or held are not to be had; what Ben gives up, Eva may take, but cannot pay."""
    reserve = f"POST {SALE}/reservations"
    yield client.ask("POST /payments", {}, by=BEN + SALE)
    yield client.ask(reserve, wish(3, 2), by=BEN + SALE)
    yield client.ask(reserve, wish(3), by=BEN + SALE)
    client.ask(f"PATCH /admin{SALE}/policy", {"max_active": None}, by=ADMIN)
    client.wait_until_active(EVA + SALE)
    yield client.ask(reserve, wish(4, 3), by=EVA + SALE)
    yield client.ask(reserve, wish(3, 1), by=EVA + SALE)
    yield client.ask(f"DELETE {SALE}/token", by=BEN + SALE)
    yield client.ask(f"DELETE {SALE}/token", by=BEN + SALE)
    yield client.ask(f"GET {SALE}/token", by=BEN + SALE)
    yield client.ask(reserve, wish(3, 4), by=EVA + SALE)
    for _ in range(6):
        yield client.ask("POST /payments", {}, by=EVA + SALE)


def charging_while_holding(client: Client) -> Iterator[Answer]:
    """Where the policy forbids it, a wallet is not charged before its reservation has ended."""
    client.ask(f"POST /admin{STRICT}/sales/open", by=ADMIN)
    charge = f"POST /users/{ANN}/wallet/charges"
    yield client.ask(charge, {"amount": 100_000})
    client.ask(f"POST {STRICT}/token", {"user_id": ANN})
    client.wait_until_active(ANN + STRICT)
    yield client.ask(f"POST {STRICT}/reservations", wish(1), by=ANN + STRICT)
    yield client.ask(charge, {"amount": 1})
    yield client.ask("POST /payments", {}, by=ANN + STRICT)
    yield client.ask(charge, {"amount": 1})
    client.ask(f"POST /admin{SALE}/sales/close", by=ADMIN)
    yield client.ask(f"POST {SALE}/token", {"user_id": BEN})


@pytest.mark.timeout(120)
def test_the_plain_service_answers_as_the_product_does(dsn: str) -> None:
    with service(dsn) as port, plain(dsn) as plain_port:
        answers, plain_answers = (list(story(Client(each))) for each in (port, plain_port))
    statuses = {answer.status for answer in answers}
    assert statuses == {200, 201, 204, 304, 401, 402, 403, 404, 409, 422, 429}
    for answer, plain_answer in zip(answers, plain_answers, strict=True):
        assert plain_answer == answer
