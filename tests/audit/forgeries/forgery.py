"""Forged logs: each function writes one breach of one rule into a sale that was clean until then.

It is given a log in which GALA is on sale, with 50 seats at 100,000 won, and in which ANN, BEN and CAT have
wallets of 500,000 won. It returns the events that the audit must point at.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

from tests.audit.log_builder import SHOW_STARTS_AT, LogBuilder, StoredEvent, id_of

GALA = "GALA"
ANN, BEN, CAT = (id_of("user", number) for number in (1, 2, 3))
SEAT_PRICE = 100_000

Forge = Callable[[LogBuilder], Iterable[StoredEvent]]


class Forgery(NamedTuple):
    """A breach that the audit must find."""

    rule: str
    forge: Forge
    also: frozenset[str]
    """Other rules that the same forgery cannot help breaking."""


FORGERIES: list[Forgery] = []


def breaks(rule: str, *, also: str = "") -> Callable[[Forge], Forge]:
    """Enter a forgery of this rule into the list."""

    def enter(forge: Forge) -> Forge:
        FORGERIES.append(Forgery(rule, forge, frozenset(also.split())))
        return forge

    return enter


def on_sale(**policy: object) -> LogBuilder:
    """A log in which GALA is on sale to ANN, BEN and CAT."""
    log = LogBuilder()
    log.announce(GALA, **policy)
    log.schedule(GALA)
    log.open_sales(GALA)
    for user_id in (ANN, BEN, CAT):
        log.open_wallet(user_id)
        log.charge(user_id, 5 * SEAT_PRICE)
    return log


def let_in(log: LogBuilder, *users: str) -> None:
    """Let these users come and go straight in."""
    with log.append():
        for user_id in users:
            log.join(GALA, user_id)
    log.let_in(GALA, len(users))


def individual_events_of_last_append(log: LogBuilder) -> list[StoredEvent]:
    """The events of the last append but for those of queues."""
    recorded_at = log.events[-1].recorded_at
    return [e for e in log.events if e.recorded_at == recorded_at and not e.topic.startswith("queue.")]


def reserved_by_the_poor(log: LogBuilder) -> str:
    """ANN reserves what she cannot pay for."""
    log.schedule(GALA, "2026-05-02T19:30", SHOW_STARTS_AT, ((1, 50, "VIP", 10 * SEAT_PRICE),))
    let_in(log, ANN)
    return log.reserve(GALA, ANN, 7, show="2026-05-02T19:30")


def paid_and_refunded(log: LogBuilder, *omitted: str) -> list[StoredEvent]:
    """ANN buys two seats and gets her money back, but for the events omitted."""
    let_in(log, ANN)
    reservation_id = log.reserve(GALA, ANN, 7, 8)
    log.pay(reservation_id)
    log.refund(reservation_id)
    log.omit(*(log.last(topic) for topic in omitted))
    return individual_events_of_last_append(log)
