"""The ledger: each payment and each wallet, as rows that can be written as CSV."""

import csv
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import msgspec

from audit.state import Payment, Wallet

PaymentStatus = Literal["COMPLETED", "FAILED", "REFUNDED"]


class PaymentRow(msgspec.Struct, frozen=True):
    """One payment with its reservation, its seats and its token, once nothing more may change it."""

    payment_id: str
    status: PaymentStatus
    user_id: str
    amount: int
    """In won."""
    balance: int
    """The wallet's, after the payment or the refused attempt."""
    paid_at: datetime | None
    refunded_at: datetime | None
    reservation_id: str
    concert_code: str
    performance: str
    """`YYYY-MM-DDTHH:MM`, the venue's wall-clock."""
    seat_numbers: str
    """Separated by spaces."""
    token_id: str


class WalletRow(msgspec.Struct, frozen=True):
    """One wallet, in won."""

    user_id: str
    charged: int
    debited: int
    refunded: int
    balance: int


def payment_row(payment: Payment, status: PaymentStatus, now: datetime) -> PaymentRow:
    """Describe a payment at `now`, which is when it was refunded if it was."""
    reservation = payment.reservation
    performance = reservation.performance if reservation else None
    return PaymentRow(
        payment_id=payment.id,
        status=status,
        user_id=payment.user_id,
        amount=payment.amount,
        balance=payment.balance,
        paid_at=payment.paid_at,
        refunded_at=now if status == "REFUNDED" else None,
        reservation_id=reservation.id if reservation else "",
        concert_code=payment.partition_key,
        performance=performance.name if performance else "",
        seat_numbers=" ".join(map(str, reservation.seat_numbers)) if reservation else "",
        token_id=reservation.token_id if reservation else "",
    )


def wallet_row(wallet: Wallet) -> WalletRow:
    """Describe a wallet as it stands."""
    return WalletRow(wallet.partition_key, wallet.charged, wallet.debited, wallet.refunded, wallet.balance)


class CsvLedger:
    """Writes `payments.csv` and `wallets.csv` into one folder, each row as it comes.

    Payments come in the order in which they were settled for good: failed and refunded ones when that
    happened, the others when their performance was over, and at the end those that may still be refunded.
    """

    def __init__(self, folder: Path) -> None:
        """Create the folder, if need be, and both files with their headings."""
        folder.mkdir(parents=True, exist_ok=True)
        self._payments_file = (folder / "payments.csv").open("w", encoding="utf-8", newline="")
        self._wallets_file = (folder / "wallets.csv").open("w", encoding="utf-8", newline="")
        self._payments = csv.writer(self._payments_file)
        self._wallets = csv.writer(self._wallets_file)
        self._payments.writerow(PaymentRow.__struct_fields__)
        self._wallets.writerow(WalletRow.__struct_fields__)

    def __enter__(self) -> Self:
        """Return itself; leaving closes the files."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close both files."""
        self._payments_file.close()
        self._wallets_file.close()

    def write(self, row: PaymentRow | WalletRow) -> None:
        """Write one row into the file of its kind; times as RFC 3339."""
        writer = self._payments if isinstance(row, PaymentRow) else self._wallets
        writer.writerow(msgspec.to_builtins(value) for value in msgspec.structs.astuple(row))
