"""Histories written by hand: what was asked, between when, and what was answered.

    story = Story()
    story.reserve("ann", [1], at=(1, 2))
    story.pay("ann", at=(3, 4))
    assert check(story.history) == []

Seconds are those of the recording, and of the database's clock. Each answer has a Log-Position after the one
before; a call `at=(1, None)` was never answered. Any field of an answer can be told otherwise.
"""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import NAMESPACE_OID, uuid5

import msgspec

from tests.histories.record import Call, History

CODE, DATE, START_TIME = "EVENING", "2096-04-01", "19:00"
PRICE = 10_000
HOLD_S = 60.0
SEATS = 3

At = tuple[float, float | None]


def moment(second: float) -> str:
    """A time of the database's clock."""
    at = datetime(2096, 1, 1, tzinfo=UTC) + timedelta(seconds=second)
    return at.isoformat().replace("+00:00", "Z")


def an_id(name: str) -> str:
    """The id of whoever, or whatever, has this name."""
    return str(uuid5(NAMESPACE_OID, name))


class Story:
    """Calls, as they are told one by one."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self._position = 100

    @property
    def history(self) -> History:
        """What has been told."""
        return History.of(self.calls)

    def tell(
        self,
        kind: str,
        who: str,
        method: str,
        path: str,
        at: At,
        *,
        status: int,
        view: Any = None,
        error: str | None = None,
        position: int | None = None,
        **fields: Any,
    ) -> Call:
        """Add one call; without a position it gets the next one."""
        sent, answered = at
        self._position = self._position + 1 if position is None else position
        if error is not None:
            view = problem(error, status, path, view or {})
        call = Call(
            client=who,
            kind=kind,
            sent=sent,
            method=method,
            path=path,
            **{"code": None if kind == "refund" else CODE, "user_id": an_id(who), **fields},
        )
        if answered is not None:
            content_type = "application/problem+json" if error else "application/json"
            answer = "" if view is None else msgspec.json.encode(view).decode()
            call = msgspec.structs.replace(
                call,
                answered=answered,
                status=status,
                answer=answer,
                content_type=content_type,
                position=self._position,
                retry_after="1" if error in {"TOKEN_NOT_ACTIVE", "STORE_UNAVAILABLE"} else None,
            )
        self.calls.append(call)
        return call

    def register(self, who: str, at: At, **fields: Any) -> Call:
        view = {"user_id": an_id(who), "name": None, "balance": 0}
        return self.tell("register", who, "POST", "/api/v1/users", at, status=201, view=view, **fields)

    def announce(self, at: At, **policy: Any) -> Call:
        body = {"code": CODE, "title": "Evening", "category": "CONCERT", "venue": "Hall", "policy": policy}
        view = {**body, "description": "", "time_zone": "Asia/Seoul"}
        path = "/api/v1/admin/concerts"
        return self.tell("announce", "operator", "POST", path, at, status=201, body=body, view=view)

    def switch(self, kind: str, at: At) -> Call:
        """Open or close the sale."""
        path = f"/api/v1/admin/concerts/{CODE}/sales/{kind}"
        view = {"code": CODE, "sales": "OPEN" if kind == "open" else "CLOSED", "queue": None}
        return self.tell(kind, "operator", "POST", path, at, status=200, view=view)

    def schedule(self, at: At, *, starts_at: float) -> Call:
        view: Any = {
            "concert_code": CODE,
            "date": DATE,
            "start_time": START_TIME,
            "end_time": None,
            "starts_at": moment(starts_at),
            "seats": [],
        }
        path = f"/api/v1/admin/concerts/{CODE}/performances"
        return self.tell("schedule", "operator", "POST", path, at, status=201, view=view)

    def join(
        self, who: str, number: int, at: At, *, status: int = 201, state: str = "WAITING", **fields: Any
    ) -> Call:
        view = token_view(who, number, state, at)
        path, body = f"/api/v1/concerts/{CODE}/token", {"user_id": an_id(who)}
        return self.tell("join", who, "POST", path, at, status=status, body=body, view=view, **fields)

    def poll(self, who: str, number: int, state: str, at: At, *, until: float = 1e6, **fields: Any) -> Call:
        view = {**token_view(who, number, state, (0, 0)), "expires_at": None}
        if state == "ACTIVE":
            view["expires_at"] = moment(until)
        path = f"/api/v1/concerts/{CODE}/token"
        token_id = an_id(f"token {who}")
        return self.tell("poll", who, "GET", path, at, status=200, view=view, token_id=token_id, **fields)

    def reserve(
        self,
        who: str,
        seats: list[int],
        at: At,
        *,
        error: str | None = None,
        blocked: list[int] | None = None,
        until: float | None = None,
        decided: float | None = None,
        name: str | None = None,
        **fields: Any,
    ) -> Call:
        view: Any = {"seat_numbers": blocked} if error is not None and blocked is not None else None
        if error is None:
            view = reservation_view(name or who, who, seats, at, until, decided)
        return self.tell(
            "reserve",
            who,
            "POST",
            f"/api/v1/concerts/{CODE}/reservations",
            at,
            status=201 if error is None else 409,
            error=error,
            view=view,
            body={"date": DATE, "start_time": START_TIME, "seat_numbers": seats},
            token_id=an_id(f"token {who}"),
            **fields,
        )

    def release(self, who: str, at: At, *, error: str | None = None, **fields: Any) -> Call:
        path, status = f"/api/v1/reservations/{an_id(f'reservation {who}')}", 204 if error is None else 409
        token_id = an_id(f"token {who}")
        return self.tell(
            "release", who, "DELETE", path, at, status=status, error=error, token_id=token_id, **fields
        )

    def leave(self, who: str, at: At, **fields: Any) -> Call:
        path, token_id = f"/api/v1/concerts/{CODE}/token", an_id(f"token {who}")
        return self.tell("leave", who, "DELETE", path, at, status=204, token_id=token_id, **fields)

    def pay(
        self,
        who: str,
        seats: list[int],
        at: At,
        *,
        balance: int = 0,
        error: str | None = None,
        decided: float | None = None,
        **fields: Any,
    ) -> Call:
        view: Any = payment_view(who, seats, at, balance, decided)
        if error == "INSUFFICIENT_BALANCE":
            view = {"balance": balance, "amount": PRICE * len(seats), "payment_id": an_id(f"failed {who}")}
        status = {None: 201, "INSUFFICIENT_BALANCE": 402}.get(error, 409)
        return self.tell(
            "pay",
            who,
            "POST",
            "/api/v1/payments",
            at,
            status=status,
            error=error,
            view=view,
            **{
                "token_id": an_id(f"token {who}"),
                "body": {"reservation_id": an_id(f"reservation {who}")},
                **fields,
            },
        )

    def refund(self, who: str, seats: list[int], at: At, *, balance: int = PRICE, **fields: Any) -> Call:
        view = {**payment_view(who, seats, (0, 0), balance, None), "status": "REFUNDED"}
        view["refunded_at"] = moment(middle(at))
        path = f"/api/v1/payments/{an_id(f'payment {who}')}/refund"
        body = {"user_id": an_id(who)}
        return self.tell("refund", who, "POST", path, at, status=200, body=body, view=view, **fields)

    def charge(self, who: str, amount: int, at: At, *, balance: int, **fields: Any) -> Call:
        path = f"/api/v1/users/{an_id(who)}/wallet/charges"
        view = {"user_id": an_id(who), "amount": amount, "balance": balance}
        asked = {"body": {"amount": amount}, **fields}
        return self.tell("charge", who, "POST", path, at, status=201, view=view, **asked)

    def wallet(self, who: str, balance: int, at: At, **fields: Any) -> Call:
        view = {"user_id": an_id(who), "balance": balance}
        path = f"/api/v1/users/{an_id(who)}/wallet"
        return self.tell("wallet", who, "GET", path, at, status=200, view=view, **fields)

    def entries(self, who: str, *entries: tuple[int, str, int, int], at: At, **fields: Any) -> Call:
        """Each entry is its position, type, amount and balance."""
        items = [
            {
                "position": position,
                "type": kind,
                "amount": amount,
                "balance": balance,
                "payment_id": None if kind == "CHARGED" else an_id(f"payment {who}"),
                "recorded_at": moment(0),
            }
            for position, kind, amount, balance in entries
        ]
        path, view = f"/api/v1/users/{an_id(who)}/wallet/entries", {"items": items, "next": None}
        return self.tell("entries", who, "GET", path, at, status=200, view=view, **fields)

    def seats(self, at: At, *statuses: str, held_until: float | None = None, **fields: Any) -> Call:
        """A map, seat by seat; those that are held are held until then."""
        view = {
            "concert_code": CODE,
            "date": DATE,
            "start_time": START_TIME,
            "seats": [
                {
                    "seat_number": number,
                    "type": "STANDARD",
                    "price": PRICE,
                    "status": status,
                    "held_until": moment(held_until) if status == "HELD" and held_until else None,
                }
                for number, status in enumerate(statuses, 1)
            ],
        }
        path = f"/api/v1/concerts/{CODE}/seats?date={DATE}"
        call = self.tell("seats", "poller", "GET", path, at, status=200, view=view, **fields)
        self.calls[-1] = msgspec.structs.replace(call, etag=str(hash(call.answer)))
        return self.calls[-1]

    def dates(self, at: At, available: int, held: int, sold: int, **fields: Any) -> Call:
        date = {
            "date": DATE,
            "start_time": START_TIME,
            "end_time": None,
            "seats_total": SEATS,
            "seats_available": available,
            "seats_held": held,
            "seats_sold": sold,
            "min_price": PRICE,
            "max_price": PRICE,
        }
        view = {"concert_code": CODE, "title": "Evening", "dates": [date]}
        path = f"/api/v1/concerts/{CODE}/dates"
        return self.tell("dates", "poller", "GET", path, at, status=200, view=view, **fields)

    def reservation(self, who: str, of: Call, at: At, **told: Any) -> Call:
        path = f"/api/v1/reservations/{of.view['reservation_id']}"
        position = told.pop("position", None)
        view = {**of.view, **told}
        return self.tell("reservation", who, "GET", path, at, status=200, view=view, position=position)

    def payment(self, who: str, of: Call, at: At, **told: Any) -> Call:
        path = f"/api/v1/payments/{of.view['payment_id']}"
        position = told.pop("position", None)
        view = {**of.view, **told}
        return self.tell("payment", who, "GET", path, at, status=200, view=view, position=position)


def middle(at: At) -> float:
    """When it was decided, if nothing else is said."""
    return at[0] if at[1] is None else (at[0] + at[1]) / 2


def problem(error: str, status: int, path: str, members: dict[str, Any]) -> dict[str, Any]:
    """A refusal's body."""
    return {
        "type": f"urn:ticketing:error:{error}",
        "title": error,
        "status": status,
        "detail": error,
        "instance": path,
        "code": error,
        **members,
    }


def token_view(who: str, number: int, state: str, at: At) -> dict[str, Any]:
    return {
        "token": "signed",
        "token_id": an_id(f"token {who}"),
        "user_id": an_id(who),
        "concert_code": CODE,
        "queue_number": number,
        "status": state,
        "place": None,
        "ahead": None,
        "eta_seconds": None,
        "sales": "OPEN",
        "sold_out": False,
        "poll_after_ms": 1_000,
        "issued_at": moment(middle(at)),
        "expires_at": None,
    }


def reservation_view(
    name: str, who: str, seats: list[int], at: At, until: float | None, decided: float | None
) -> dict[str, Any]:
    decided = middle(at) if decided is None else decided
    return {
        "reservation_id": an_id(f"reservation {name}"),
        "user_id": an_id(who),
        "concert_code": CODE,
        "date": DATE,
        "start_time": START_TIME,
        "seat_numbers": seats,
        "amount": PRICE * len(seats),
        "status": "OPEN",
        "hold_expires_at": moment(decided + HOLD_S if until is None else until),
        "payment_id": None,
        "created_at": moment(decided),
        "cancelled_at": None,
    }


def payment_view(who: str, seats: list[int], at: At, balance: int, decided: float | None) -> dict[str, Any]:
    return {
        "payment_id": an_id(f"payment {who}"),
        "reservation_id": an_id(f"reservation {who}"),
        "user_id": an_id(who),
        "concert_code": CODE,
        "concert_title": "Evening",
        "date": DATE,
        "start_time": START_TIME,
        "seat_numbers": seats,
        "amount": PRICE * len(seats),
        "status": "COMPLETED",
        "balance": balance,
        "paid_at": moment(middle(at) if decided is None else decided),
        "refunded_at": None,
    }
