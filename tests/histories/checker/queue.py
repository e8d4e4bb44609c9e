"""Q1–Q4: numbers are dense and in the order of asking, and nobody passes one who still waits."""

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from tests.histories.checker.clock import DatabaseClock, seconds
from tests.histories.checker.operations import Operation
from tests.histories.checker.violation import Violation
from tests.histories.record import Call, History

ACTIVE_COMMANDS = frozenset({"reserve", "pay"})
"""Only an active token may do these (Q7)."""


class Seen(NamedTuple):
    """That a token waited, or had been let in, at some place of the log."""

    queue_number: int
    call: Call


def violations(
    history: History, operations: Sequence[Operation], clock: DatabaseClock
) -> Iterator[Violation]:
    """Look into each line."""
    joins: defaultdict[str, list[Operation]] = defaultdict(list)
    for operation in operations:
        if operation.kind == "join" and operation.call.code is not None:
            joins[operation.call.code].append(operation)
    numbers = _numbers(operations)
    waiting, active = _sightings(history, operations, numbers)
    for code, of_concert in joins.items():
        yield from _number_violations(code, of_concert)
        yield from _asking_violations(code, of_concert)
        yield from _turn_violations(code, waiting[code], active[code])
    yield from _crowding_violations(history, operations, clock)


def _numbers(operations: Iterable[Operation]) -> dict[str, int]:
    """The queue number of each token."""
    return {
        operation.view["token_id"]: operation.view["queue_number"]
        for operation in operations
        if operation.kind == "join" and operation.is_done
    }


def _number_violations(code: str, joins: Iterable[Operation]) -> Iterator[Violation]:
    """Q1: 1, 2, 3, … without gaps, each to one token; Q2: asked again, the same token has the same number."""
    told: dict[int, Operation] = {}
    unknown = 0
    for operation in joins:
        if not operation.is_known:
            unknown += 1
        elif operation.is_done:
            known = told.setdefault(operation.view["queue_number"], operation)
            if known.view["token_id"] != operation.view["token_id"]:
                yield Violation("Q1", f"two tokens of {code} with one number", [known.call, operation.call])
    missing = sorted(set(range(1, max(told, default=0) + 1)) - told.keys())
    if len(missing) > unknown:
        yield Violation("Q1", f"nobody has the numbers {missing} of {code}")


def _asking_violations(code: str, joins: Iterable[Operation]) -> Iterator[Violation]:
    """Q1: who was answered before another asked stands before them, in time and in the log alike."""
    issued = [operation for operation in joins if operation.is_done and operation.call.status == 201]
    ends = sorted(issued, key=lambda operation: operation.answered)
    highest, passed = None, 0
    for operation in sorted(issued, key=lambda operation: operation.sent):
        while passed < len(ends) and ends[passed].answered < operation.sent:
            if highest is None or _number(ends[passed]) > _number(highest):
                highest = ends[passed]
            passed += 1
        if highest is not None and _number(highest) > _number(operation):
            yield Violation("Q1", f"asked later, stands earlier in {code}", [highest.call, operation.call])
    in_log = sorted(issued, key=lambda operation: (operation.position, _number(operation)))
    for before, after in pairwise(in_log):
        if before.position < after.position and _number(before) > _number(after):
            yield Violation("Q1", f"numbers of {code} run against the log", [before.call, after.call])


def _number(operation: Operation) -> int:
    number: int = operation.view["queue_number"]
    return number


def _sightings(
    history: History, operations: Iterable[Operation], numbers: dict[str, int]
) -> tuple[defaultdict[str, list[Seen]], defaultdict[str, list[Seen]]]:
    """Who was seen to wait, and who to have been let in, by concert."""
    waiting, active = defaultdict[str, list[Seen]](list), defaultdict[str, list[Seen]](list)
    told = [call for call in history.calls if call.kind == "poll" and call.status == 200]
    told += [operation.call for operation in operations if operation.kind in {"join", *ACTIVE_COMMANDS}]
    for call in told:
        status = _status(call)
        if status in {"WAITING", "ACTIVE"} and call.code is not None:
            token_id = call.token_id or call.view["token_id"]
            if token_id in numbers:
                (waiting if status == "WAITING" else active)[call.code].append(Seen(numbers[token_id], call))
    return waiting, active


def _status(call: Call) -> str | None:
    """What an answer says of its token."""
    if call.kind in {"poll", "join"}:
        return call.view["status"] if call.status in {200, 201} else None
    if call.error == "TOKEN_NOT_ACTIVE":
        return "WAITING"
    return "ACTIVE" if call.status == 201 else None


def _turn_violations(code: str, waiting: Iterable[Seen], active: Iterable[Seen]) -> Iterator[Violation]:
    """Q3: who was let in by some position, while a lower number still waited at that position or later."""
    by_position = sorted(active, key=_position)
    highest, passed = None, 0
    for seen in sorted(waiting, key=_position):
        while passed < len(by_position) and _position(by_position[passed]) <= _position(seen):
            if highest is None or by_position[passed].queue_number > highest.queue_number:
                highest = by_position[passed]
            passed += 1
        if highest is not None and highest.queue_number > seen.queue_number:
            yield Violation("Q3", f"let in before a lower number of {code}", [highest.call, seen.call])
            return


def _position(seen: Seen) -> int:
    """Up to where the answer reflects the log. No batch of an API process lets anyone in, so ends do, too."""
    return seen.call.position or 0


def _crowding_violations(
    history: History, operations: Iterable[Operation], clock: DatabaseClock
) -> Iterator[Violation]:
    """Q4: never more active at once than any policy of the concert has allowed."""
    allowed = _most_allowed(operations)
    spans = _certainly_active(history, operations, clock)
    by_concert: defaultdict[str, list[tuple[float, int, Call]]] = defaultdict(list)
    for start, end, call in spans:
        if start < end and call.code is not None:
            by_concert[call.code] += [(start, 1, call), (end, -1, call)]
    for code, changes in by_concert.items():
        active: list[Call] = []
        for _, change, call in sorted(changes, key=lambda change: change[:2]):
            active.append(call) if change > 0 else active.remove(call)
            if len(active) > allowed.get(code, math.inf):
                yield Violation("Q4", f"{len(active)} active at once in {code}", active)
                break


def _most_allowed(operations: Iterable[Operation]) -> dict[str, float]:
    """The largest `max_active` that each concert ever had; of policies that may have been, too."""
    allowed: dict[str, float] = {}
    for operation in operations:
        policy = {"announce": "policy", "change policy": None}.get(operation.kind, "")
        body = operation.call.body or {}
        body = body.get(policy, {}) if policy else body
        if policy != "" and "max_active" in body and operation.error is None:
            most = math.inf if body["max_active"] is None else body["max_active"]
            code = str(operation.call.code)
            allowed[code] = max(allowed.get(code, 0), most)
    return allowed


def _certainly_active(
    history: History, operations: Iterable[Operation], clock: DatabaseClock
) -> list[tuple[float, float, Call]]:
    """From when it was first seen active until its deadline, or until anything was asked that may end it."""
    ended: dict[str, float] = {}
    for operation in operations:
        token_id = operation.call.token_id
        if operation.kind in {"leave", "pay"} and token_id is not None:
            ended[token_id] = min(operation.sent, ended.get(token_id, math.inf))
    spans: dict[str, tuple[float, float, Call]] = {}
    for call in history.calls:
        if call.kind == "poll" and call.token_id is not None and _status(call) == "ACTIVE":
            until = clock.earliest(seconds(call.view["expires_at"]))
            end = min(until, ended.get(call.token_id, math.inf))
            spans.setdefault(call.token_id, (call.answered or math.inf, end, call))
    return list(spans.values())
