"""The model as a service: takes what was asked for together, and foretells the answers and the appends."""

import re
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

import msgspec

from tests.properties.model import buying, line, operating, rules, wallets
from tests.properties.model.append import Append, Foretold, Refused
from tests.properties.model.world import Rules, World

TICK = timedelta(microseconds=1)

WITH_RETRY_AFTER: Final = {"TOKEN_NOT_ACTIVE", "QUEUE_FULL", "RATE_LIMITED"}
"""I1: these refusals are not recorded."""

ENDS_BATCH: Final = {
    "change_policy", "open_sales", "close_sales", "follow_timetable", "pause_queue", "resume_queue",
    "withdraw_seats",
}  # fmt: skip
"""What follows them in the log must see them; and one append withdraws one performance at most."""

COMMANDS: Final[dict[str, Callable[..., Any]]] = {
    function.__name__: function
    for function in (
        wallets.open_wallet,
        wallets.erase_profile,
        wallets.charge_wallet,
        line.join_queue,
        line.leave_queue,
        line.let_in,
        line.record_expiry,
        line.abandon_token,
        buying.reserve,
        buying.release_reservation,
        buying.pay,
        buying.refund,
        operating.announce_concert,
        operating.schedule_performance,
        operating.change_policy,
        operating.open_sales,
        operating.close_sales,
        operating.follow_timetable,
        operating.pause_queue,
        operating.resume_queue,
        operating.withdraw_seats,
    )
}
"""Each command's fields are the arguments of the function that is named like it."""


class Key(NamedTuple):
    """An idempotency key of a caller, and the request that it came with."""

    caller: str
    key: str
    request: bytes


class Wish(NamedTuple):
    """What somebody asks for."""

    command: Any
    key: Key | None = None

    @property
    def name(self) -> str:
        """As the model calls it."""
        return re.sub(r"(?<!^)(?=[A-Z])", "_", type(self.command).__name__).lower()


@dataclass(eq=False)
class Outcome:
    """What must come of a wish."""

    results: Any = None
    refused: Refused | None = None
    repeats: "Outcome | None" = None
    """I1: the first outcome of its key."""
    position: int = 0
    """At which it holds: that of the append, or of the first outcome."""

    @property
    def recorded(self) -> bool:
        """I1: whether a key remembers it."""
        return self.refused is None or self.refused.codes[0] not in WITH_RETRY_AFTER


class Appended(NamedTuple):
    """One append, as it must be recorded."""

    recorded_at: datetime
    events: Sequence[Foretold]


@dataclass(eq=False)
class Model:
    """Everything that was recorded, and the answers on record for keys."""

    rules: Rules
    world: World = field(init=False)
    position: int = 0
    latest: datetime | None = None
    """When the last event was recorded."""
    keys: dict[tuple[str, str], tuple[bytes, Outcome]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.world = World(self.rules)

    def now(self, clock: datetime) -> datetime:
        """The instant of an append: the clock's, and later than every recorded event."""
        return clock if self.latest is None else max(clock, self.latest + TICK)

    def ask(self, wishes: Sequence[Wish], clock: datetime) -> tuple[Sequence[Outcome], Sequence[Appended]]:
        """Carry out wishes that wait in line together."""
        outcomes: list[Outcome] = []
        appends: list[Appended] = []
        while len(outcomes) < len(wishes):
            append = Append(self.world, self.now(clock))
            decided = self._decide(append, wishes[len(outcomes) :])
            rules.judge(append)
            if append.events:
                appends.append(Appended(append.now, append.events))
                self.position += len(append.events)
                self.latest = append.now
            for outcome in decided:
                outcome.position = outcome.repeats.position if outcome.repeats else self.position
            outcomes += decided
        return outcomes, appends

    def foresee(self, wishes: Sequence[Wish], clock: datetime) -> Sequence[Outcome]:
        """What would come of these wishes; nothing changes."""
        return deepcopy(self).ask(wishes, clock)[0]

    def _decide(self, append: Append, wishes: Sequence[Wish]) -> Sequence[Outcome]:
        decided: list[Outcome] = []
        for append.asked, wish in enumerate(wishes):
            decided.append(self._decide_one(append, wish))
            if wish.name in ENDS_BATCH:
                break
        append.finish()
        return decided

    def _decide_one(self, append: Append, wish: Wish) -> Outcome:
        if wish.key is None:
            return _carry_out(append, wish)
        key = wish.key.caller, wish.key.key
        if (on_record := self.keys.get(key)) is None:
            outcome = _carry_out(append, wish)
            if outcome.recorded:
                self.keys[key] = wish.key.request, outcome
            return outcome
        request, first = on_record
        if request != wish.key.request:
            return Outcome(refused=Refused(("IDEMPOTENCY_KEY_REUSED",), {}))
        return Outcome(repeats=first)


def _carry_out(append: Append, wish: Wish) -> Outcome:
    try:
        return Outcome(COMMANDS[wish.name](append, **msgspec.structs.asdict(wish.command)))
    except Refused as refused:
        return Outcome(refused=refused)
