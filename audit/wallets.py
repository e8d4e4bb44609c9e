"""Wallets: prepaid balances in whole won (rules W1, W3).

- W1: a balance is charges − debits + refunds and never negative; a wallet is opened once and before all
  else. The balances that payments tell are judged with the payments.
- W3: no wallet is charged while a suspension of it has not reached its deadline; a suspension is lifted
  once, by the end of its reservation. Whether there must be one is judged with the reservation.
- P1, P4: debits and refunds are laid beside their payment.

(W2, the limits of charges, are settings of the service that no log shows.)
"""

from audit.books import Books
from audit.state import Wallet
from audit.stored import ChargingSuspended, Nothing, OfReservation, WalletCharged, WalletMoved
from audit.topics import Topics


def opened(books: Books, wallet: Wallet, _event: Nothing, position: int) -> None:
    """W1: a wallet is opened once."""
    if wallet.opened:
        books.breach("W1", wallet.name, [position], "the wallet is opened a second time")
    else:
        books.totals.wallets += 1
    wallet.opened = True


def charged(books: Books, wallet: Wallet, event: WalletCharged, position: int) -> None:
    """W3: nobody charges a wallet that is suspended."""
    _require_opened(books, wallet, position)
    if wallet.suspended and any(books.now < until for until in wallet.suspended.values()):
        books.breach("W3", wallet.name, [position], "the wallet is charged while charging is suspended")
    wallet.charged += event.amount
    wallet.balance += event.amount
    books.totals.charged += event.amount


def debited(books: Books, wallet: Wallet, event: WalletMoved, position: int) -> None:
    """W1: a debit leaves no less than nothing."""
    _require_opened(books, wallet, position)
    wallet.debited += event.amount
    wallet.balance -= event.amount
    books.totals.debited += event.amount
    if wallet.balance < 0:
        books.breach("W1", wallet.name, [position], f"the balance is {wallet.balance}")
    sale = books.append.sales.at(event.payment_id, position)
    sale.debits.append((wallet, event.amount, wallet.balance))


def refunded(books: Books, wallet: Wallet, event: WalletMoved, position: int) -> None:
    """P4: a refund belongs to a payment."""
    _require_opened(books, wallet, position)
    wallet.refunded += event.amount
    wallet.balance += event.amount
    books.totals.refunded += event.amount
    refund = books.append.refunds.at(event.payment_id, position)
    refund.credits.append((wallet, event.amount, wallet.balance))


def charging_suspended(books: Books, wallet: Wallet, event: ChargingSuspended, position: int) -> None:
    """W3: a reservation that opens forbids charging until its deadline."""
    _require_opened(books, wallet, position)
    opening = books.append.openings.at(event.reservation_id, position)
    opening.suspended = (wallet, event.until)
    if event.reservation_id in wallet.suspended:
        books.breach("W3", wallet.name, [position], "one reservation suspends charging twice")
    wallet.suspended[event.reservation_id] = event.until


def charging_resumed(books: Books, wallet: Wallet, event: OfReservation, position: int) -> None:
    """W3: a reservation that ends lifts what it had forbidden."""
    books.append.endings.at(event.reservation_id, position)
    if wallet.suspended.pop(event.reservation_id, None) is None:
        detail = f"the reservation {event.reservation_id} had not suspended charging"
        books.breach("W3", wallet.name, [position], detail)


def _require_opened(books: Books, wallet: Wallet, position: int) -> None:
    if not wallet.opened:
        books.breach("W1", wallet.name, [position], "the wallet was never opened")


TOPICS: Topics = {
    "wallet.opened": (Nothing, opened),
    "wallet.charged": (WalletCharged, charged),
    "wallet.debited": (WalletMoved, debited),
    "wallet.refunded": (WalletMoved, refunded),
    "wallet.charging_suspended": (ChargingSuspended, charging_suspended),
    "wallet.charging_resumed": (OfReservation, charging_resumed),
}
