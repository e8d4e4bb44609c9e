"""A service that plays the answers it is given, to see what a buyer makes of them."""

from collections import defaultdict
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from aiohttp import web
from aiohttp.test_utils import TestServer

from cli.crowd.calls import Service
from cli.crowd.connections import Connections

CODE = "HALL"
DATE = "2031-05-01"
START_TIME = "19:00"
RESERVATION_ID = "5e3c0b1a-54cf-4f1a-8f2e-0d3f6f2f3a11"
PAYMENT_ID = "0d3f6f2f-54cf-4f1a-8f2e-5e3c0b1a3a11"


class Asked(NamedTuple):
    """One request, as it came in."""

    call: str
    headers: Mapping[str, str]
    body: Any


class Answer(NamedTuple):
    """One answer, as it goes out; with status 0 the connection is cut instead."""

    status: int
    body: Any = None
    headers: Mapping[str, str] = {}


def refusal(code: str, status: int = 409, retry_after: int | None = None, **members: Any) -> Answer:
    """A problem document."""
    headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
    return Answer(status, {"code": code, "detail": "…", **members}, headers)


def token(status: str = "ACTIVE", **changes: Any) -> Answer:
    """A token, which is worth polling again at once."""
    body = {
        "token": "signed",
        "queue_number": 1,
        "status": status,
        "sales": "OPEN",
        "sold_out": False,
        "poll_after_ms": 1,
    }
    return Answer(200, {**body, **changes})


CUT = Answer(0)

WAITING = token("WAITING")
SOLD_OUT = token("WAITING", sold_out=True)

NO_DATES = Answer(200, {"dates": []})

GOOD_ANSWERS: Mapping[str, Answer] = {
    "register": Answer(201, {}),
    "charge": Answer(201, {}, {"Log-Position": "7"}),
    "join": token("WAITING"),
    "poll": token(),
    "dates": Answer(200, {"dates": [{"date": DATE, "start_time": START_TIME, "seats_available": 3}]}),
    "seats": Answer(
        200,
        {
            "seats": [
                {"seat_number": 1, "price": 1_000, "status": "SOLD"},
                *({"seat_number": n, "price": 1_000, "status": "AVAILABLE"} for n in (2, 3, 4)),
            ]
        },
    ),
    "reserve": Answer(201, {"reservation_id": RESERVATION_ID, "amount": 1_000}),
    "pay": Answer(
        201,
        {
            "payment_id": PAYMENT_ID,
            "date": DATE,
            "start_time": START_TIME,
            "seat_numbers": [2],
            "amount": 1_000,
            "status": "COMPLETED",
        },
    ),
    "leave": Answer(204),
}

ROUTES = {
    ("POST", "/users"): "register",
    ("POST", "/users/{user_id}/wallet/charges"): "charge",
    ("POST", "/concerts/{code}/token"): "join",
    ("GET", "/concerts/{code}/token"): "poll",
    ("DELETE", "/concerts/{code}/token"): "leave",
    ("GET", "/concerts/{code}/dates"): "dates",
    ("GET", "/concerts/{code}/seats"): "seats",
    ("POST", "/concerts/{code}/reservations"): "reserve",
    ("POST", "/payments"): "pay",
}


class PlayedService:
    """Answers each call well, but first with the answers that are played for it, one after another."""

    def __init__(self, played: Mapping[str, list[Answer]]) -> None:
        self.asked: list[Asked] = []
        self._played = defaultdict(list, {call: list(answers) for call, answers in played.items()})

    @property
    def calls(self) -> list[str]:
        """The calls in the order in which they came."""
        return [asked.call for asked in self.asked]

    def asked_for(self, call: str) -> list[Asked]:
        """Every request for this call."""
        return [asked for asked in self.asked if asked.call == call]

    def app(self) -> web.Application:
        """Put it on the web."""
        app = web.Application()
        for (method, path), call in ROUTES.items():
            app.router.add_route(method, path, self._handler(call))
        return app

    def _handler(self, call: str) -> Any:
        async def answer(request: web.Request) -> web.StreamResponse:
            body = await request.json() if request.can_read_body else None
            self.asked.append(Asked(call, dict(request.headers), body))
            played = self._played[call].pop(0) if self._played[call] else GOOD_ANSWERS[call]
            if played.status == 0 and request.transport is not None:
                request.transport.close()
            if isinstance(played.body, bytes):
                return web.Response(status=played.status, body=played.body)
            if played.status == GOOD_ANSWERS["leave"].status:
                return web.Response(status=played.status)
            return web.json_response(played.body, status=played.status or 200, headers=dict(played.headers))

        return answer


@asynccontextmanager
async def playing(service: PlayedService) -> AsyncIterator[Service]:
    """Serve it, and reach it as a crowd does."""
    async with (
        TestServer(service.app()) as server,
        Connections(str(server.make_url("")).rstrip("/"), most=8) as connections,
    ):
        yield Service(connections)
