"""API: no status, no error, no shape but those of api.md."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from tests.histories.checker.violation import Violation
from tests.histories.record import Call, History

STATUSES: Final[Mapping[int, str]] = {
    400: "BAD_REQUEST",
    401: "TOKEN_MISSING TOKEN_INVALID TOKEN_EXPIRED TOKEN_ENDED ADMIN_KEY_REQUIRED",
    402: "INSUFFICIENT_BALANCE",
    403: "TOKEN_NOT_ACTIVE TOKEN_MISMATCH",
    404: "USER_NOT_FOUND CONCERT_NOT_FOUND PERFORMANCE_NOT_FOUND SEAT_NOT_FOUND RESERVATION_NOT_FOUND"
    " PAYMENT_NOT_FOUND STREAM_NOT_FOUND AUDIT_NOT_FOUND NOT_FOUND",
    405: "METHOD_NOT_ALLOWED",
    409: "SEAT_ALREADY_HELD SEAT_ALREADY_SOLD SEAT_LIMIT_EXCEEDED RESERVATION_ALREADY_OPEN HOLD_EXPIRED"
    " RESERVATION_NOT_OPEN SALES_NOT_OPEN PERFORMANCE_STARTED AMOUNT_MISMATCH BALANCE_LIMIT_EXCEEDED"
    " CHARGE_NOT_ALLOWED_WHILE_HOLDING REFUND_NOT_ALLOWED CONCERT_ALREADY_EXISTS PERFORMANCE_ALREADY_EXISTS",
    413: "BODY_TOO_LARGE",
    422: "VALIDATION_FAILED AMOUNT_OUT_OF_RANGE PERFORMANCE_AMBIGUOUS IDEMPOTENCY_KEY_REUSED",
    429: "RATE_LIMITED",
    503: "QUEUE_FULL OVERLOADED TRY_AGAIN STORE_UNAVAILABLE READ_MODEL_BEHIND",
}
"""All but 500, which no history may show."""

MEMBERS: Final[Mapping[str, tuple[str, ...]]] = {
    "INSUFFICIENT_BALANCE": ("balance", "amount", "payment_id"),
    "TOKEN_NOT_ACTIVE": ("place",),
    "SEAT_NOT_FOUND": ("seat_numbers",),
    "SEAT_ALREADY_HELD": ("seat_numbers",),
    "SEAT_ALREADY_SOLD": ("seat_numbers",),
    "RESERVATION_ALREADY_OPEN": ("reservation_id",),
    "AMOUNT_MISMATCH": ("amount",),
    "VALIDATION_FAILED": ("errors",),
    "PERFORMANCE_AMBIGUOUS": ("start_times",),
    "STORE_UNAVAILABLE": ("outcome",),
}

TOKEN = (
    "token token_id user_id concert_code queue_number status place ahead eta_seconds sales sold_out"
    " poll_after_ms issued_at expires_at"
)
CONCERT = (
    "code title description category venue time_zone sales sales_open_at sales_close_at first_date last_date"
)
RESERVATION = (
    "reservation_id user_id concert_code date start_time seat_numbers amount status hold_expires_at"
    " payment_id created_at cancelled_at"
)
PAYMENT = (
    "payment_id reservation_id user_id concert_code concert_title date start_time seat_numbers amount status"
    " balance paid_at refunded_at"
)
POLICY = (
    "max_active admit_per_interval admit_interval_s admit_up_to_seats_left max_waiting active_ttl_s"
    " hold_ttl_s max_seats_per_user abandon_waiting_after_s abandon_active_after_s abandon_after_disconnect_s"
    " on_insufficient_balance charge_while_holding sales_open_at sales_close_at refund_until_s"
)

ANSWERS: Final[Mapping[str, Mapping[int, str]]] = {
    "announce": {201: "code title description category venue time_zone policy"},
    "change policy": {200: POLICY},
    "charge": {201: "user_id amount balance"},
    "close": {200: "code sales queue"},
    "concert": {200: CONCERT},
    "concerts": {200: "items next"},
    "dates": {200: "concert_code title dates"},
    "entries": {200: "items next"},
    "join": {200: TOKEN, 201: TOKEN},
    "leave": {204: ""},
    "open": {200: "code sales queue"},
    "pause": {200: "code sales queue"},
    "pay": {201: PAYMENT},
    "payment": {200: PAYMENT},
    "payments": {200: "items next"},
    "poll": {200: TOKEN},
    "refund": {200: PAYMENT},
    "register": {200: "user_id name balance", 201: "user_id name balance"},
    "release": {204: ""},
    "reservation": {200: RESERVATION},
    "reservations": {200: "items next"},
    "reserve": {201: RESERVATION},
    "resume": {200: "code sales queue"},
    "schedule": {201: "concert_code date start_time end_time starts_at seats"},
    "seats": {200: "concert_code date start_time seats", 304: ""},
    "stats": {200: "waiting active completed expired cancelled head issued seats revenue"},
    "wallet": {200: "user_id balance"},
}
"""The good answers of each call, and the fields of their bodies."""

LISTED: Final[Mapping[str, tuple[str, str]]] = {
    "concerts": ("items", CONCERT),
    "dates": (
        "dates",
        "date start_time end_time seats_total seats_available seats_held seats_sold min_price max_price",
    ),
    "entries": ("items", "position type amount balance payment_id recorded_at"),
    "payments": ("items", PAYMENT),
    "reservations": ("items", RESERVATION),
    "seats": ("seats", "seat_number type price status held_until"),
}

ALLOWED: Final[Mapping[str, Mapping[str, str]]] = {
    "status": {
        "join": "WAITING ACTIVE",
        "pay": "COMPLETED",
        "payment": "COMPLETED FAILED REFUNDED",
        "payments": "COMPLETED FAILED REFUNDED",
        "poll": "WAITING ACTIVE COMPLETED EXPIRED CANCELLED",
        "refund": "REFUNDED",
        "reservation": "OPEN CONFIRMED EXPIRED CANCELLED",
        "reservations": "OPEN CONFIRMED EXPIRED CANCELLED",
        "reserve": "OPEN",
        "seats": "AVAILABLE HELD SOLD",
    },
    "sales": {
        "concert": "OPEN CLOSED",
        "concerts": "OPEN CLOSED",
        "join": "OPEN CLOSED",
        "poll": "OPEN CLOSED",
    },
    "type": {"entries": "CHARGED DEBITED REFUNDED"},
}
"""The words that a field may have, by call."""

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
COUNTS = frozenset({"amount", "balance", "price", "queue_number", "poll_after_ms", "position", "revenue"})


def violations(history: History) -> Iterator[Violation]:
    """Look at each answer by itself."""
    for call in history.calls:
        if call.status is not None:
            for what in _of_refusal(call) if call.status >= 400 else _of_answer(call):
                yield Violation("API", what, [call])


def _of_refusal(call: Call) -> Iterator[str]:
    if call.error is None or call.content_type != "application/problem+json":
        yield f"a {call.status} without a problem document"
        return
    view = call.view
    if call.error not in STATUSES.get(call.status or 0, "").split():
        yield f"{call.error} is no {call.status} that is documented"
    for member in ("type", "title", "status", "detail", "instance", *MEMBERS.get(call.error, ())):
        if member not in view:
            yield f"{call.error} without {member}"
    may_be_repeated = call.status == 503 and (view.get("outcome") != "UNKNOWN" or call.key is not None)
    if (may_be_repeated or call.error in {"TOKEN_NOT_ACTIVE", "RATE_LIMITED"}) and call.retry_after is None:
        yield f"{call.error} without Retry-After"


def _of_answer(call: Call) -> Iterator[str]:
    fields = ANSWERS[call.kind].get(call.status or 0)
    if fields is None:
        yield f"{call.status} is no answer to {call.kind}"
    elif not fields:
        if call.answer:
            yield "a body where there is none"
    elif not isinstance(call.view, dict) or set(call.view) != set(fields.split()):
        yield f"the body has other fields than {fields}"
    else:
        yield from _of_view(call, call.view)
        listed, item_fields = LISTED.get(call.kind, ("", ""))
        for item in call.view[listed] if listed else ():
            if set(item) != set(item_fields.split()):
                yield f"an item has other fields than {item_fields}"
            else:
                yield from _of_view(call, item)
    if call.position is None and (call.method != "GET" or call.kind in {"poll", "seats", "wallet"}):
        yield "an answer without Log-Position"


def _of_view(call: Call, view: Mapping[str, Any]) -> Iterator[str]:
    for field, value in view.items():
        allowed = ALLOWED.get(field, {}).get(call.kind)
        if (
            (allowed is not None and value not in allowed.split())
            or (field.endswith("_at") and value is not None and not TIME.fullmatch(value))
            or (field.endswith("_id") and value is not None and not UUID.fullmatch(value))
            or (field in COUNTS and value is not None and (type(value) is not int or value < 0))
        ):
            yield f"{field} is {value!r}"
