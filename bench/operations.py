"""What is measured, and how good it must be."""

from typing import Final, NamedTuple


class Target(NamedTuple):
    """What a ratio has to be at least."""

    of_ceiling: float
    times_plain: float


class Operation(NamedTuple):
    """One row of the table."""

    name: str
    shown: str
    target: Target | None
    """None for what is measured besides."""


OPERATIONS: Final = (
    Operation("register", "register a user", None),
    Operation("charge", "charge a wallet", Target(0.35, 2.5)),
    Operation("issue_token", "issue a token", Target(0.35, 4)),
    Operation("poll_waiting", "poll a waiting token", Target(0.70, 4)),
    Operation("dates", "look at ten dates", None),
    Operation("seat_map_200", "seat map of 50 (200)", Target(0.60, 4)),
    Operation("seat_map_304", "seat map of 50 (304)", Target(0.60, 4)),
    Operation("lose_race", "lose a race for a seat", Target(0.40, 3)),
    Operation("reserve", "reserve a free seat", Target(0.22, 3)),
    Operation("pay", "pay", Target(0.16, 3)),
    Operation("whole_visit", "a whole visit", Target(0.35, 3)),
)
"""In the order in which a sale goes: those who pay have reserved before."""
