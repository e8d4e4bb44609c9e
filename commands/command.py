"""What a command is, and what the bus has to know of each kind to run it."""

from collections.abc import Callable, Iterable
from typing import Any, ClassVar, NamedTuple, Protocol, TypeVar

import msgspec

from aggregates.ids import TokenId
from aggregates.stream import Stream
from commands.unit_of_work import Refused, UnitOfWork

S = TypeVar("S")


class Command(msgspec.Struct, frozen=True):
    """A wish to change something. New ids come with it, so that deciding again changes nothing."""

    ends_batch: ClassVar[bool] = False
    """Whether what follows must not be decided in the same append (pausing, closing, changing the policy)."""


C = TypeVar("C", bound=Command)


class Peek(Protocol):
    """A look at what this process remembers of a stream: perhaps out of date, good enough to read ahead."""

    def __call__(self, stream: Stream[S], /) -> S | None:
        """Return the remembered state, None where nothing is remembered."""
        ...


def _nobody(_command: Any) -> TokenId | None:
    return None


class Handler(NamedTuple):
    """How one kind of command is run."""

    handle: Callable[[Any, UnitOfWork], Any | Refused]
    """Load, decide, record. Returns the result, or raises a DomainError for a refusal without a trace."""
    streams: Callable[[Any, Peek], Iterable[Stream[Any]]]
    """The streams it will load, as far as they can be told beforehand; others cost one more read."""
    silence_of: Callable[[Any], TokenId | None] = _nobody
    """The token whose silence the decision asks about."""
