"""A crowd comes for a concert: a long, valid log with all that happens in a sale, the same for each seed."""

from collections.abc import Iterator
from datetime import timedelta
from random import Random

from tests.audit.log_builder import LogBuilder, StoredEvent, id_of

ROOM = 40
"""How many are let in at a time."""

BATCH = 16
"""How many commands share an append."""

PRICE = 50_000


class Crowd:
    """So many buyers, in one concert after another, until each concert's doors close behind them."""

    def __init__(self, log: LogBuilder, *, buyers: int, seed: int = 1) -> None:
        self._log = log
        self._buyers = buyers
        self._random = Random(seed)
        self._lacking: dict[str, int] = {}

    def concerts(self, count: int) -> Iterator[list[StoredEvent]]:
        """Play `count` concerts; hand out what was written from time to time, and forget it."""
        for number in range(1, count + 1):
            yield from self._concert(f"SHOW-{number}")

    def _written(self) -> list[StoredEvent]:
        events = self._log.events
        self._log.events = []
        return events

    def _concert(self, code: str) -> Iterator[list[StoredEvent]]:
        log = self._log
        first_come = log.position
        starts_at = log.now + timedelta(days=3)
        show = f"{starts_at:%Y-%m-%dT%H:%M}"
        seats = max(1, self._buyers // 2)
        log.announce(code, max_active=ROOM, refund_until_s=None)
        log.schedule(code, show, starts_at, [(1, seats, "STANDARD", PRICE)])
        log.open_sales(code)
        users = [id_of("user", first_come + index) for index in range(self._buyers)]
        for batch in _in_batches(users):
            self._join(code, batch)
        free = list(range(1, seats + 1))
        while len(log.sales[code].line) and free:
            yield self._written()
            self._visits(code, show, free)
        for user_id in list(log.sales[code].line.values()):
            log.leave(code, user_id)
        log.now = max(log.now, starts_at)
        log.withdraw(code, show)
        log.close_sales(code)
        self._forget(code)
        yield self._written()

    def _join(self, code: str, users: list[str]) -> None:
        log = self._log
        with log.append():
            for user_id in users:
                log.open_wallet(user_id)
                log.charge(user_id, 4 * PRICE)
        with log.append():
            for user_id in users:
                log.join(code, user_id)

    def _visits(self, code: str, show: str, free: list[int]) -> None:
        """Let a group in; most reserve and pay, some leave, some are too slow, a few are refunded."""
        log, random = self._log, self._random
        for user_id in random.sample(list(log.sales[code].line.values()), k=len(log.sales[code].line) // 20):
            log.leave(code, user_id)
        count = min(ROOM, len(log.sales[code].line), len(free))
        group = [user_id for _, user_id in sorted(log.sales[code].line.items())[:count]]
        if not group:
            return
        log.let_in(code, count)
        slow: list[tuple[str, str]] = []
        for batch in _in_batches(group):
            slow += self._reserve_and_pay(code, show, batch, free)
        log.pass_time(601)
        for user_id, reservation_id in slow:
            with log.append():
                if reservation_id:
                    free.extend(log.bookings[reservation_id].seat_numbers)
                    log.expire_hold(reservation_id)
                log.expire_token(code, user_id)

    def _reserve_and_pay(
        self, code: str, show: str, users: list[str], free: list[int]
    ) -> list[tuple[str, str]]:
        log, random = self._log, self._random
        reserved: dict[str, str] = {}
        with log.append():
            for user_id in users:
                wanted = random.randint(1, min(3, len(free))) if free else 0
                if wanted:
                    numbers = [free.pop(random.randrange(len(free))) for _ in range(wanted)]
                    reserved[user_id] = log.reserve(code, user_id, *numbers, show=show)
        paid: list[str] = []
        with log.append():
            for user_id, reservation_id in list(reserved.items()):
                chance = random.random()
                if chance < 0.85:
                    log.pay(reservation_id)
                    paid.append(reservation_id)
                elif chance < 0.95:
                    free.extend(log.bookings[reservation_id].seat_numbers)
                    log.leave(code, user_id)
                else:
                    continue
                del reserved[user_id]
        for reservation_id in paid:
            if random.random() < 0.03:
                free.extend(log.bookings[reservation_id].seat_numbers)
                log.refund(reservation_id)
        return [(user_id, reserved.get(user_id, "")) for user_id in users if (code, user_id) in log.visits]

    def _forget(self, code: str) -> None:
        log = self._log
        log.bookings.clear()
        log.holders.clear()
        log.forget_streams(f"/{code}/", "payment/", "reservation/")


def _in_batches(users: list[str]) -> Iterator[list[str]]:
    for start in range(0, len(users), BATCH):
        yield users[start : start + BATCH]
