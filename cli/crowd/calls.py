"""The calls that buyers make, through a bounded number of sockets, each measured by its name."""

import asyncio
import random
from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Any, Final, NamedTuple, TypeVar

import msgspec

from cli.crowd.connections import Answer, Connections, NotHttp

T = TypeVar("T")

REQUEST_TIMEOUT_S: Final = 30
"""Longer than the service lets any call take: its append deadline is 5 s, its longest wait 2 s."""

LOST_CALLS_MAX: Final = 8
"""A buyer whose call got no answer so often in a row gives up: with the pauses, after about 15 s."""

PAUSE_S_MIN: Final = 0.1
PAUSE_S_MAX: Final = 4.0

REPEATABLE: Final = frozenset(
    {"OVERLOADED", "TRY_AGAIN", "STORE_UNAVAILABLE", "READ_MODEL_BEHIND", "QUEUE_FULL", "RATE_LIMITED"}
)
"""Refusals that pass with time: after their Retry-After the same call is made again."""

HTTP_ERROR: Final = 400


class NoAnswer(Exception):
    """The service did not answer, however often it was asked."""


class Problem(Exception):
    """A refusal: the service answered with a problem document."""

    def __init__(self, name: str, code: str, members: Mapping[str, Any], position: int = 0) -> None:
        super().__init__(f"{name}: {code}")
        self.code = code
        self.members = members
        self.position = position
        """The log position that it reflects, 0 where it names none."""


class UnexpectedAnswer(Exception):
    """The service answered with something that is not in its contract."""


class Reply(NamedTuple):
    """A good answer."""

    status: int
    body: bytes
    position: int
    """The log position that it reflects, 0 where it names none."""

    def read(self, shape: type[T]) -> T:
        """Decode the body. Raises UnexpectedAnswer."""
        try:
            return msgspec.json.decode(self.body, type=shape)
        except msgspec.DecodeError as error:
            raise UnexpectedAnswer(f"{self.status}, but {error}") from error


class _ProblemBody(msgspec.Struct):
    code: str


class Measured:
    """What all calls together have shown so far."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, list[float]] = defaultdict(list)
        """How long the answered calls took, by call."""
        self.statuses: defaultdict[str, Counter[int]] = defaultdict(Counter)
        """Their answers' statuses, by call."""
        self.refusals: defaultdict[str, Counter[str]] = defaultdict(Counter)
        """Problem codes, by call."""
        self.unexpected: Counter[str] = Counter()
        """What no contract documents: an unknown code, a 500, a lost connection, an answer we cannot read."""
        self.seconds_for_a_socket: list[float] = []
        """How long calls waited in this process until one of its sockets was free."""
        self.position = 0
        """The latest log position that any answer named."""

    @property
    def count(self) -> int:
        """How many calls were answered."""
        return sum(map(len, self.seconds.values()))


class Service:
    """The running service, as the crowd reaches it."""

    def __init__(self, connections: Connections) -> None:
        """Calls begin with the path of the API's version, which the connections' URL ends with."""
        self.measured = Measured()
        self._connections = connections

    async def call(
        self,
        name: str,
        method: str,
        path: str,
        *,
        body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """Make one call, again and again where that makes sense, and return its good answer.

        A command must carry an Idempotency-Key: whoever lost an answer asks again with the same key.
        Raises Problem, NoAnswer, UnexpectedAnswer.
        """
        content = None if body is None else msgspec.json.encode(body)
        lost = 0
        while True:
            try:
                return await self._attempt(name, method, path, content, headers or {})
            except _AskAgain as again:
                await asyncio.sleep(again.after_s * _chance(1, 1.25))
            except (OSError, NotHttp) as error:
                lost += 1
                self.measured.unexpected[f"{name}: {in_words(error)}"] += 1
                if lost == LOST_CALLS_MAX:
                    raise NoAnswer(f"{name}: {in_words(error)}") from error
                await asyncio.sleep(min(PAUSE_S_MAX, PAUSE_S_MIN * 2**lost) * _chance(0.5, 1))

    async def _attempt(
        self, name: str, method: str, path: str, body: bytes | None, headers: Mapping[str, str]
    ) -> Reply:
        answer = await self._connections.ask(
            method, path, headers=headers, body=body, within_s=REQUEST_TIMEOUT_S
        )
        self.measured.seconds_for_a_socket.append(answer.waited_s)
        self.measured.seconds[name].append(answer.took_s)
        self.measured.statuses[name][answer.status] += 1
        position = _number(answer, b"log-position") or 0
        self.measured.position = max(self.measured.position, position)
        if answer.status >= HTTP_ERROR:
            raise self._refusal(name, answer, position)
        return Reply(answer.status, answer.body, position)

    def _refusal(self, name: str, answer: Answer, position: int) -> Exception:
        code = _code(answer.body)
        if code is None:
            self.measured.unexpected[f"{name}: {answer.status} without a problem document"] += 1
            return UnexpectedAnswer(f"{answer.status} without a problem document")
        self.measured.refusals[name][code] += 1
        retry_after_s = _number(answer, b"retry-after")
        if code in REPEATABLE and retry_after_s is not None:
            return _AskAgain(retry_after_s)
        return Problem(name, code, msgspec.json.decode(answer.body), position)


class _AskAgain(Exception):
    """The refusal passes with time."""

    def __init__(self, after_s: int) -> None:
        super().__init__(after_s)
        self.after_s = after_s


def _number(answer: Answer, header: bytes) -> int | None:
    value = answer.headers.get(header, b"")
    return int(value) if value.isdigit() else None


def _chance(low: float, high: float) -> float:
    return random.uniform(low, high)  # noqa: S311 (so that those who try again do not come all at once)


def in_words(error: Exception) -> str:
    """Say what went wrong on the way."""
    match error:
        case TimeoutError():
            return "no answer in time"
        case OSError(strerror=reason) if reason:
            return reason
        case NotHttp():
            return f"not HTTP ({error})"
        case _:
            return type(error).__name__


def _code(content: bytes) -> str | None:
    try:
        return msgspec.json.decode(content, type=_ProblemBody).code
    except msgspec.DecodeError:
        return None
