"""A small grammar for HTTP: given what people did so far, when someone asks, this is answered.

    sale = api.given_sale(max_active=1)
    ann, ben = sale.given_inside(), sale.given_waiting()
    ann.when_reserving(7).then(201, {"seat_numbers": [7], …})
    ben.when_reserving(7).then_refused("TOKEN_NOT_ACTIVE", place=1)

What is given is done over HTTP, too, but for letting in, which is the timer's. A buyer asks as a good client
does: with the signed token, and with the log position seen last, so that reads show what was done. Every
answer is held against the OpenAPI document (see `tests.api.contract`).
"""

import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import date, datetime
from http.client import HTTPConnection, HTTPResponse
from itertools import count
from typing import Any, Final, Self
from urllib.parse import urlencode
from uuid import UUID, uuid4

import msgspec

from aggregates.ids import ConcertCode, UserId
from api.problems import STATUS
from commands.let_in import LetIn, Suggestion
from tests.api import contract
from tests.api.contract import Answer
from tests.api.service import ADMIN_KEY, WITHIN_S, Service

SHOW_DAY: Final = "2096-04-01"
SHOW_TIME: Final = "19:30"
PRICE: Final = 100_000

ADMIN: Final = "/api/v1/admin"

ABSENT: Final = object()
"""No body at all."""

_codes = count(1)


class Like:
    """Equal to every text of one form."""

    def __init__(self, name: str, pattern: str) -> None:
        self._name = name
        self._pattern = re.compile(pattern)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, str) and self._pattern.fullmatch(other) is not None

    def __hash__(self) -> int:
        return hash(self._pattern)

    def __repr__(self) -> str:
        return self._name


A_UUID: Final = Like("a UUID", r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
A_TIME: Final = Like("a time in UTC", r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{6})?Z")
A_TOKEN: Final = Like("a signed token", r"[\w-]+\.[\w-]+\.[\w-]+")


class Then:
    """What was answered."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer

    @property
    def status(self) -> int:
        """The status."""
        return self.answer.status

    @property
    def json(self) -> Any:
        """The body, read."""
        return self.answer.json

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers, by their names in lower case."""
        return self.answer.headers

    @property
    def position(self) -> int:
        """The log position that it reflects."""
        return int(self.headers["log-position"])

    def then(self, status: int, body: Any = ABSENT, /, **members: Any) -> Self:
        """It was this status and exactly this body; or these members of it, where only they are named."""
        assert self.status == status, self.answer
        if body is not ABSENT:
            assert self.json == body
        assert {name: self.json[name] for name in members} == members
        return self

    def then_nothing(self, status: int = 204) -> Self:
        """It was done, and there is nothing to say."""
        assert (self.status, self.answer.content) == (status, b""), self.answer
        return self

    def then_refused(self, code: str, /, **members: Any) -> Self:
        """It was refused with this code and exactly these members."""
        assert self.status >= STATUS["BAD_REQUEST"], self.answer
        problem = {name: value for name, value in self.json.items() if name not in PROBLEM}
        assert (self.json["code"], problem) == (code, members), self.answer
        return self

    def same_as(self, other: "Then") -> Self:
        """I1: it was the same status, body and position."""
        for each in (self, other):
            assert each.position > 0
        assert self._what() == other._what()
        return self

    def _what(self) -> tuple[int, bytes, int]:
        return self.status, self.answer.content, self.position


PROBLEM: Final = ("type", "title", "status", "detail", "instance", "code")


class Api:
    """Whoever asks, without being anyone."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self._connections: dict[int, HTTPConnection] = {}
        self.answers: list[Answer] = []
        """All that were received."""
        self.meets_defects = False

    def close(self) -> None:
        """Close the connections."""
        for connection in self._connections.values():
            connection.close()

    def when(
        self,
        method: str,
        path: str,
        body: Any = ABSENT,
        *,
        token: str | None = None,
        key: str | None = None,
        since: int | None = None,
        headers: Mapping[str, str | bytes] | None = None,
        **query: Any,
    ) -> Then:
        """Ask for something; `since` is the log position that was seen."""
        sent: dict[str, str | bytes] = dict(headers or {})
        if token is not None:
            sent["authorization"] = f"Bearer {token}"
        if key is not None:
            sent["idempotency-key"] = key
        if since is not None:
            sent["min-log-position"] = str(since)
        target = f"{path}?{urlencode(query)}" if query else path
        content = None if body is ABSENT else body if isinstance(body, bytes) else msgspec.json.encode(body)
        connection = self._connection()
        connection.request(method, target, content, sent)
        return self.received(read_answer(connection.getresponse(), method, target))

    def _connection(self) -> HTTPConnection:
        """The connection of this thread; requests of others travel beside it."""
        connection = HTTPConnection(*self.service.address, timeout=WITHIN_S)
        return self._connections.setdefault(threading.get_ident(), connection)

    def received(self, answer: Answer) -> Then:
        """Hold an answer against the document; none is due to a defect of ours."""
        contract.check(answer)
        assert answer.status != STATUS["INTERNAL_ERROR"] or self.meets_defects, answer
        self.answers.append(answer)
        return Then(answer)

    def when_admin(self, method: str, path: str, body: Any = ABSENT, **more: Any) -> Then:
        """Ask as the operator."""
        return self.when(method, f"{ADMIN}{path}", body, token=ADMIN_KEY, **more)

    def given_user(self, *, balance: int = 0, name: str | None = None) -> str:
        """Register a user, and charge the wallet."""
        registered = self.when("POST", "/api/v1/users", {"name": name})
        user_id: str = registered.then(201).json["user_id"]
        if balance:
            self.when("POST", f"/api/v1/users/{user_id}/wallet/charges", {"amount": balance}).then(201)
        return user_id

    def given_concert(self, *, category: str = "CONCERT", **policy: Any) -> "Sale":
        """Announce a concert; nothing else."""
        sale = Sale(self, f"SALE-{next(_codes)}")
        announced = {
            "code": sale.code, "title": "An Evening", "description": "With songs.", "category": category,
            "venue": "The Hall", "policy": policy,
        }  # fmt: skip
        self.when_admin("POST", "/concerts", announced).then(201)
        return sale

    def given_sale(self, *, seats: int = 50, **policy: Any) -> "Sale":
        """Announce a concert with one performance, and open its sale."""
        sale = self.given_concert(**policy)
        sale.given_performance(seats=seats)
        sale.when_admin("POST", "/sales/open").then(200)
        return sale


class Sale:
    """One concert."""

    def __init__(self, api: Api, code: str) -> None:
        self.api = api
        self.code = code
        self._line: list[Buyer] = []

    @property
    def path(self) -> str:
        """Where buyers find it."""
        return f"/api/v1/concerts/{self.code}"

    def when(self, method: str, path: str, body: Any = ABSENT, **more: Any) -> Then:
        """Ask for something of this concert."""
        return self.api.when(method, f"{self.path}{path}", body, **more)

    def when_admin(self, method: str, path: str, body: Any = ABSENT, **more: Any) -> Then:
        """Do something with this concert as the operator."""
        return self.api.when_admin(method, f"/concerts/{self.code}{path}", body, **more)

    def given_performance(
        self, day: str | date = SHOW_DAY, start_time: str = SHOW_TIME, *, seats: int = 50, price: int = PRICE
    ) -> Then:
        """Schedule a performance of so many seats at one price."""
        plan = [{"first": 1, "last": seats, "type": "STANDARD", "price": price}]
        scheduled = {"date": str(day), "start_time": start_time, "seats": plan}
        return self.when_admin("POST", "/performances", scheduled).then(201)

    def given_waiting(self, *, balance: int = 0) -> "Buyer":
        """A user stands in line."""
        buyer = Buyer(self, self.api.given_user(balance=balance))
        buyer.when_joining().then(201)
        self._line.append(buyer)
        return buyer

    def given_inside(self, *, balance: int = 0) -> "Buyer":
        """A user stands in line, and is let in with everyone before."""
        buyer = self.given_waiting(balance=balance)
        self.let_in()
        return buyer

    def given_holding(self, *seat_numbers: int, balance: int = 0) -> "Buyer":
        """A user holds seats."""
        buyer = self.given_inside(balance=balance)
        buyer.when_reserving(*seat_numbers).then(201)
        return buyer

    def given_owner(self, *seat_numbers: int) -> "Buyer":
        """A user has bought seats."""
        buyer = self.given_holding(*seat_numbers, balance=PRICE * len(seat_numbers))
        buyer.when_paying().then(201)
        return buyer

    def let_in(self) -> None:
        """Let in whom there is room for, as the timer does."""
        suggestions = [
            Suggestion(buyer.queue_number, UserId(UUID(buyer.user_id)))
            for buyer in sorted(self._line, key=lambda buyer: buyer.queue_number)
        ]
        line = self.when_admin("GET", "/stats", since=max(buyer.seen for buyer in self._line)).json
        beyond = tuple(one for one in suggestions if one.queue_number > line["head"])
        answer = self.api.service.do(LetIn(ConcertCode(self.code), beyond))
        for buyer in self._line:
            buyer.seen = max(buyer.seen, answer.position)


class Buyer:
    """One user at one concert. Reads show what came of everything that this buyer did."""

    def __init__(self, sale: Sale, user_id: str) -> None:
        self.sale = sale
        self.user_id = user_id
        self.token = ""
        self.queue_number = 0
        self.reservation_id = ""
        self.payment_id = ""
        self.seen = 0

    def when(self, method: str, path: str, body: Any = ABSENT, **more: Any) -> Then:
        """Ask for something, showing the token."""
        since = self.seen if method == "GET" else None
        then = self.sale.api.when(method, path, body, **{"token": self.token, "since": since, **more})
        self.seen = max(self.seen, int(then.headers.get("log-position", 0)))
        return then

    def when_joining(self, **more: Any) -> Then:
        """Stand in line."""
        then = self.when("POST", f"{self.sale.path}/token", {"user_id": self.user_id}, token=None, **more)
        if then.status < STATUS["BAD_REQUEST"]:
            self.token, self.queue_number = then.json["token"], then.json["queue_number"]
        return then

    def when_asking(self, **more: Any) -> Then:
        """Ask for the place in line."""
        return self.when("GET", f"{self.sale.path}/token", **more)

    def when_leaving(self, **more: Any) -> Then:
        """Leave."""
        return self.when("DELETE", f"{self.sale.path}/token", **more)

    def when_listing_dates(self, **more: Any) -> Then:
        """Look at the dates."""
        return self.when("GET", f"{self.sale.path}/dates", **more)

    def when_looking_at_seats(self, day: str | date = SHOW_DAY, **more: Any) -> Then:
        """Look at the seats of a day."""
        return self.when("GET", f"{self.sale.path}/seats", date=day, **more)

    def when_reserving(
        self, *seat_numbers: int, day: str | date = SHOW_DAY, start_time: str | None = None, **more: Any
    ) -> Then:
        """Take seats."""
        wanted = {"date": str(day), "start_time": start_time, "seat_numbers": seat_numbers}
        then = self.when("POST", f"{self.sale.path}/reservations", wanted, **more)
        self.reservation_id = then.json.get("reservation_id", self.reservation_id)
        return then

    def when_looking_at_reservation(self, **more: Any) -> Then:
        """Look at the last reservation."""
        return self.when("GET", f"/api/v1/reservations/{self.reservation_id}", **more)

    def when_releasing(self, **more: Any) -> Then:
        """Give up the last reservation."""
        return self.when("DELETE", f"/api/v1/reservations/{self.reservation_id}", **more)

    def when_paying(self, body: Mapping[str, Any] | None = None, **more: Any) -> Then:
        """Pay what is open, or what the body says."""
        then = self.when("POST", "/api/v1/payments", body or {}, **more)
        self.payment_id = then.json.get("payment_id", self.payment_id)
        return then

    def when_looking_at_payment(self, **more: Any) -> Then:
        """Look at the last payment."""
        return self.when("GET", f"/api/v1/payments/{self.payment_id}", **more)

    def when_refunding(self, **more: Any) -> Then:
        """Give the last payment back."""
        body = {"user_id": self.user_id}
        return self.when("POST", f"/api/v1/payments/{self.payment_id}/refund", body, token=None, **more)

    def when_charging(self, amount: Any, **more: Any) -> Then:
        """Charge the wallet."""
        body = {"amount": amount}
        return self.when("POST", f"{self._path}/wallet/charges", body, **{"token": None, **more})

    def when_looking(self, what: str, **more: Any) -> Then:
        """Look at what is the user's own: `wallet`, `wallet/entries`, `payments`, `reservations`."""
        return self.when("GET", f"{self._path}/{what}", **{"token": None, **more})

    @property
    def _path(self) -> str:
        return f"/api/v1/users/{self.user_id}"


def read_answer(response: HTTPResponse, method: str, target: str) -> Answer:
    """Read an answer to its end."""
    headers = {name.lower(): value for name, value in response.getheaders()}
    return Answer(method, target, response.status, headers, response.read())


def until(ask: Callable[[], Then], condition: Callable[[Then], bool]) -> Then:
    """Ask until the answer is so."""
    deadline = time.monotonic() + WITHIN_S
    while not condition(then := ask()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)
    return then


def pages(ask: Callable[..., Then], limit: int) -> Iterator[Any]:
    """Go through a list, page by page."""
    after: Mapping[str, str] = {}
    while True:
        page = ask(limit=limit, **after).then(200).json
        assert len(page["items"]) <= limit
        yield from page["items"]
        if page["next"] is None:
            return
        assert len(page["items"]) == limit
        after = {"after": page["next"]}


def moment(text: str) -> datetime:
    """Read a time."""
    return datetime.fromisoformat(text)


def someone() -> str:
    """A user id that nobody has."""
    return str(uuid4())
