"""Concerts: what is sold, and whether its sale is open.

Nothing is judged here but the order of a concert's own events (A1): it is announced once and before all
else, and a performance is scheduled once. Its state is what L1, L2, Q4 and S4 are judged by elsewhere: the
policy and the sale's state in force are those of the last such event before, since a command that changes
them ends its batch.
"""

from audit.books import Books
from audit.state import Concert, Performance
from audit.stored import ConcertAnnounced, Nothing, PerformanceScheduled, PolicyChanged
from audit.topics import Topics


def announced(books: Books, concert: Concert, event: ConcertAnnounced, position: int) -> None:
    """A1: a concert is announced once, under its own code. Its queue opens with it."""
    if concert.announced:
        books.breach("A1", concert.name, [position], "the concert is announced a second time")
    if event.code != concert.partition_key:
        books.breach("A1", concert.name, [position], f"the concert announced is {event.code}")
    concert.announced = True
    concert.policy = event.policy
    books.tally(concert).announced_at.append(position)


def performance_scheduled(books: Books, concert: Concert, event: PerformanceScheduled, position: int) -> None:
    """A1: a performance is scheduled once, and its plan numbers the seats from 1 on, each once."""
    name = f"{event.date}T{event.start_time}"
    if name in concert.performances:
        books.breach("A1", concert.name, [position], f"the performance {name} is scheduled a second time")
        return
    performance = Performance(name=name, starts_at=event.starts_at, plan=event.seats)
    if not _numbers_from_one(event):
        books.breach("A1", concert.name, [position], f"the plan of {name} does not number its seats from 1")
    concert.performances[name] = performance
    tally = books.tally(concert)
    tally.added[name] = performance.seat_count()
    tally.added_at.append(position)


def _numbers_from_one(event: PerformanceScheduled) -> bool:
    expected = 1
    for block in event.seats:
        if block.first != expected or block.last < block.first:
            return False
        expected = block.last + 1
    return expected > 1


def policy_changed(books: Books, concert: Concert, event: PolicyChanged, position: int) -> None:
    """From here on the new policy binds."""
    _require_announced(books, concert, position)
    concert.policy = event.policy


def sales_opened(books: Books, concert: Concert, _event: Nothing, position: int) -> None:
    """From here on the sale is open (L1)."""
    _require_announced(books, concert, position)
    concert.sales_open = True


def sales_closed(books: Books, concert: Concert, _event: Nothing, position: int) -> None:
    """From here on the sale is closed (L1)."""
    _require_announced(books, concert, position)
    concert.sales_open = False


def _require_announced(books: Books, concert: Concert, position: int) -> None:
    if not concert.announced:
        books.breach("A1", concert.name, [position], "the concert was never announced")


TOPICS: Topics = {
    "concert.announced": (ConcertAnnounced, announced),
    "concert.performance_scheduled": (PerformanceScheduled, performance_scheduled),
    "concert.policy_changed": (PolicyChanged, policy_changed),
    "concert.sales_opened": (Nothing, sales_opened),
    "concert.sales_closed": (Nothing, sales_closed),
}
