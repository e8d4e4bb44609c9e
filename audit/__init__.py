"""Replays the log, and nothing but the log, into totals and breaches of the rules.

It imports nothing of ours: an error in the decisions must not hide itself here. `run` audits a whole log,
`history` one wallet or payment. How it is built: `reader` streams the stored events, `stored` says how they
are read, `replay` enters each into the `books` and has it judged by the module of its area (`concerts`,
`queues`, `tokens`, `reservations`, `seats`, `wallets`, `payments`), whose docstrings say which rule is
checked how; `report` sums up; `read_models` compares.
"""

from audit.audit import LedgerEntry, Progress, run
from audit.breaches import Breach
from audit.history import History, Item, history
from audit.ledger import CsvLedger, PaymentRow, WalletRow
from audit.read_models.comparison import Compared, Difference, Parked
from audit.rebuilt import RebuiltCompared, compare_rebuilt
from audit.report import ConcertTotals, PaymentTotals, Report, WalletTotals

__all__ = [
    "Breach",
    "Compared",
    "ConcertTotals",
    "CsvLedger",
    "Difference",
    "History",
    "Item",
    "LedgerEntry",
    "Parked",
    "PaymentRow",
    "PaymentTotals",
    "Progress",
    "RebuiltCompared",
    "Report",
    "WalletRow",
    "WalletTotals",
    "compare_rebuilt",
    "history",
    "run",
]
