"""The whole crowd: buyers prepare, come when it is their time, and go home one after another."""

import asyncio
from collections import Counter
from collections.abc import Sequence

from cli.crowd.buyer import Buyer
from cli.crowd.calls import Service
from cli.crowd.visit import Stage, Visit, Wish
from infrastructure.pause import pause


class Crowd:
    """As many buyers as there are `arrivals`, which say when each comes, in seconds from the start."""

    def __init__(self, service: Service, wish: Wish, arrivals: Sequence[float]) -> None:
        self.service = service
        self.places: Counter[str] = Counter({Stage.PREPARING: len(arrivals)})
        """How many buyers are at each stage, or went home how."""
        self.seconds = 0.0
        """From the first arrival to the last end."""
        self.sent_home = asyncio.Event()
        """Set where the crowd was told to end before its time."""
        self._arrivals = arrivals
        self._buyers = [Buyer(service, wish, self._moved) for _ in arrivals]

    def send_home(self) -> None:
        """Have everyone give up, and give back their places in line."""
        self.sent_home.set()
        for buyer in self._buyers:
            buyer.lose_patience()

    async def run(self) -> Sequence[Visit]:
        """Let everyone register and charge, then come; return what became of each, in order of arrival."""
        await asyncio.gather(*(buyer.prepare() for buyer in self._buyers))
        clock = asyncio.get_running_loop().time
        began_at = clock()
        visits = await asyncio.gather(
            *(
                self._visit(buyer, began_at + arrival)
                for buyer, arrival in zip(self._buyers, self._arrivals, strict=True)
            )
        )
        self.seconds = clock() - began_at
        return visits

    async def _visit(self, buyer: Buyer, comes_at: float) -> Visit:
        await pause(comes_at - asyncio.get_running_loop().time(), self.sent_home)
        return await buyer.visit()

    def _moved(self, before: str, after: str) -> None:
        self.places[before] -= 1
        self.places[after] += 1
