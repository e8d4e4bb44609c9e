"""Somebody who asks each API process for something all the time: they see how long everyone has to wait.

Each probe charges a wallet of its own, again and again with the same key until that is acknowledged, and then
reads it back, not before the charge. What was acknowledged has to be in the wallet, once, at the end.
"""

import asyncio
import time
from collections import Counter
from typing import Final, NamedTuple, Protocol
from uuid import uuid4

import aiohttp
import msgspec

ANSWER_WITHIN_S: Final = 12.0
"""Longer than the service lets any call take."""

PAUSE_S: Final = 0.05
AGAIN_AFTER_S: Final = 0.05
"""More impatient than a client should be, so that the end of a wait is seen at once."""


class Done(NamedTuple):
    """Something that was wanted, from when it was wanted to when it was done."""

    api: int
    """1 or 2; 0 where it is not one of them that is waited for."""
    kind: str
    """`command`, `read`, or the worker's role."""
    began: float
    """By a monotonic clock."""
    ended: float
    refusals: str = ""
    """What came before, such as `STORE_UNAVAILABLE 3, lost 1`."""

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.ended - self.began


class Observer(Protocol):
    """Who sees how long something has to be waited for."""

    done: list[Done]

    async def run(self, stop: asyncio.Event) -> None:
        """Observe until `stop`."""
        ...


class _Wallet(msgspec.Struct):
    balance: int


class Probe:
    """Asks one API process."""

    def __init__(self, api: int, url: str) -> None:
        self.done: list[Done] = []
        self.acknowledged = 0
        """Won in all charges that were acknowledged."""
        self._api = api
        self._url = f"{url}/api/v1/users"
        self.user_id = str(uuid4())
        self._position = "0"

    async def run(self, stop: asyncio.Event) -> None:
        """Ask until `stop`, and finish what has been begun."""
        timeout = aiohttp.ClientTimeout(total=ANSWER_WITHIN_S)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            await self._until_done(session, "command", "POST", "", {"user_id": self.user_id})
            while not stop.is_set():
                amount = len(self.done) % 97 + 1
                path = f"/{self.user_id}/wallet"
                await self._until_done(session, "command", "POST", f"{path}/charges", {"amount": amount})
                self.acknowledged += amount
                await self._until_done(session, "read", "GET", f"{path}/entries?limit=1")
                await asyncio.sleep(PAUSE_S)

    async def balance(self) -> int:
        """Read the wallet."""
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"{self._url}/{self.user_id}/wallet", raise_for_status=True) as answer,
        ):
            return msgspec.json.decode(await answer.read(), type=_Wallet).balance

    async def _until_done(
        self,
        session: aiohttp.ClientSession,
        kind: str,
        method: str,
        path: str,
        body: object = None,
    ) -> None:
        key = {"Idempotency-Key": str(uuid4())} if method == "POST" else {"Min-Log-Position": self._position}
        refusals: Counter[str] = Counter()
        began = time.monotonic()
        while True:
            try:
                async with session.request(method, self._url + path, json=body, headers=key) as answer:
                    content = await answer.read()
                if answer.ok:
                    self._position = answer.headers["Log-Position"] if method == "POST" else self._position
                    break
                refusals[str(msgspec.json.decode(content)["code"])] += 1
            except (aiohttp.ClientError, TimeoutError) as error:
                refusals[type(error).__name__] += 1
            await asyncio.sleep(AGAIN_AFTER_S)
        said = ", ".join(f"{code} {count}" for code, count in sorted(refusals.items()))
        self.done.append(Done(self._api, kind, began, time.monotonic(), said))
