"""The audit of a whole log: replay, compare, report."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from psycopg import Connection

from audit import reader
from audit.ledger import PaymentRow, WalletRow, wallet_row
from audit.read_models import comparison
from audit.read_models.comparison import Compared, Difference, Digests, Expected
from audit.replay import Replay
from audit.report import Report, report
from audit.state import Wallet

Progress = Callable[[int, int], None]
"""Told the position that the replay has reached, and that of the log's last event."""

LedgerEntry = Callable[[PaymentRow | WalletRow], None]
"""Told each payment, and at last each wallet."""


def run(
    dsn: str,
    *,
    at: datetime | None = None,
    compare: bool = True,
    progress: Progress | None = None,
    ledger: LedgerEntry | None = None,
    on_difference: Callable[[Difference], None] | None = None,
) -> Report:
    """Replay the log from its beginning, and say what it adds up to and which rules it breaks.

    With `at`, the log ends at the first event recorded after it. With `compare`, and without `at`, the read
    models are compared with the log, each partition at its checkpoint, in the same snapshot; `on_difference`
    is told each row that differs. `ledger` is told every payment and every wallet.
    """
    with reader.snapshot(dsn) as connection:
        if at is None and compare:
            replay, read_models = _replay_and_compare(connection, progress, ledger, on_difference)
        else:
            replay, read_models = Replay(until=at, on_payment=ledger), None
            _replay(connection, replay, progress)
    if ledger is not None:
        _tell_wallets(replay, ledger)
    return report(replay, at, read_models)


def _replay_and_compare(
    connection: Connection[Any],
    progress: Progress | None,
    ledger: LedgerEntry | None,
    on_difference: Callable[[Difference], None] | None,
) -> tuple[Replay, Compared]:
    reached = comparison.checkpoints(connection)
    digests = Digests()
    expected = Expected(reached, digests.emit)
    replay = Replay(on_payment=ledger, on_event=expected.apply)
    _replay(connection, replay, progress)
    expected.finish()
    return replay, comparison.compare(connection, reached, digests, on_difference)


def _replay(connection: Connection[Any], replay: Replay, progress: Progress | None) -> None:
    last = reader.last_position(connection)
    for rows in reader.batches(connection):
        in_time = replay.apply_all(rows)
        if progress is not None:
            progress(replay.position, last)
        if not in_time:
            break
    replay.close()


def _tell_wallets(replay: Replay, ledger: LedgerEntry) -> None:
    for stream in replay.books.streams.values():
        if isinstance(stream, Wallet):
            ledger(wallet_row(stream))
