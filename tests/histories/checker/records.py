"""API: a reservation or payment that is read is the one that was answered, with all that became of it."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tests.histories.checker.clock import DatabaseClock, seconds
from tests.histories.checker.operations import Operation
from tests.histories.checker.violation import Violation
from tests.histories.record import Call, History

FIXED = ("user_id", "concert_code", "date", "start_time", "seat_numbers", "amount")

BOARD_LAG_S = 0.5
"""A deadline may seem to be so much later: a reader judges it by a copy of the database's clock."""


class _Told:
    """What the answers to commands said, by reservation and payment."""

    def __init__(self, operations: Sequence[Operation]) -> None:
        self.opened: dict[str, Operation] = {}
        self.paid: dict[str, Operation] = {}
        self.paid_for: dict[str, Operation] = {}
        self.refunds: defaultdict[str, list[Operation]] = defaultdict(list)
        self.endings: defaultdict[str, list[Operation]] = defaultdict(list)
        """What was asked that may have ended a reservation."""
        by_token: defaultdict[str | None, list[str]] = defaultdict(list)
        for operation in operations:
            if operation.kind == "reserve" and operation.is_done:
                self.opened[operation.view["reservation_id"]] = operation
                by_token[operation.call.token_id].append(operation.view["reservation_id"])
            elif operation.kind == "pay" and operation.is_done:
                self.paid[operation.view["payment_id"]] = operation
                self.paid_for[operation.view["reservation_id"]] = operation
        for operation in operations:
            if operation.kind == "refund" and (operation.is_done or not operation.is_known):
                self.refunds[operation.call.path.split("/")[-2]].append(operation)
            if operation.kind in {"leave", "release", "pay"}:
                for reservation_id in by_token[operation.call.token_id]:
                    self.endings[reservation_id].append(operation)


def violations(
    history: History, operations: Sequence[Operation], clock: DatabaseClock
) -> Iterator[Violation]:
    """Hold every reservation and payment that was read against what was answered."""
    told = _Told(operations)
    for call in history.calls:
        if call.status != 200:
            continue
        if call.kind in {"reservation", "reservations"}:
            for view in call.view["items"] if call.kind == "reservations" else [call.view]:
                for what in _of_reservation(call, view, told, clock):
                    yield Violation("API", what, [call])
        elif call.kind in {"payment", "payments"}:
            for view in call.view["items"] if call.kind == "payments" else [call.view]:
                for what in _of_payment(call, view, told):
                    yield Violation("API", what, [call])


def _of_reservation(call: Call, view: Any, told: _Told, clock: DatabaseClock) -> Iterator[str]:
    opened = told.opened.get(view["reservation_id"])
    if opened is None:
        return
    yield from _differences(view, opened.view, (*FIXED, "hold_expires_at", "created_at"))
    paid = told.paid_for.get(view["reservation_id"])
    reached, status = call.position or 0, view["status"]
    if paid is not None and paid.position <= reached:
        if view["payment_id"] != paid.view["payment_id"] or status not in {"CONFIRMED", "CANCELLED"}:
            yield f"a reservation that was paid is {status}"
        elif _is_refunded(call, view["payment_id"], told) is (status != "CANCELLED"):
            yield f"a reservation that was paid is {status}, whatever became of its payment"
        return
    endings = told.endings[view["reservation_id"]]
    if status == "OPEN":
        over = [ending for ending in endings if _has_ended(ending, view) and ending.position <= reached]
        if over or clock.latest(seconds(view["hold_expires_at"])) + BOARD_LAG_S < call.sent:
            yield "a reservation that is over is open"
    elif status == "CANCELLED" and not any(ending.sent < (call.answered or 0) for ending in endings):
        yield "a reservation is cancelled, but nobody asked for it"
    elif status == "EXPIRED" and clock.earliest(seconds(view["hold_expires_at"])) - BOARD_LAG_S > (
        call.answered or 0
    ):
        yield "a reservation expired before its deadline"


def _has_ended(ending: Operation, view: Mapping[str, Any]) -> bool:
    """Whether this certainly ended the reservation."""
    if ending.kind == "release":
        return ending.is_done and ending.call.path.endswith(view["reservation_id"])
    return ending.is_done and ending.kind == "leave"


def _of_payment(call: Call, view: Any, told: _Told) -> Iterator[str]:
    paid = told.paid.get(view["payment_id"])
    if paid is None:
        return
    yield from _differences(view, paid.view, (*FIXED, "reservation_id", "concert_title", "paid_at"))
    if view["status"] not in {"COMPLETED", "REFUNDED"}:
        yield f"a payment that was completed is {view['status']}"
    elif _is_refunded(call, view["payment_id"], told) is (view["status"] != "REFUNDED"):
        yield f"a payment is {view['status']}, whatever its refund was answered"


def _is_refunded(call: Call, payment_id: str, told: _Told) -> bool | None:
    """Whether this read must show the refund; None where it may."""
    refunds = told.refunds[payment_id]
    if any(refund.is_done and refund.position <= (call.position or 0) for refund in refunds):
        return True
    return None if any(refund.sent < (call.answered or 0) for refund in refunds) else False


def _differences(view: Mapping[str, Any], told: Mapping[str, Any], fields: Sequence[str]) -> Iterator[str]:
    for field in fields:
        if view[field] != told[field]:
            yield f"{field} is read as {view[field]}, and was {told[field]}"
