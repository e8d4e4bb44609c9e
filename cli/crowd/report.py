"""What a rush comes to: who got seats, who did not and why, how fast it went, what the audit found."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from uuid import UUID

import msgspec

from cli.crowd.calls import Measured
from cli.crowd.visit import End, Visit


class Latencies(msgspec.Struct, frozen=True):
    """Of many durations, in milliseconds."""

    count: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float


class CallReport(msgspec.Struct, frozen=True):
    """One kind of call: how long its answers took, and how often it was refused with which code."""

    call: str
    latencies: Latencies
    statuses: Mapping[int, int]
    refusals: Mapping[str, int]


class BuyerReport(msgspec.Struct, frozen=True):
    """One buyer."""

    user_id: UUID
    queue_number: int | None
    end: str
    reason: str
    in_line_s: float | None
    """From coming to the queue until told the place in line."""
    waited_s: float | None
    """From coming to the queue until let in."""
    seconds: float
    """From coming to the queue until the end."""
    races_lost: int
    payment_id: UUID | None
    performance: str | None
    seat_numbers: Sequence[int]
    amount: int


class RushReport(msgspec.Struct, frozen=True):
    """The whole rush."""

    concert: str
    url: str
    arrival: str
    interrupted: bool
    """Whether everyone was sent home before it was over."""
    buyers: int
    seconds: float
    """From the first arrival to the last end; registering and charging went before."""
    requests: int
    requests_per_s: float
    """During all of it, with registering and charging."""
    ends: Mapping[str, int]
    reasons: Mapping[str, int]
    """Why buyers without seats went home, where there is more to say than how."""
    seats_bought: int
    won_paid: int
    races_lost: int
    in_line_after: Latencies | None
    """From coming to the queue until told the place in line."""
    waited: Latencies | None
    """From coming to the queue until let in, of all who were."""
    bought_after: Latencies | None
    """From coming to the queue until paid."""
    sold_out_after: Latencies | None
    """From coming to the queue until told that all is sold."""
    waited_for_a_socket: Latencies | None
    """In the crowd's own process; it is not part of the calls' latencies."""
    calls: Sequence[CallReport]
    unexpected: Mapping[str, int]
    """What the API's contract does not tell a buyer to expect."""
    position: int
    """The latest log position that the buyers were told."""
    contradictions: Sequence[str]
    """Rules that the answers themselves show to be broken."""
    audit: Any
    """The service's report on its log; null where none was asked for."""
    visits: Sequence[BuyerReport]


def report(
    *,
    concert: str,
    url: str,
    arrival: str,
    interrupted: bool,
    visits: Sequence[Visit],
    measured: Measured,
    seconds: float,
    seconds_in_all: float,
) -> RushReport:
    """Sum up a rush; the audit comes later."""
    payments = [visit.payment for visit in visits if visit.payment is not None]
    return RushReport(
        concert=concert,
        url=url,
        arrival=arrival,
        interrupted=interrupted,
        buyers=len(visits),
        seconds=round(seconds, 3),
        requests=measured.count,
        requests_per_s=round(measured.count / max(seconds_in_all, 0.001), 1),
        ends=_counted(visit.end.value for visit in visits),
        reasons=_counted(visit.reason for visit in visits if visit.reason),
        seats_bought=sum(len(payment.seat_numbers) for payment in payments),
        won_paid=sum(payment.amount for payment in payments),
        races_lost=sum(visit.races_lost for visit in visits),
        in_line_after=latencies([visit.in_line_s for visit in visits if visit.in_line_s is not None]),
        waited=latencies([visit.waited_s for visit in visits if visit.waited_s is not None]),
        bought_after=latencies([visit.seconds for visit in visits if visit.end is End.BOUGHT]),
        sold_out_after=latencies([visit.seconds for visit in visits if visit.end is End.SOLD_OUT]),
        waited_for_a_socket=latencies(measured.seconds_for_a_socket),
        calls=list(_calls(measured)),
        unexpected=dict(measured.unexpected.most_common()),
        position=measured.position,
        contradictions=list(contradictions(visits)),
        audit=None,
        visits=[_buyer(visit) for visit in visits],
    )


def latencies(seconds: Sequence[float]) -> Latencies | None:
    """Return percentiles by nearest rank, None of nothing."""
    if not seconds:
        return None
    ordered = sorted(seconds)

    def rank(percent: int) -> float:
        return round(ordered[math.ceil(percent / 100 * len(ordered)) - 1] * 1_000, 2)

    return Latencies(len(ordered), rank(50), rank(95), rank(99), rank(100))


def contradictions(visits: Sequence[Visit]) -> Iterator[str]:
    """Find what the buyers' own answers show to be wrong, whatever the log says."""
    owners: defaultdict[tuple[str, int], list[UUID]] = defaultdict(list)
    numbers: defaultdict[int, list[UUID]] = defaultdict(list)
    for visit in visits:
        if visit.queue_number is not None:
            numbers[visit.queue_number].append(visit.user_id)
        if visit.payment is None:
            continue
        if visit.payment.amount != visit.amount_seen:
            yield (
                f"P1: payment {visit.payment.payment_id} took {visit.payment.amount} won "
                f"for seats that cost {visit.amount_seen}"
            )
        for seat_number in visit.payment.seat_numbers:
            owners[f"{visit.payment.date}T{visit.payment.start_time}", seat_number].append(visit.user_id)
    for (performance, seat_number), users in owners.items():
        if len(users) > 1:
            yield f"S1: seat {seat_number} of {performance} was sold to {_listed(users)}"
    for number, users in numbers.items():
        if len(users) > 1:
            yield f"Q1: queue number {number} was given to {_listed(users)}"


def _listed(users: Sequence[UUID]) -> str:
    return " and ".join(map(str, users))


def _counted(words: Iterator[str]) -> dict[str, int]:
    return dict(Counter(words).most_common())


def _calls(measured: Measured) -> Iterator[CallReport]:
    for call, seconds in measured.seconds.items():
        summed = latencies(seconds)
        if summed is not None:
            yield CallReport(
                call,
                summed,
                dict(sorted(measured.statuses[call].items())),
                dict(measured.refusals[call].most_common()),
            )


def _buyer(visit: Visit) -> BuyerReport:
    payment = visit.payment
    return BuyerReport(
        user_id=visit.user_id,
        queue_number=visit.queue_number,
        end=visit.end,
        reason=visit.reason,
        in_line_s=None if visit.in_line_s is None else round(visit.in_line_s, 3),
        waited_s=None if visit.waited_s is None else round(visit.waited_s, 3),
        seconds=round(visit.seconds, 3),
        races_lost=visit.races_lost,
        payment_id=None if payment is None else payment.payment_id,
        performance=None if payment is None else f"{payment.date}T{payment.start_time}",
        seat_numbers=[] if payment is None else payment.seat_numbers,
        amount=0 if payment is None else payment.amount,
    )
