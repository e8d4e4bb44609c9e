"""What clients asked, when, and what they were answered: one line of JSON for each attempt."""

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec


class Call(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One attempt of one client, from before its request left to after its answer was whole."""

    client: str
    kind: str
    """What it is, in a word: `reserve`, `pay`, `seats`, …"""
    sent: float
    """Seconds since the recording began, by a monotonic clock."""
    answered: float | None = None
    """None where no answer came: then it may have happened or not, or may yet happen."""
    method: str
    path: str
    """With its query."""
    body: Any = None
    key: str | None = None
    """The Idempotency-Key."""
    code: str | None = None
    """The concert that it is about."""
    user_id: str | None = None
    """Who asks: the owner of the token shown, or whom the path or the body names."""
    token_id: str | None = None
    """The token shown."""
    min_position: int = 0
    if_none_match: str | None = None
    status: int | None = None
    answer: str = ""
    """The body, as it came."""
    content_type: str | None = None
    position: int | None = None
    """The answer's Log-Position."""
    retry_after: str | None = None
    etag: str | None = None
    failure: str = ""
    """How the answer was lost."""
    never_sent: bool = False
    """Whether it is certain that the service saw nothing of it: nobody listened."""

    @property
    def view(self) -> Any:
        """The answer's body, None where it has none or is not JSON."""
        try:
            return msgspec.json.decode(self.answer) if self.answer else None
        except msgspec.DecodeError:
            return None

    @property
    def error(self) -> str | None:
        """The code of the refusal."""
        view = self.view if self.status is not None and self.status >= 400 else None
        return view.get("code") if isinstance(view, dict) else None

    @property
    def outcome(self) -> str:
        """The status or the error's code, `lost` where no answer came."""
        return "lost" if self.status is None else self.error or str(self.status)


class History(msgspec.Struct, frozen=True):
    """Everything that was asked, in the order in which it was sent."""

    calls: Sequence[Call]

    @classmethod
    def of(cls, calls: Iterable[Call]) -> "History":
        """Put the calls in order."""
        return cls(sorted(calls, key=lambda call: call.sent))

    @classmethod
    def read(cls, path: Path) -> "History":
        """Read what a recorder wrote."""
        with path.open("rb") as lines:
            return cls.of(msgspec.json.decode(line, type=Call) for line in lines)


class Recorder:
    """Keeps the calls of all clients, in a file of JSON lines too where one is named."""

    def __init__(self, path: Path | None = None) -> None:
        self.calls: list[Call] = []
        self.counts: Counter[tuple[str, str]] = Counter()
        """Attempts by kind and outcome."""
        self._began_at = time.monotonic()
        self._file = None if path is None else path.open("wb")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()

    def now(self) -> float:
        """Seconds since the recording began."""
        return time.monotonic() - self._began_at

    def add(self, call: Call) -> None:
        """Keep one call, once its outcome is known or lost."""
        self.calls.append(call)
        self.counts[call.kind, call.outcome] += 1
        if self._file is not None:
            self._file.write(msgspec.json.encode(call) + b"\n")

    @property
    def history(self) -> History:
        """All calls so far."""
        return History.of(self.calls)
