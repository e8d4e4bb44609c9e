"""Races for seats: many buyers, fewer seats, and exactly as many winners as seats."""

from collections import Counter
from collections.abc import Sequence
from typing import Final

from bench import calls
from bench.calls import HALL_SEATS, Buyer
from bench.client import Flow
from bench.measured import UnexpectedAnswer

RACES: Final = 7
"""In each measurement: with three of them there are more than twenty."""

TRIES: Final = 15
"""How many seats one client of a race goes for at most."""


class Races:
    """Each client is another buyer in each race, and tries one seat after another from its own on."""

    def __init__(self, code: str, racers: Sequence[Buyer], clients: int) -> None:
        """`racers` are `RACES` for each client; each race is for another performance of the concert."""
        self._code = code
        self._racers = racers
        self._clients = clients
        self._won: Counter[int] = Counter()

    def request(self, race: int, racer: Buyer, seat: int) -> bytes:
        """Go for a seat. The first day's are left for those who only look."""
        return calls.reserve(self._code, race + 1, seat, racer.token)

    def run(self, client: int) -> Flow:
        """Take part in all races."""
        for race in range(RACES):
            racer = self._racers[race * self._clients + client]
            for attempt in range(TRIES):
                answer = yield self.request(race, racer, (client + attempt) % HALL_SEATS)
                if answer.status == 201:
                    self._won[race] += 1
                    break
                if answer.status != 409 or b"SEAT_ALREADY_HELD" not in answer.body:
                    raise UnexpectedAnswer(f"in a race: {answer}")

    def check(self) -> None:
        """Raise UnexpectedAnswer unless as many have won each race as there were seats."""
        if any(self._won[race] != HALL_SEATS for race in range(RACES)):
            raise UnexpectedAnswer(f"{HALL_SEATS} should have won each race, but: {dict(self._won)}")
