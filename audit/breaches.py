"""Breaches: where the log contradicts a rule."""

from collections import Counter
from collections.abc import Sequence
from typing import Literal

import msgspec

Rule = Literal[
    "A1", "Q1", "Q2", "Q3", "Q4", "Q5", "Q6", "Q7", "L1", "L2",
    "S1", "S2", "S3", "S4", "S5", "W1", "W3", "P1", "P2", "P3", "P4",
]  # fmt: skip
"""The rules of the domain that a log can show. A1 stands for the log itself: it can be read and replayed."""

KEPT_MAX = 1_000
"""A report of more breaches than this is read by nobody; the others are counted."""


class Breach(msgspec.Struct, frozen=True):
    """One contradiction: which rule, in which stream, shown by the events at which positions."""

    rule: str
    stream: str
    positions: list[int]
    detail: str


class Breaches:
    """All that were found: the first `KEPT_MAX` in full, and how many there were of each rule."""

    def __init__(self) -> None:
        """Start with none."""
        self.kept: list[Breach] = []
        self.by_rule: Counter[str] = Counter()

    def add(self, rule: Rule, stream: str, positions: Sequence[int], detail: str) -> None:
        """Count one more, and keep it while there are few; position 0 stands for none."""
        self.by_rule[rule] += 1
        if len(self.kept) < KEPT_MAX:
            self.kept.append(Breach(rule, stream, sorted(set(positions) - {0}), detail))

    @property
    def count(self) -> int:
        """How many were found, kept or not."""
        return self.by_rule.total()

    def listing(self) -> list[Breach]:
        """Those kept, and one more line that counts the rest, if there are more."""
        more = self.count - len(self.kept)
        if not more:
            return list(self.kept)
        counts = ", ".join(f"{rule} {count}" for rule, count in sorted(self.by_rule.items()))
        return [*self.kept, Breach("A1", "", [], f"and {more} more breaches; all together by rule: {counts}")]
