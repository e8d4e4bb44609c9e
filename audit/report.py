"""The report: totals of wallets, payments and concerts, and all breaches, in the API's form of an audit."""

from datetime import datetime

import msgspec

from audit.books import Books
from audit.breaches import Breach
from audit.read_models.comparison import Compared
from audit.replay import Replay


class WalletTotals(msgspec.Struct, frozen=True):
    """All wallets together, in won."""

    count: int
    charged: int
    debited: int
    refunded: int
    balance: int


class PaymentTotals(msgspec.Struct, frozen=True):
    """All payments: how many ever completed, failed, and were refunded after they had completed; in won."""

    completed: int
    failed: int
    refunded: int
    amount_completed: int
    amount_refunded: int


class ConcertTotals(msgspec.Struct, frozen=True):
    """One concert. `seats_sold` and `revenue` (in won) are what refunds have left of them."""

    code: str
    numbers_issued: int
    activated: int
    seats_sold: int
    revenue: int


class Report(msgspec.Struct, frozen=True):
    """What an audit finds; its JSON is the API's AUDIT."""

    position: int
    """Of the last event replayed; 0 for an empty log."""
    events: int
    at: datetime | None
    """The time up to which the log was replayed; null for all of it."""
    ok: bool
    """No rule was broken, and no row of a read model differs, but for what it has parked."""
    breaches: list[Breach]
    wallets: WalletTotals
    payments: PaymentTotals
    concerts: list[ConcertTotals]
    read_models: Compared | None
    """Null where they were not compared: with `at`, since the past of a read model is gone."""


def report(replay: Replay, at: datetime | None, read_models: Compared | None) -> Report:
    """Sum up a replay that was closed."""
    books = replay.books
    different = read_models.different if read_models else 0
    return Report(
        position=replay.position,
        events=replay.events,
        at=at,
        ok=not books.breaches.count and not different,
        breaches=books.breaches.listing(),
        wallets=_wallets(books),
        payments=_payments(books),
        concerts=_concerts(books),
        read_models=read_models,
    )


def _wallets(books: Books) -> WalletTotals:
    totals = books.totals
    return WalletTotals(
        count=totals.wallets,
        charged=totals.charged,
        debited=totals.debited,
        refunded=totals.refunded,
        balance=totals.charged - totals.debited + totals.refunded,
    )


def _payments(books: Books) -> PaymentTotals:
    totals = books.totals
    return PaymentTotals(
        completed=totals.completed,
        failed=totals.failed,
        refunded=totals.payments_refunded,
        amount_completed=totals.amount_completed,
        amount_refunded=totals.amount_refunded,
    )


def _concerts(books: Books) -> list[ConcertTotals]:
    return [
        ConcertTotals(
            code=code,
            numbers_issued=concert.queue.issued,
            activated=concert.activated,
            seats_sold=concert.seats_sold,
            revenue=concert.revenue,
        )
        for code, concert in sorted(books.concerts.items())
    ]
