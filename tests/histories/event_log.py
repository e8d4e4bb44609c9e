"""The history against the event log: what was answered is in it exactly once, and nothing else is.

Pure, but for `read`: the events of a log are compared with the answers, fact by fact.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, LiteralString, NamedTuple

import msgspec
import psycopg

from tests.histories.checker.operations import Operation, operations_of
from tests.histories.checker.violation import Violation
from tests.histories.record import History

EVENTS: LiteralString = """
    SELECT notification_id, topic, state
    FROM ticketing.ticketing_events
    ORDER BY notification_id
"""

ASKED_BY = {
    "payment.completed": "pay",
    "payment.failed": "pay",
    "payment.refunded": "refund",
    "reservation.cancelled": "release",
    "reservation.opened": "reserve",
    "token.cancelled": "leave",
    "token.issued": "join",
    "wallet.charged": "charge",
    "wallet.opened": "register",
}
"""What nobody but a client has recorded, and by which command."""

REASONS = {"reservation.cancelled": "released", "token.cancelled": "left"}
"""The reason where the client asked for just that."""

Fact = tuple[Any, ...]


class Event(NamedTuple):
    """An event, as it is stored."""

    position: int
    stream: str
    topic: str
    recorded_at: str
    payload: dict[str, Any]


class _Stored(msgspec.Struct):
    stream: str
    recorded_at: str
    payload: dict[str, Any]


def read(dsn: str) -> list[Event]:
    """Read a whole log."""
    with psycopg.connect(dsn) as connection, connection.cursor(name="log", binary=True) as cursor:
        return [_event(*row) for row in cursor.execute(EVENTS)]


def _event(position: int, topic: str, state: bytes) -> Event:
    stored = msgspec.json.decode(state, type=_Stored)
    return Event(position, stored.stream, topic, stored.recorded_at, stored.payload)


def compare(history: History, events: Iterable[Event]) -> list[Violation]:
    """Return every answer without its event, and every event without its command."""
    operations = operations_of(history)
    recorded: defaultdict[Fact, list[int]] = defaultdict(list)
    for fact, position in _recorded(events):
        recorded[fact].append(position)
    answered: defaultdict[Fact, list[Operation]] = defaultdict(list)
    for operation in operations:
        for fact in _answered(operation):
            answered[fact].append(operation)
    return [*_missing(answered, recorded), *_surplus(answered, recorded, operations)]


def _missing(answered: dict[Fact, list[Operation]], recorded: dict[Fact, list[int]]) -> Iterator[Violation]:
    for fact, told in answered.items():
        calls = [operation.call for operation in told]
        positions = recorded.get(fact, [])
        if len(positions) < len(told):
            yield Violation(
                "A1", f"answered {len(told)} times, recorded {len(positions)} times: {fact}", calls
            )
        elif min(positions) > max(operation.position for operation in told):
            yield Violation("A1", f"recorded after the position of its answer: {fact}", calls)


def _surplus(
    answered: dict[Fact, list[Operation]], recorded: dict[Fact, list[int]], operations: Sequence[Operation]
) -> Iterator[Violation]:
    unknown = Counter(
        (operation.kind, operation.call.user_id) for operation in operations if not operation.is_known
    )
    for fact, positions in recorded.items():
        surplus = len(positions) - len(answered.get(fact, []))
        by = ASKED_BY[fact[0]], fact[1]
        unknown[by] -= max(0, surplus)
        if unknown[by] < 0:
            yield Violation("A1", f"recorded at {positions}, and nobody asked for it: {fact}")
            unknown[by] = 0


def _recorded(events: Iterable[Event]) -> Iterator[tuple[Fact, int]]:
    """The facts of a log: topic, user, and what an answer tells of it."""
    balances: Counter[str] = Counter()
    users: dict[str, str] = {}
    for position, stream, topic, recorded_at, payload in events:
        kind, _, name = stream.partition("/")
        user_id = payload.get("user_id") or users.get(name) or name.rpartition("/")[2]
        users[name] = user_id
        if topic in {"wallet.charged", "wallet.refunded"}:
            balances[name] += payload["amount"]
        elif topic == "wallet.debited":
            balances[name] -= payload["amount"]
        if topic not in ASKED_BY or payload.get("reason") != REASONS.get(topic, payload.get("reason")):
            continue
        told: Fact = ()
        if topic == "wallet.charged":
            told = payload["amount"], balances[name]
        elif topic == "payment.failed":
            told = name, payload["balance"], payload["amount"]
        elif kind != "wallet" and topic != "token.cancelled":
            told = _told(payload.get("token_id", name) if topic == "token.issued" else name, payload)
            told += (recorded_at,) if topic != "reservation.cancelled" else ()
        yield (topic, user_id, *told), position


def _told(name: str, payload: dict[str, Any]) -> Fact:
    """The fields of an event that answers tell, too."""
    fields = ("code", "date", "start_time", "seat_numbers", "amount", "balance", "until", "queue_number")
    return (name, *(str(payload[field]) for field in fields if field in payload))


def _answered(operation: Operation) -> Iterator[Fact]:
    """The facts of an answer."""
    user_id, view = operation.call.user_id, operation.view
    if operation.kind == "pay" and operation.error == "INSUFFICIENT_BALANCE":
        yield "payment.failed", user_id, view["payment_id"], view["balance"], view["amount"]
    if not operation.is_done or (operation.call.status == 200 and operation.kind != "refund"):
        return
    match operation.kind:
        case "register":
            yield "wallet.opened", user_id
        case "charge":
            yield "wallet.charged", user_id, view["amount"], view["balance"]
        case "join":
            told = (view["concert_code"], str(view["queue_number"]))
            yield "token.issued", user_id, view["token_id"], *told, view["issued_at"]
        case "reserve":
            told = _of_seats(view, str(view["amount"]), view["hold_expires_at"])
            yield "reservation.opened", user_id, view["reservation_id"], *told, view["created_at"]
        case "pay":
            told = _of_seats(view, str(view["amount"]), str(view["balance"]))
            yield "payment.completed", user_id, view["payment_id"], *told, view["paid_at"]
        case "refund":
            told = (str(view["amount"]), str(view["balance"]))
            yield "payment.refunded", user_id, view["payment_id"], *told, view["refunded_at"]
        case "release":
            yield "reservation.cancelled", user_id, operation.call.path.rpartition("/")[2]
        case "leave":
            yield "token.cancelled", user_id
        case _:
            pass


def _of_seats(view: dict[str, Any], *more: str) -> Fact:
    return view["concert_code"], view["date"], view["start_time"], str(view["seat_numbers"]), *more
