"""What is on sale just now, as operators and buyers of one load know it."""

import random
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

CONCERTS_MAX = 3
"""At once: the fewer, the more its buyers get in each other's way."""

PRICES = (10_000, 30_000, 70_000)


SEOUL = ZoneInfo("Asia/Seoul")
"""Where all halls are."""

BEGINS_SOON = 0.2
"""How many performances begin while they are sold."""


class Showing(NamedTuple):
    """A performance."""

    date: str
    start_time: str
    seats: int


class OnSale(NamedTuple):
    """A concert that buyers may come for."""

    code: str
    showings: tuple[Showing, ...]


class Hall:
    """The concerts of a load; the oldest makes room."""

    def __init__(self, seed: object) -> None:
        self._rng = random.Random(f"{seed}/hall")
        self._prefix = f"H{self._rng.getrandbits(40):010X}"
        self._announced = 0
        self.on_sale: list[OnSale] = []

    def new_concert(self) -> tuple[str, dict[str, Any]]:
        """Think of a concert with a policy of its own; return its code and the body that announces it."""
        self._announced += 1
        code = f"{self._prefix}-{self._announced}"
        return code, {
            "code": code,
            "title": f"Evening {self._announced}",
            "category": "CONCERT",
            "venue": "Small Hall",
            "policy": self.new_policy(),
        }

    def new_performance(self, day: int) -> dict[str, Any]:
        """Think of a small performance, far ahead, or one that begins within two minutes."""
        seats = self._rng.randint(3, 8)
        price, better = self._rng.sample(PRICES, 2)
        starts = datetime.now(SEOUL) + timedelta(days=300 + day)
        if self._rng.random() < BEGINS_SOON:
            starts = datetime.now(SEOUL) + timedelta(seconds=90)
        return {
            "date": starts.date().isoformat(),
            "start_time": f"{starts:%H:%M}",
            "seats": [
                {"first": 1, "last": seats, "type": "STANDARD", "price": price},
                {"first": seats + 1, "last": seats + 3, "type": "VIP", "price": better},
            ],
        }

    def new_policy(self) -> dict[str, Any]:
        """Think of a policy under which everything ends soon."""
        choice = self._rng.choice
        return {
            "max_active": choice([2, 4, 8, None]),
            "admit_per_interval": choice([None, None, 6]),
            "admit_interval_s": 1,
            "admit_up_to_seats_left": choice([True, False]),
            "max_waiting": choice([1_000_000, 1_000_000, 3]),
            "active_ttl_s": self._rng.randint(3, 12),
            "hold_ttl_s": self._rng.randint(1, 4),
            "max_seats_per_user": self._rng.randint(1, 4),
            "on_insufficient_balance": choice(["keep_hold", "release_hold", "release_hold_and_end_token"]),
            "charge_while_holding": choice([True, True, False]),
            "refund_until_s": choice([86_400, None, 31_000_000]),
        }

    def put_on_sale(self, concert: OnSale) -> None:
        """Have buyers come for it."""
        self.on_sale.append(concert)
        del self.on_sale[:-CONCERTS_MAX]
