"""Queues: the line and its gate (rules Q1, Q3, Q4 and L1), and the exact counts on the queue's own stream.

A queue's own events are merged from a whole append and stand last in it, at most one of each kind and in a
fixed order. Each is held against the sum of the append's individual events, which are believed where the
two differ, so that one wrong count is found once:

- Q1: each number issued is the next one, and `queue.numbers_issued` names exactly those of its append.
- Q3: `queue.advanced` passes a number only if that number's token is activated in its append, or has ended;
  all activations of an append are passed by it, and counted.
- Q4: at each activation there is room under all three limits of the policy; admissions and sales earlier in
  the append count, slots freed and seats returned, added or withdrawn in it do not. A number is issued only
  while fewer than `max_waiting` wait.
- Q6: `queue.slots_freed` counts the active tokens that ended. P1: `queue.seats_sold` counts the seats sold.
  P4: `queue.seats_returned` counts those returned. Q4: `queue.seats_added` counts those scheduled.
- L1: nobody is let in while the sale is closed or the queue is paused.
- L2: `queue.seats_withdrawn` comes once, from the start of its performance on, and counts its unsold seats.
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta

from audit.append import Tally
from audit.books import Books
from audit.breaches import Rule
from audit.state import Concert, Queue
from audit.stored import Nothing, NumbersIssued, QueueAdvanced, SeatsMoved, SeatsWithdrawn, SlotsFreed
from audit.topics import Topics

ORDER = (
    "queue.opened",
    "queue.numbers_issued",
    "queue.advanced",
    "queue.seats_sold",
    "queue.slots_freed",
    "queue.seats_returned",
    "queue.seats_added",
    "queue.seats_withdrawn",
    "queue.paused",
    "queue.resumed",
)
"""In which a queue's events stand in an append."""


def judge_number(books: Books, concert: Concert, number: int, position: int) -> None:
    """L1 and Q1: may a number be given out now, and is it the next one?"""
    queue, tally = concert.queue, books.tally(concert)
    if not concert.sales_open:
        books.breach("L1", queue.name, [position], f"number {number} is issued while the sale is closed")
    if number != tally.next_number:
        detail = f"number {number} is issued where {tally.next_number} is the next"
        books.breach("Q1", queue.name, [position], detail)
    tally.next_number = number + 1
    tally.max_waiting = concert.policy.max_waiting
    tally.numbers.append(number)
    tally.issued_at.append(position)


def judge_admission(books: Books, concert: Concert, number: int, position: int) -> None:
    """L1 and Q4: may the token of that number be let in at this instant?"""
    queue, policy, tally = concert.queue, concert.policy, books.tally(concert)
    if not concert.sales_open:
        books.breach("L1", queue.name, [position], f"number {number} is let in while the sale is closed")
    if queue.paused:
        books.breach("L1", queue.name, [position], f"number {number} is let in while the queue is paused")
    active = queue.active + len(tally.activated)
    if policy.max_active is not None and active >= policy.max_active:
        detail = f"number {number} is let in while {active} are active, of at most {policy.max_active}"
        books.breach("Q4", queue.name, [position], detail)
    if policy.admit_up_to_seats_left and active >= tally.seats_left:
        detail = f"number {number} is let in while {active} are active and {tally.seats_left} seats are left"
        books.breach("Q4", queue.name, [position], detail)
    if policy.admit_per_interval is not None:
        _judge_interval(books, concert, tally, number, position)
    tally.activated[number] = position


def _judge_interval(books: Books, concert: Concert, tally: Tally, number: int, position: int) -> None:
    """Q4: no span of `admit_interval_s`, both ends included, holds more than `admit_per_interval`."""
    policy = concert.policy
    if tally.admitted_before is None:
        start = books.now - timedelta(seconds=policy.admit_interval_s)
        tally.admitted_before = concert.queue.admissions.since(start)
    admitted = tally.admitted_before + len(tally.activated)
    if policy.admit_per_interval is not None and admitted >= policy.admit_per_interval:
        detail = (
            f"number {number} is let in after {admitted} others within {policy.admit_interval_s} s, "
            f"of at most {policy.admit_per_interval}"
        )
        books.breach("Q4", concert.queue.name, [position], detail)


def _tell(books: Books, queue: Queue, topic: str, position: int) -> Tally:
    """A1: a queue's own events stand in their order in an append, at most one of each kind."""
    tally = books.tally(books.concert(queue.partition_key))
    books.append.merged_at = position
    if any(ORDER.index(told) >= ORDER.index(topic) for told in tally.told):
        books.breach("A1", queue.name, [position], f"{topic} is out of the order of a queue's events")
    tally.told.add(topic)
    return tally


def opened(books: Books, queue: Queue, _event: Nothing, position: int) -> None:
    """Q1: a line opens once, with its concert."""
    tally = _tell(books, queue, "queue.opened", position)
    if queue.opened or not tally.announced_at:
        books.breach("Q1", queue.name, [position], "a line opens once, when its concert is announced")
    queue.opened = True


def numbers_issued(books: Books, queue: Queue, event: NumbersIssued, position: int) -> None:
    """Q1: the numbers are those of the append's tokens."""
    tally = _tell(books, queue, "queue.numbers_issued", position)
    first, last = (tally.numbers[0], tally.numbers[-1]) if tally.numbers else (0, -1)
    if (event.first, event.last) != (first, last) or event.last - event.first + 1 != len(tally.numbers):
        issued = ", ".join(map(str, tally.numbers[:20])) or "none"
        detail = f"numbers {event.first} to {event.last} are counted as issued, but tokens got: {issued}"
        books.breach("Q1", queue.name, [*tally.issued_at, position], detail)


def advanced(books: Books, queue: Queue, event: QueueAdvanced, position: int) -> None:
    """Q3: each number that the gate passes was activated in this append, or its token has ended."""
    tally = _tell(books, queue, "queue.advanced", position)
    issued = max(queue.issued, *tally.numbers) if tally.numbers else queue.issued
    if not queue.head < event.head <= issued:
        detail = f"the gate goes from {queue.head} to {event.head}, while {issued} numbers were issued"
        books.breach("Q3", queue.name, [position], detail)
    passed = range(queue.head + 1, min(event.head, issued) + 1)
    stands = next((n for n in passed if n not in queue.left_early and n not in tally.activated), None)
    if stands is None:
        queue.left_early.difference_update(passed)
    else:
        detail = f"the gate passes number {stands}, whose token was neither let in nor has ended"
        books.breach("Q3", queue.name, [position], detail)
        queue.left_early = {number for number in queue.left_early if number not in passed}
    for number, activated_at in tally.activated.items():
        if not queue.head < number <= event.head:
            detail = f"number {number} is let in, but the gate goes from {queue.head} to {event.head}"
            books.breach("Q3", queue.name, [activated_at, position], detail)
    if event.activated != len(tally.activated):
        detail = f"{event.activated} are counted as let in, but {len(tally.activated)} were"
        books.breach("Q3", queue.name, [*tally.activated.values(), position], detail)
    queue.head = max(queue.head, min(event.head, issued))


def seats_sold(books: Books, queue: Queue, event: SeatsMoved, position: int) -> None:
    """P1: the seats sold in this append are counted on the queue's stream too."""
    tally = _tell(books, queue, "queue.seats_sold", position)
    differs = _difference(event, tally.sold)
    if differs:
        books.breach("P1", queue.name, [*tally.sold_at, position], f"{differs} sold")


def slots_freed(books: Books, queue: Queue, event: SlotsFreed, position: int) -> None:
    """Q6: the append that records the end of an active token frees its slot, and no other."""
    tally = _tell(books, queue, "queue.slots_freed", position)
    if event.count != len(tally.freed_at):
        detail = f"{event.count} slots are freed, but {len(tally.freed_at)} active tokens ended"
        books.breach("Q6", queue.name, [*tally.freed_at, position], detail)


def seats_returned(books: Books, queue: Queue, event: SeatsMoved, position: int) -> None:
    """P4: the seats of this append's refunds are back on sale."""
    tally = _tell(books, queue, "queue.seats_returned", position)
    differs = _difference(event, tally.returned)
    if differs:
        books.breach("P4", queue.name, [*tally.returned_at, position], f"{differs} returned")


def seats_added(books: Books, queue: Queue, event: SeatsMoved, position: int) -> None:
    """Q4: the seats of a new performance count for the gate."""
    tally = _tell(books, queue, "queue.seats_added", position)
    differs = _difference(event, tally.added)
    if differs:
        books.breach("Q4", queue.name, [*tally.added_at, position], f"{differs} added")


def _difference(told: SeatsMoved, shown: Mapping[str, int]) -> str | None:
    if told.count == sum(shown.values()) and told.by_performance in (shown, {}):
        return None
    return f"seats counted: {told.count} {told.by_performance}, but {dict(shown)} were"


def seats_withdrawn(books: Books, queue: Queue, event: SeatsWithdrawn, position: int) -> None:
    """L2: a performance that has begun gives up its unsold seats, once."""
    tally = _tell(books, queue, "queue.seats_withdrawn", position)
    name = f"{event.date}T{event.start_time}"
    performance = tally.concert.performances.get(name)
    if performance is None or performance.starts_at is None or performance.withdrawn:
        books.breach("L2", queue.name, [position], f"the performance {name} is not on sale")
        return
    if books.now < performance.starts_at:
        books.breach("L2", queue.name, [position], f"the performance {name} has not begun")
    unsold = queue.unsold.get(name, 0) - tally.sold.get(name, 0)
    if event.count != unsold:
        detail = f"{event.count} seats of {name} are withdrawn, but {unsold} are unsold"
        books.breach("L2", queue.name, [position], detail)
    tally.withdrawn.append(performance)


def paused(books: Books, queue: Queue, _event: Nothing, position: int) -> None:
    """From here on nobody is let in (L1)."""
    _tell(books, queue, "queue.paused", position)
    queue.paused = True


def resumed(books: Books, queue: Queue, _event: Nothing, position: int) -> None:
    """From here on the gate may move again (L1)."""
    _tell(books, queue, "queue.resumed", position)
    queue.paused = False


def judge_append(books: Books, tally: Tally) -> None:
    """Nothing of an append stays uncounted; then its sums are carried over."""
    _judge_untold(books, tally)
    _judge_length(books, tally)
    _carry_over(books, tally)


def _judge_untold(books: Books, tally: Tally) -> None:
    expected: tuple[tuple[str, Rule, Sequence[int]], ...] = (
        ("queue.opened", "Q1", tally.announced_at),
        ("queue.numbers_issued", "Q1", tally.issued_at),
        ("queue.advanced", "Q3", list(tally.activated.values())),
        ("queue.seats_sold", "P1", tally.sold_at),
        ("queue.slots_freed", "Q6", tally.freed_at),
        ("queue.seats_returned", "P4", tally.returned_at),
        ("queue.seats_added", "Q4", tally.added_at),
    )
    for topic, rule, positions in expected:
        if positions and topic not in tally.told:
            books.breach(rule, tally.concert.queue.name, positions, f"the append has no {topic} for these")


def _judge_length(books: Books, tally: Tally) -> None:
    """Q4: no number is issued where `max_waiting` wait already."""
    queue = tally.concert.queue
    if tally.numbers and tally.numbers[-1] - queue.head > tally.max_waiting:
        detail = f"{tally.numbers[-1] - queue.head} wait, of at most {tally.max_waiting}"
        books.breach("Q4", queue.name, tally.issued_at, detail)


def _carry_over(books: Books, tally: Tally) -> None:
    queue = tally.concert.queue
    if tally.numbers:
        queue.issued = tally.numbers[-1]
    if tally.activated:
        queue.active += len(tally.activated)
        queue.admissions.add(books.now, len(tally.activated))
        tally.concert.activated += len(tally.activated)
    queue.active -= len(tally.freed_at)
    unsold = queue.unsold
    for name, count in tally.added.items():
        unsold[name] = unsold.get(name, 0) + count
    for changes, sign in ((tally.sold, -1), (tally.returned, 1)):
        for name, count in changes.items():
            if name in unsold:
                unsold[name] += sign * count
    for performance in tally.withdrawn:
        performance.withdrawn = True
        unsold.pop(performance.name, None)
        books.forget_if_over(performance)


TOPICS: Topics = {
    "queue.opened": (Nothing, opened),
    "queue.numbers_issued": (NumbersIssued, numbers_issued),
    "queue.advanced": (QueueAdvanced, advanced),
    "queue.seats_sold": (SeatsMoved, seats_sold),
    "queue.slots_freed": (SlotsFreed, slots_freed),
    "queue.seats_returned": (SeatsMoved, seats_returned),
    "queue.seats_added": (SeatsMoved, seats_added),
    "queue.seats_withdrawn": (SeatsWithdrawn, seats_withdrawn),
    "queue.paused": (Nothing, paused),
    "queue.resumed": (Nothing, resumed),
}
