"""One append in the making: what is recorded in it, and what in it counts only for the next."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple, NoReturn
from uuid import UUID

import msgspec

from tests.properties.model.world import Concert, Reservation, Show, Token, World


class Refused(Exception):
    """A rule says no: with this code, or one of these where the rules name no order between them."""

    def __init__(self, codes: tuple[str, ...], members: Mapping[str, Any]) -> None:
        super().__init__(*codes)
        self.codes = codes
        self.members = members


def refuse(*codes: str, **members: Any) -> NoReturn:
    """Refuse the command; `members` are the facts that the error tells."""
    raise Refused(codes, members)


class Foretold(NamedTuple):
    """An event as it must be recorded."""

    stream: str
    topic: str
    payload: Any
    """As JSON."""
    partition_key: str
    visit: UUID | None
    """The token whose visit it belongs to."""
    asked: int | None
    """Which of the append's commands caused it; None for what the whole batch did to a queue."""


@dataclass(eq=False)
class Gate:
    """What one append does to one line; limits count by it."""

    active: int = 0
    """Active tokens: those before the append, and those that it lets in."""
    unsold: dict[str, int] = field(default_factory=dict)
    """By performance: before the append, less what it sells."""
    opened: bool = False
    issued: list[int] = field(default_factory=list)
    head_before: int = 0
    activated: int = 0
    sold: Counter[str] = field(default_factory=Counter)
    freed: int = 0
    returned: Counter[str] = field(default_factory=Counter)
    added: Counter[str] = field(default_factory=Counter)
    withdrawn: Show | None = None
    turned: str | None = None
    """`queue.paused` or `queue.resumed`."""


class Append:
    """Records what commands do at one instant."""

    def __init__(self, world: World, now: datetime) -> None:
        self.world = world
        self.now = now
        self.asked = 0
        self.events: list[Foretold] = []
        self.gates: dict[str, Gate] = {
            code: Gate(
                active=concert.active,
                unsold={name: show.unsold for name, show in concert.shows.items()},
                head_before=concert.head,
            )
            for code, concert in world.concerts.items()
        }
        self.policies = {code: concert.policy for code, concert in world.concerts.items()}
        """Those in force when it began."""
        self.opened: list[Reservation] = []
        """The reservations that it makes."""

    def gate(self, code: str) -> Gate:
        """What it does to this concert's line."""
        return self.gates.setdefault(code, Gate())

    def record(
        self, stream: str, topic: str, visit: Token | None = None, *, of: str = "", **payload: Any
    ) -> None:
        """Record an event, within a visit or not; its partition key is `of`, or else the visit's concert."""
        visit_id, code = (None, "") if visit is None else (visit.id, visit.code)
        self.events.append(Foretold(stream, topic, as_json(payload), of or code, visit_id, self.asked))

    def finish(self) -> None:
        """Record what it did to each line: one event of each kind at most, in the order of the table."""
        for code, gate in self.gates.items():
            for topic, payload in _merged(self.world.concerts.get(code), gate):
                self.events.append(Foretold(f"queue/{code}", topic, as_json(payload), code, None, None))


def _merged(concert: Concert | None, gate: Gate) -> list[tuple[str, dict[str, Any]]]:
    if concert is None:
        return []
    events: list[tuple[str, dict[str, Any]]] = []
    if gate.opened:
        events.append(("queue.opened", {}))
    if gate.issued:
        events.append(("queue.numbers_issued", {"first": gate.issued[0], "last": gate.issued[-1]}))
    if concert.head > gate.head_before:
        events.append(("queue.advanced", {"head": concert.head, "activated": gate.activated}))
    if gate.sold:
        events.append(("queue.seats_sold", _counted(gate.sold)))
    if gate.freed:
        events.append(("queue.slots_freed", {"count": gate.freed}))
    if gate.returned:
        events.append(("queue.seats_returned", _counted(gate.returned)))
    if gate.added:
        events.append(("queue.seats_added", _counted(gate.added)))
    if (show := gate.withdrawn) is not None:
        of_show = {"date": show.day, "start_time": show.start_time, "count": show.unsold}
        events.append(("queue.seats_withdrawn", of_show))
    if gate.turned is not None:
        events.append((gate.turned, {}))
    return events


def _counted(by_performance: Counter[str]) -> dict[str, Any]:
    return {"count": by_performance.total(), "by_performance": dict(by_performance)}


def as_json(payload: Any) -> Any:
    """Bring a payload into the form in which the log keeps it."""
    return msgspec.json.decode(msgspec.json.encode(payload))
