"""The books: all that the audit knows at one place in the log."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from audit.append import Append, Tally
from audit.breaches import Breaches, Rule
from audit.ledger import PaymentRow, PaymentStatus, payment_row
from audit.state import Concert, Payment, Performance, Queue, Reservation, Seat, Stream, Tokens, Wallet
from audit.stored import is_seat_number

BEGINNING = datetime.min.replace(tzinfo=UTC)


class Totals:
    """Sums over all wallets and payments, in won."""

    def __init__(self) -> None:
        """Start with nothing."""
        self.wallets = 0
        self.charged = 0
        self.debited = 0
        self.refunded = 0
        self.completed = 0
        self.failed = 0
        self.payments_refunded = 0
        self.amount_completed = 0
        self.amount_refunded = 0


class Books:
    """Each stream that is still open, the append that is being read, and what was found wrong."""

    def __init__(self, on_payment: Callable[[PaymentRow], None] | None = None) -> None:
        """Start before the first event; `on_payment` is told each payment once nothing more may change it."""
        self.streams: dict[str, Stream] = {}
        self.concerts: dict[str, Concert] = {}
        self.append = Append()
        self.now = BEGINNING
        """When the append that is being read was recorded."""
        self.breaches = Breaches()
        self.totals = Totals()
        self._on_payment = on_payment

    def breach(self, rule: Rule, stream: str, positions: Sequence[int], detail: str) -> None:
        """Note that the events at `positions` contradict `rule`."""
        self.breaches.add(rule, stream, positions, detail)

    def open_stream(self, name: str) -> Stream | None:
        """Begin to follow the stream called `name`; None where no stream can be called that."""
        stream = self._new_stream(name)
        if stream is not None:
            self.streams[name] = stream
        return stream

    def _new_stream(self, name: str) -> Stream | None:
        match name.split("/"):
            case ["seat", code, performance, number] if is_seat_number(number):
                return self._new_seat(name, code, performance, int(number))
            case ["token", code, _user_id]:
                return Tokens(name=name, partition_key=self.concert(code).partition_key)
            case ["reservation", _id]:
                return Reservation(name=name)
            case ["payment", _id]:
                return Payment(name=name)
            case ["wallet", user_id]:
                return Wallet(name=name, partition_key=user_id)
            case ["concert", code]:
                return self.concert(code)
            case ["queue", code]:
                return self.concert(code).queue
            case _:
                return None

    def _new_seat(self, name: str, code: str, performance_name: str, number: int) -> Seat:
        concert = self.concert(code)
        performance = concert.performances.get(performance_name) or Performance(name=performance_name)
        performance.streams.add(name)
        return Seat(name=name, partition_key=concert.partition_key, performance=performance, number=number)

    def concert(self, code: str) -> Concert:
        """Return the concert; one that was never announced has no performances, and its sales are closed."""
        concert = self.concerts.get(code)
        if concert is None:
            queue = Queue(name=f"queue/{code}", partition_key=code)
            concert = Concert(name=f"concert/{code}", partition_key=code, queue=queue)
            self.concerts[code] = concert
        return concert

    def reservation(self, reservation_id: str) -> Reservation | None:
        """Return the reservation, if it was opened and may still change."""
        found = self.streams.get(f"reservation/{reservation_id}")
        return found if isinstance(found, Reservation) and found.position else None

    def tokens(self, code: str, user_id: str) -> Tokens | None:
        """Return the user's tokens for that concert, if there were any."""
        found = self.streams.get(f"token/{code}/{user_id}")
        return found if isinstance(found, Tokens) else None

    def wallet(self, user_id: str) -> Wallet | None:
        """Return the user's wallet, if it has any events."""
        found = self.streams.get(f"wallet/{user_id}")
        return found if isinstance(found, Wallet) else None

    def forget(self, name: str) -> None:
        """Drop a stream to which nothing more may happen; a payment is told as it stands."""
        stream = self.streams.pop(name, None)
        if isinstance(stream, Payment) and stream.completed:
            self.tell(stream, "COMPLETED")

    def forget_if_over(self, performance: Performance) -> None:
        """Drop what hangs on a performance that has begun and whose last reservation is settled."""
        if performance.withdrawn and not performance.open_reservations:
            for name in sorted(performance.streams):
                self.forget(name)
            performance.streams.clear()

    def tell(self, payment: Payment, status: PaymentStatus) -> None:
        """Tell one payment to whoever keeps a list of them."""
        if self._on_payment is not None:
            self._on_payment(payment_row(payment, status, self.now))

    def tally(self, concert: Concert) -> Tally:
        """What this append's individual events count up to for the concert's queue."""
        found = self.append.tallies.get(concert.partition_key)
        if found is None:
            queue = concert.queue
            found = Tally(concert, next_number=queue.issued + 1, seats_left=sum(queue.unsold.values()))
            self.append.tallies[concert.partition_key] = found
        return found
