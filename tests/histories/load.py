"""The load: many clients, each with a seed of its own, against a running service."""

import asyncio
from contextlib import suppress

import aiohttp

from tests.histories.buyer import Buyer
from tests.histories.client import Client, Target, new_session
from tests.histories.hall import Hall
from tests.histories.record import Recorder
from tests.histories.running_sales import Operator

BUYERS = 24

LOOK_BACK_WITHIN_S = 30.0
"""The service may be recovering from something; one that does not is for the history to tell."""


async def run_load(
    target: Target, *, seed: object, seconds: float, recorder: Recorder, buyers: int = BUYERS
) -> None:
    """Play for so long, then read back all that is known of each user.

    A service that fails does not end it: what became of a call is recorded, and the client goes on as a good
    one does, with the same Idempotency-Key.
    """
    async with new_session() as session:
        load = _Load(target, seed, recorder, session, buyers)
        await load.play(seconds)
        await load.look_back()


class _Load:
    def __init__(
        self, target: Target, seed: object, recorder: Recorder, session: aiohttp.ClientSession, buyers: int
    ) -> None:
        def client(name: str) -> Client:
            return Client(name, target, session, recorder, seed)

        self._hall = Hall(seed)
        self._clients = [client(f"buyer-{number}") for number in range(buyers)]
        self._buyers = [Buyer(buying, self._hall) for buying in self._clients]
        self._operator = Operator(client("operator"), self._hall)
        self._meddler = Operator(client("meddler"), self._hall)
        self._poller = client("poller")

    async def play(self, seconds: float) -> None:
        while not self._hall.on_sale:
            await self._operator.open_hall()
        playing = [
            asyncio.create_task(part)
            for part in (
                self._operator.announce_concerts(),
                self._meddler.interfere(),
                self._poll_concerts(),
                *(buyer.live() for buyer in self._buyers),
            )
        ]
        done, _ = await asyncio.wait(playing, timeout=seconds, return_when=asyncio.FIRST_EXCEPTION)
        for part in playing:
            part.cancel()
        await asyncio.wait(playing)
        for part in done:
            part.result()  # a defect of the load itself

    async def look_back(self) -> None:
        """Read all users' histories, each not before everything that anyone was told."""
        seen = max(client.position for client in self._clients)
        for client in self._clients:
            client.position = seen
        with suppress(TimeoutError):
            async with asyncio.timeout(LOOK_BACK_WITHIN_S):
                await asyncio.gather(*(buyer.look_back() for buyer in self._buyers))

    async def _poll_concerts(self) -> None:
        while True:
            await self._poller.read("concerts", "/concerts", fresh=False)
            code = self._poller.rng.choice(self._hall.on_sale).code
            await self._poller.read("concert", f"/concerts/{code}", code=code)
            await self._poller.pause(0.1, 0.5)
