"""Forged logs, at least one for each rule that a log can show."""

from tests.audit.forgeries import log, payments, queue, sale, seats, wallets
from tests.audit.forgeries.forgery import FORGERIES

__all__ = ["FORGERIES", "log", "payments", "queue", "sale", "seats", "wallets"]
