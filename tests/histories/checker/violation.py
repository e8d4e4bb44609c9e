"""What a history shows that the rules do not allow."""

import re
from collections.abc import Sequence
from typing import NamedTuple

from tests.histories.record import Call

CALLS_SHOWN_MAX = 12
ANSWER_SHOWN_MAX = 400

SIGNED_TOKEN = re.compile(r'"token":"[^"]*",')
"""Says nothing to who reads it."""


class Violation(NamedTuple):
    """One rule broken, with as few calls as show it."""

    rule: str
    """Of domain.md (`S1`), or `API` for a promise of api.md."""
    what: str
    calls: Sequence[Call] = ()

    def __str__(self) -> str:
        lines = [f"{self.rule}: {self.what}", *map(told, self.calls[:CALLS_SHOWN_MAX])]
        if len(self.calls) > CALLS_SHOWN_MAX:
            lines.append(f"    … and {len(self.calls) - CALLS_SHOWN_MAX} more")
        return "\n".join(lines)


def told(call: Call) -> str:
    """One call in one line."""
    answered = "never     " if call.answered is None else f"{call.answered:10.6f}"
    asked = f"{call.kind} {call.method} {call.path} {call.body or ''}"
    told = f"{call.outcome} @{call.position} {SIGNED_TOKEN.sub('', call.answer)[:ANSWER_SHOWN_MAX]}"
    return f"  {call.sent:10.6f} … {answered} {call.client}: {asked} → {told}"
