"""One client of the service: it makes calls, has each attempt recorded, and asks again like a good client."""

import asyncio
import random
from collections.abc import Sequence
from typing import Any, NamedTuple
from urllib.parse import urlencode
from uuid import UUID

import aiohttp
import msgspec

from tests.histories.record import Call, Recorder

API = "/api/v1"

ANSWER_WITHIN_S = 15.0
"""Longer than the service lets any call take."""

LOST_MAX = 40
"""With the pauses about a minute: longer than any fault is let last."""

PAUSE_S_MAX = 2.0

PASSING = frozenset({"OVERLOADED", "TRY_AGAIN", "STORE_UNAVAILABLE", "READ_MODEL_BEHIND"})
"""Refusals that say nothing of the request: the same call is made again, with the same key."""


class Target(NamedTuple):
    """A running service."""

    urls: Sequence[str]
    """Of its API processes, or of the one port that they share."""
    admin_key: str


class Visit(NamedTuple):
    """A token that a user was given."""

    signed_token: str
    token_id: str
    user_id: str
    code: str
    queue_number: int


class Client:
    """One connection's worth of patience and memory: it never reads behind what it has seen."""

    def __init__(
        self, name: str, target: Target, session: aiohttp.ClientSession, recorder: Recorder, seed: object
    ) -> None:
        self.name = name
        self.rng = random.Random(f"{seed}/{name}")
        self.position = 0
        """The latest Log-Position that it was told."""
        self._target = target
        self._session = session
        self._recorder = recorder

    def new_key(self) -> str:
        """A new Idempotency-Key, or user id; the same in every run of the seed."""
        return str(UUID(int=self.rng.getrandbits(128), version=4))

    def chance(self, probability: float) -> bool:
        """Toss a coin."""
        return self.rng.random() < probability

    async def pause(self, low_s: float, high_s: float) -> None:
        """Do nothing for a while."""
        await asyncio.sleep(self.rng.uniform(low_s, high_s))

    async def command(
        self,
        kind: str,
        method: str,
        path: str,
        body: Any = None,
        *,
        key: str | None = None,
        **about: Any,
    ) -> Call:
        """Send a command; with a key again and again until it is answered, without one once."""
        return await self._ask(kind, method, path, body, key=key, repeatable=key is not None, **about)

    async def read(self, kind: str, path: str, *, fresh: bool = True, **about: Any) -> Call:
        """Read something, by default no older than what this client has seen."""
        min_position = self.position if fresh else 0
        return await self._ask(kind, "GET", path, min_position=min_position, repeatable=True, **about)

    async def _ask(
        self, kind: str, method: str, path: str, body: Any = None, *, repeatable: bool, **about: Any
    ) -> Call:
        lost = 0
        while True:
            call = await self._attempt(kind, method, path, body, **about)
            if call.position is not None:
                self.position = max(self.position, call.position)
            if call.status is not None and call.error not in PASSING:
                return call
            lost += 1
            if not (repeatable or _is_certainly_nothing(call)) or lost > LOST_MAX:
                return call
            after_s = float(call.retry_after or 0.1 * 2 ** min(lost, 5))
            await asyncio.sleep(min(PAUSE_S_MAX, after_s) * self.rng.uniform(0.5, 1.2))

    async def _attempt(
        self,
        kind: str,
        method: str,
        path: str,
        body: Any,
        *,
        key: str | None = None,
        visit: Visit | None = None,
        admin: bool = False,
        code: str | None = None,
        user_id: str | None = None,
        min_position: int = 0,
        if_none_match: str | None = None,
        query: dict[str, Any] | None = None,
    ) -> Call:
        place = API + path + (f"?{urlencode(query)}" if query else "")
        call = Call(
            client=self.name,
            kind=kind,
            sent=self._recorder.now(),
            method=method,
            path=place,
            body=body,
            key=key,
            code=code or (visit.code if visit else None),
            user_id=user_id or (visit.user_id if visit else None),
            token_id=visit.token_id if visit else None,
            min_position=min_position,
            if_none_match=if_none_match,
        )
        credentials = self._target.admin_key if admin else visit.signed_token if visit else None
        try:
            call = await self._exchange(call, credentials)
        except aiohttp.ClientConnectorError as error:
            call = msgspec.structs.replace(call, failure=type(error).__name__, never_sent=True)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            call = msgspec.structs.replace(call, failure=type(error).__name__)
        finally:
            self._recorder.add(call)
        return call

    async def _exchange(self, call: Call, credentials: str | None) -> Call:
        headers = _headers(call, credentials)
        content = None if call.body is None else msgspec.json.encode(call.body)
        url = self.rng.choice(self._target.urls)
        async with self._session.request(
            call.method, url + call.path, data=content, headers=headers
        ) as response:
            answer = (await response.read()).decode()
            position = response.headers.get("Log-Position", "")
            return msgspec.structs.replace(
                call,
                answered=self._recorder.now(),
                status=response.status,
                answer=answer,
                content_type=response.headers.get("Content-Type"),
                position=int(position) if position.isdecimal() else None,
                retry_after=response.headers.get("Retry-After"),
                etag=response.headers.get("ETag"),
            )


def new_session() -> aiohttp.ClientSession:
    """The sockets of all clients."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0),
        timeout=aiohttp.ClientTimeout(total=ANSWER_WITHIN_S),
        skip_auto_headers=("User-Agent", "Content-Type"),
    )


def _headers(call: Call, credentials: str | None) -> dict[str, str]:
    headers = {
        "Authorization": credentials and f"Bearer {credentials}",
        "Content-Type": None if call.body is None else "application/json",
        "Idempotency-Key": call.key,
        "If-None-Match": call.if_none_match,
        "Min-Log-Position": str(call.min_position) if call.min_position else None,
    }
    return {name: value for name, value in headers.items() if value is not None}


def _is_certainly_nothing(call: Call) -> bool:
    """Whether the service said that it recorded nothing: then anyone may ask again."""
    if call.never_sent:
        return True
    return call.error in PASSING and (call.view or {}).get("outcome") != "UNKNOWN"
