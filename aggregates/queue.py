"""Queue: the waiting line of one concert, and the gate at its end.

The stream holds exact counts: numbers issued, the head, active tokens, seats not sold. Commands change them
one at a time ("issue one", "free one") on a `Draft`, and a whole batch of commands becomes at most one event
of each kind, in a fixed order. Within a batch, numbers issued, admissions and sales count at once; what makes
room (freed slots; returned, added or withdrawn seats) counts from the next batch on. So no limit is exceeded
for an instant, whatever the order of a batch's commands (rule Q4).
"""

from collections.abc import Collection, Mapping
from datetime import date, datetime, timedelta
from typing import ClassVar, Literal

import msgspec

from aggregates.errors import QueueFull, TokenNotActive
from aggregates.event import Event
from aggregates.ids import ConcertCode, PerformanceName, StartTime, performance_name
from aggregates.policy import Policy
from aggregates.stream import Aggregate, Stream, remembered
from aggregates.stream import stream as named_stream

INTERVAL_MAX = timedelta(hours=1)
"""The longest `admit_interval_s`: admissions older than this never matter again."""

CHUNK_LENGTH = 256
"""Admissions are kept in runs of this length, so that adding one copies a few hundred entries at most."""

POLL_AFTER_MS_MIN, POLL_AFTER_MS_MAX = 1_000, 200_000
POLLS_PER_SECOND_MAX = 5_000
"""What one line may ask of one API process, however many wait in it."""

POLL_AFTER_MS_PER_PLACE = 2
"""Those far back need not ask as often: 20 s at place 10,000."""


class QueueOpened(Event, frozen=True):
    topic: ClassVar[str] = "queue.opened"


class NumbersIssued(Event, frozen=True):
    topic: ClassVar[str] = "queue.numbers_issued"
    first: int
    last: int


class QueueAdvanced(Event, frozen=True):
    """The gate passed all numbers up to `head`, letting `activated` of them in."""

    topic: ClassVar[str] = "queue.advanced"
    head: int
    activated: int


class SeatsSold(Event, frozen=True):
    topic: ClassVar[str] = "queue.seats_sold"
    count: int
    by_performance: Mapping[PerformanceName, int] = {}


class SlotsFreed(Event, frozen=True):
    topic: ClassVar[str] = "queue.slots_freed"
    count: int


class SeatsReturned(Event, frozen=True):
    topic: ClassVar[str] = "queue.seats_returned"
    count: int
    by_performance: Mapping[PerformanceName, int] = {}


class SeatsAdded(Event, frozen=True):
    topic: ClassVar[str] = "queue.seats_added"
    count: int
    by_performance: Mapping[PerformanceName, int] = {}


class SeatsWithdrawn(Event, frozen=True):
    """A performance began; its `count` unsold seats are no longer for sale (rule L2)."""

    topic: ClassVar[str] = "queue.seats_withdrawn"
    date: date
    start_time: StartTime
    count: int


class QueuePaused(Event, frozen=True):
    topic: ClassVar[str] = "queue.paused"


class QueueResumed(Event, frozen=True):
    topic: ClassVar[str] = "queue.resumed"


QueueEvent = (
    QueueOpened
    | NumbersIssued
    | QueueAdvanced
    | SeatsSold
    | SlotsFreed
    | SeatsReturned
    | SeatsAdded
    | SeatsWithdrawn
    | QueuePaused
    | QueueResumed
)


class Admission(msgspec.Struct, frozen=True, array_like=True):
    """So many tokens were activated at one instant."""

    at: datetime
    count: int


class Queue(msgspec.Struct, frozen=True):
    """The line's exact counts, as its stream tells them."""

    opened: bool = False
    issued: int = 0
    """The last queue number issued."""
    head: int = 0
    """The highest number that the gate has passed."""
    active: int = 0
    """Tokens activated, less slots freed."""
    paused: bool = False
    unsold: Mapping[PerformanceName, int] = {}
    """Seats not sold of each performance that has not begun.

    Of one whose seats are sold in the very batch that adds them it is below zero between the two events.
    """
    begun: frozenset[PerformanceName] = frozenset()
    """The performances whose seats were withdrawn whole: selling or returning one then changes nothing."""
    recent: tuple[tuple[Admission, ...], ...] = ()
    """The admissions of the last hour, oldest first, in runs."""

    @property
    def waiting(self) -> int:
        """How many wait; those who left early count until the gate passes them."""
        return self.issued - self.head

    @property
    def seats_left(self) -> int:
        """Seats not sold, of all performances that have not begun."""
        return sum(self.unsold.values())


def evolve(queue: Queue, event: QueueEvent, at: datetime) -> Queue:
    """Return the queue after `event`, which was recorded `at`."""
    replace = msgspec.structs.replace
    match event:
        case QueueOpened():
            return replace(queue, opened=True)
        case NumbersIssued(last=last):
            return replace(queue, issued=last)
        case QueueAdvanced(head=head, activated=0):
            return replace(queue, head=head)
        case QueueAdvanced(head=head, activated=activated):
            recent = _remember(queue.recent, Admission(at, activated))
            return replace(queue, head=head, active=queue.active + activated, recent=recent)
        case SlotsFreed(count=count):
            return replace(queue, active=queue.active - count)
        case SeatsSold(by_performance=sold):
            return _with_unsold(queue, sold, -1)
        case SeatsReturned(by_performance=came) | SeatsAdded(by_performance=came):
            return _with_unsold(queue, came, +1)
        case SeatsWithdrawn(date=day, start_time=start_time):
            begun = performance_name(day, start_time)
            unsold = {name: count for name, count in queue.unsold.items() if name != begun}
            return replace(queue, unsold=unsold, begun=queue.begun | {begun})
        case QueuePaused():
            return replace(queue, paused=True)
        case QueueResumed():
            return replace(queue, paused=False)


def _with_unsold(queue: Queue, by_performance: Mapping[PerformanceName, int], sign: Literal[-1, 1]) -> Queue:
    unsold = dict(queue.unsold)
    for name, count in by_performance.items():
        if name not in queue.begun:
            unsold[name] = unsold.get(name, 0) + sign * count
    return msgspec.structs.replace(queue, unsold=unsold)


def _remember(
    recent: tuple[tuple[Admission, ...], ...], admission: Admission
) -> tuple[tuple[Admission, ...], ...]:
    horizon = admission.at - INTERVAL_MAX
    kept = recent
    while kept and kept[0][-1].at < horizon:
        kept = kept[1:]
    if kept and len(kept[-1]) < CHUNK_LENGTH:
        return (*kept[:-1], (*kept[-1], admission))
    return (*kept, (admission,))


QUEUE = Aggregate("queue", Queue(), evolve, Queue)


@remembered
def stream(code: ConcertCode) -> Stream[Queue]:
    """The stream `queue/{code}`."""
    return named_stream(QUEUE, code, code)


def poll_after_ms(ahead: int, waiting: int) -> int:
    """When to ask again, in ms: longer for those further back and in longer lines, 1 s to 200 s.

    In a line of `waiting` people that obey, no more than POLLS_PER_SECOND_MAX ask in a second.
    """
    line_share_ms = -(-waiting * 1_000 // POLLS_PER_SECOND_MAX)
    wanted_ms = max(line_share_ms, ahead * POLL_AFTER_MS_PER_PLACE)
    return min(max(wanted_ms, POLL_AFTER_MS_MIN), POLL_AFTER_MS_MAX)


def still_waiting(queue: Queue, queue_number: int) -> TokenNotActive:
    """Q7: the error that tells a waiting user their place, and when to ask again.

    Those ahead who left early count until the gate has passed them.
    """
    place = queue_number - queue.head
    retry_after_ms = poll_after_ms(place - 1, queue.waiting)
    return TokenNotActive(place, retry_after_s=-(-retry_after_ms // 1_000))


class Draft(msgspec.Struct, frozen=True):
    """What one batch of commands makes of the queue, before it is recorded.

    `queue` counts what counts at once; the other fields wait for the batch's end.
    """

    queue: Queue
    issued_before: int
    opened: bool = False
    head_before: int = 0
    activated: int = 0
    sold: Mapping[PerformanceName, int] = {}
    freed: int = 0
    returned: Mapping[PerformanceName, int] = {}
    added: Mapping[PerformanceName, int] = {}
    withdrawn: tuple[date, StartTime] | None = None
    pause: bool | None = None


def draft(queue: Queue) -> Draft:
    """Begin a batch on the queue as it was recorded."""
    return Draft(queue, issued_before=queue.issued, head_before=queue.head)


def open_line(draft: Draft) -> Draft:
    """Open the line of a concert that is being announced."""
    return msgspec.structs.replace(draft, opened=True)


def issue_number(draft: Draft, policy: Policy) -> Draft:
    """Q1: give out the next number: it is then `draft.queue.issued`. Raises QueueFull at `max_waiting`."""
    queue = draft.queue
    if queue.waiting >= policy.max_waiting:
        raise QueueFull(retry_after_s=POLL_AFTER_MS_MAX // 1_000)
    return msgspec.structs.replace(draft, queue=msgspec.structs.replace(queue, issued=queue.issued + 1))


def room(draft: Draft, policy: Policy, now: datetime, begun: Collection[PerformanceName] = ()) -> int:
    """Q4: how many more may be let in at this instant; all three limits of the policy hold at once.

    Seats of the performances that have `begun` do not count, whether or not they were withdrawn (rule L2).
    """
    queue = draft.queue
    if queue.paused:
        return 0
    limits = [queue.waiting]
    if policy.max_active is not None:
        limits.append(policy.max_active - queue.active)
    if policy.admit_up_to_seats_left:
        seats_left = sum(count for name, count in queue.unsold.items() if name not in begun)
        limits.append(seats_left - queue.active)
    if policy.admit_per_interval is not None:
        since = now - timedelta(seconds=policy.admit_interval_s)
        limits.append(policy.admit_per_interval - _admitted_since(queue, since) - draft.activated)
    return max(0, min(limits))


def _admitted_since(queue: Queue, since: datetime) -> int:
    count = 0
    for run in reversed(queue.recent):
        for admission in reversed(run):
            if admission.at < since:
                return count
            count += admission.count
    return count


def let_in(draft: Draft) -> Draft:
    """Q3: pass the next number by activating its token, which the caller records in the same append."""
    queue = draft.queue
    moved = msgspec.structs.replace(queue, head=queue.head + 1, active=queue.active + 1)
    return msgspec.structs.replace(draft, queue=moved, activated=draft.activated + 1)


def pass_ended(draft: Draft) -> Draft:
    """Q3: pass the next number because its token has ended."""
    queue = draft.queue
    return msgspec.structs.replace(draft, queue=msgspec.structs.replace(queue, head=queue.head + 1))


def free_slot(draft: Draft) -> Draft:
    """Q6: an active token has ended; its slot is free from the next batch on."""
    return msgspec.structs.replace(draft, freed=draft.freed + 1)


def sell_seats(draft: Draft, performance: PerformanceName, count: int) -> Draft:
    """P1: so many seats were sold; they count at once."""
    sold = _plus(draft.sold, performance, count)
    queue = _with_unsold(draft.queue, {performance: count}, -1)
    return msgspec.structs.replace(draft, sold=sold, queue=queue)


def return_seats(draft: Draft, performance: PerformanceName, count: int) -> Draft:
    """P4: a refund put so many seats back on sale."""
    return msgspec.structs.replace(draft, returned=_plus(draft.returned, performance, count))


def add_seats(draft: Draft, performance: PerformanceName, count: int) -> Draft:
    """A performance was scheduled with so many seats."""
    return msgspec.structs.replace(draft, added=_plus(draft.added, performance, count))


def withdraw_seats(draft: Draft, day: date, start_time: StartTime) -> Draft:
    """L2: a performance has begun; its unsold seats no longer count. Once withdrawn, nothing changes.

    A batch withdraws one performance; another that begins at the same time waits for the next.
    """
    if draft.withdrawn is not None or performance_name(day, start_time) not in draft.queue.unsold:
        return draft
    return msgspec.structs.replace(draft, withdrawn=(day, start_time))


def pause(draft: Draft) -> Draft:
    """Stop letting in; a paused queue stays as it is."""
    return draft if draft.queue.paused else msgspec.structs.replace(draft, pause=True)


def resume(draft: Draft) -> Draft:
    """Let in again; a queue that is not paused stays as it is."""
    return msgspec.structs.replace(draft, pause=False) if draft.queue.paused else draft


def events(draft: Draft) -> list[QueueEvent]:
    """What the batch records on the queue's stream: at most one event of each kind, in this order."""
    queue = draft.queue
    recorded: list[QueueEvent] = []
    if draft.opened:
        recorded.append(QueueOpened())
    if queue.issued > draft.issued_before:
        recorded.append(NumbersIssued(draft.issued_before + 1, queue.issued))
    if queue.head > draft.head_before:
        recorded.append(QueueAdvanced(queue.head, draft.activated))
    if draft.sold:
        recorded.append(SeatsSold(sum(draft.sold.values()), draft.sold))
    if draft.freed:
        recorded.append(SlotsFreed(draft.freed))
    if draft.returned:
        recorded.append(SeatsReturned(sum(draft.returned.values()), draft.returned))
    if draft.added:
        recorded.append(SeatsAdded(sum(draft.added.values()), draft.added))
    if draft.withdrawn is not None:
        recorded.append(_withdrawal(draft, *draft.withdrawn))
    if draft.pause is not None:
        recorded.append(QueuePaused() if draft.pause else QueueResumed())
    return recorded


def _withdrawal(draft: Draft, day: date, start_time: StartTime) -> SeatsWithdrawn:
    """Count what the batch's earlier events leave unsold, whatever the order of its commands."""
    name = performance_name(day, start_time)
    unsold = sum(counts.get(name, 0) for counts in (draft.queue.unsold, draft.returned, draft.added))
    return SeatsWithdrawn(day, start_time, unsold)


def _plus(
    counts: Mapping[PerformanceName, int], performance: PerformanceName, count: int
) -> Mapping[PerformanceName, int]:
    return {**counts, performance: counts.get(performance, 0) + count}
