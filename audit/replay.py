"""The replay: each stored event, in the order of the log, entered into the books and held against the rules.

Rule A1, the log itself, is judged here: positions and recorded times run forwards; every topic is known and
every payload can be read; a stream's versions count 1, 2, 3, …; its id is that of its name, its kind that of
its topics, its partition key the concert's code or the wallet's user; and merged events stand last in their
append. All other rules are judged by the modules that the table below is put together from.
"""

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import msgspec

from audit import concerts, payments, queues, reservations, seats, tokens, wallets
from audit.append import Append
from audit.books import BEGINNING, Books
from audit.ledger import PaymentRow
from audit.state import Concert, Payment, Queue, Reservation, Seat, Stream, Tokens, Wallet
from audit.stored import Stored, stream_id
from audit.topics import Judge

Row = tuple[int, bytes, int, str, bytes]
"""Position, stream id, version, topic and state, as they are stored."""


class Reading(msgspec.Struct, frozen=True):
    """How the events of one topic are read and judged."""

    decode: Callable[[bytes], Stored[Any]]
    judge: Judge
    stream_type: type[Stream]
    merged: bool
    """Whether they stand for a whole append, and so at its end."""


_KINDS: Final[dict[str, type[Stream]]] = {
    "concert": Concert,
    "seat": Seat,
    "reservation": Reservation,
    "wallet": Wallet,
    "payment": Payment,
    "queue": Queue,
    "token": Tokens,
}

READINGS: Final[dict[str, Reading]] = {
    topic: Reading(
        decode=msgspec.json.Decoder(Stored[payload_type]).decode,  # type: ignore[valid-type]  # from a table
        judge=judge,
        stream_type=_KINDS[topic.partition(".")[0]],
        merged=topic.startswith("queue."),
    )
    for module in (concerts, seats, reservations, wallets, payments, queues, tokens)
    for topic, (payload_type, judge) in module.TOPICS.items()
}

OnEvent = Callable[[str, Stored[Any], int], None]
"""Told the topic, the event and the position of each event that could be read."""

_decode_any = msgspec.json.Decoder(Stored[msgspec.Raw]).decode


UNREADABLE = (msgspec.DecodeError, TypeError, ValueError, RecursionError)
"""What the decoder raises for an event that is none."""


def read(topic: str, state: bytes) -> Stored[Any] | None:
    """Read one event; None where its topic is unknown, or its state cannot be read."""
    reading = READINGS.get(topic)
    try:
        return reading.decode(state) if reading else None
    except UNREADABLE:
        return None


class Replay:
    """Replays a log, or with `until`, the log up to the first event that was recorded after it."""

    def __init__(
        self,
        until: datetime | None = None,
        *,
        on_payment: Callable[[PaymentRow], None] | None = None,
        on_event: OnEvent | None = None,
    ) -> None:
        """Start before the first event; `on_payment` is told each payment once nothing more may change it."""
        self.books = Books(on_payment)
        self._on_event = on_event
        self.position = 0
        """Of the last event that was read."""
        self.events = 0
        self._until = until
        self._latest = BEGINNING
        self._unread: dict[bytes, set[int]] = {}
        """Versions, by stream id, of events that could not be read: they are not missing as well."""

    def apply_all(self, rows: Iterable[Row]) -> bool:
        """Apply events in their order, until one was recorded after `until`: then return False."""
        return all(self.apply(*row) for row in rows)

    def apply(self, position: int, id_: bytes, version: int, topic: str, state: bytes) -> bool:
        """Apply one event. Return False, and change nothing, if it was recorded after `until`."""
        reading = READINGS.get(topic)
        if reading is None:
            return self._pass_over(position, id_, version, state, f"the topic {topic} is unknown")
        try:
            stored = reading.decode(state)
        except UNREADABLE as error:
            return self._pass_over(position, id_, version, state, f"the event cannot be read: {error}")
        books = self.books
        if stored.recorded_at != books.now and not self._begin_append(stored, position):
            return False
        name = stored.stream
        self._count(position, name)
        if self._on_event is not None:
            self._on_event(topic, stored, position)
        stream = books.streams.get(name) or books.open_stream(name)
        if stream is None or type(stream) is not reading.stream_type:
            books.breach("A1", name, [position], f"{topic} does not belong to this stream")
            return True
        if version != stream.version + 1:
            self._judge_version(stream, position, id_, version)
        stream.version = version
        if stream_id(name) != id_:
            books.breach("A1", name, [position], f"the stream's id is {_readable(id_)}, not that of its name")
        if books.append.merged_at and not reading.merged:
            detail = f"{topic} comes after the merged events of its append"
            books.breach("A1", name, [books.append.merged_at, position], detail)
        try:
            reading.judge(books, stream, stored.payload, position)
        except OverflowError:
            books.breach("A1", name, [position], "a time is out of the range of the calendar")
        if stored.partition_key != stream.partition_key:
            detail = f"the partition key is {stored.partition_key}, not {stream.partition_key}"
            books.breach("A1", name, [position], detail)
        return True

    def close(self) -> None:
        """Judge the last append, and tell the payments that stand."""
        self._end_append()
        for name in [name for name, stream in self.books.streams.items() if isinstance(stream, Payment)]:
            self.books.forget(name)

    def _count(self, position: int, name: str) -> None:
        if position <= self.position:
            self.books.breach("A1", name, [self.position, position], "positions do not increase")
        self.position = position
        self.events += 1

    def _begin_append(self, stored: Stored[Any], position: int) -> bool:
        if self._until is not None and stored.recorded_at > self._until:
            return False
        if stored.recorded_at < self._latest:
            detail = f"recorded at {stored.recorded_at:%FT%T.%fZ}, before what stands before it"
            self.books.breach("A1", stored.stream, [self.position, position], detail)
        self._end_append()
        self.books.now = stored.recorded_at
        self._latest = max(self._latest, stored.recorded_at)
        return True

    def _end_append(self) -> None:
        books, append = self.books, self.books.append
        if append.lapses:
            seats.judge_append(books)
        if append.holding_at_end:
            tokens.judge_append(books)
        for id_, opening in append.openings.items():
            reservations.judge_opening(books, id_, opening)
        for id_, ending in append.endings.items():
            reservations.judge_ending(books, id_, ending)
        for id_, sale in append.sales.items():
            payments.judge_sale(books, id_, sale)
        for id_, failure in append.failures.items():
            payments.judge_failure(books, id_, failure)
        for id_, refund in append.refunds.items():
            payments.judge_refund(books, id_, refund)
        for ending in append.endings.values():
            reservations.forget_ended(books, ending)
        for tally in append.tallies.values():
            queues.judge_append(books, tally)
        books.append = Append()

    def _judge_version(self, stream: Stream, position: int, id_: bytes, version: int) -> None:
        """A1: versions are dense; those that could not be read are known to be there."""
        last = stream.version
        unread = sum(last < passed_over < version for passed_over in self._unread.get(id_, ()))
        if version <= last:
            detail = f"version {version} comes again, after version {last}"
        elif version == last + 1 + unread:
            return
        elif last == 0:
            detail = f"version {version} comes first, or after the stream had ended"
        else:
            detail = f"version {version} comes after version {last}"
        self.books.breach("A1", stream.name, [position], detail)

    def _pass_over(self, position: int, id_: bytes, version: int, state: bytes, why: str) -> bool:
        """A1: an event of an unknown topic or form is a breach, and otherwise as if it were not there."""
        name = _readable(id_)
        try:
            stored = _decode_any(state)
        except UNREADABLE:
            stored = None
        if stored is not None:
            name = stored.stream
            if stored.recorded_at != self.books.now and not self._begin_append(stored, position):
                return False
        self._count(position, name)
        self._unread.setdefault(id_, set()).add(version)
        self.books.breach("A1", name, [position], why)
        return True


def _readable(id_: bytes) -> str:
    return str(UUID(bytes=id_))
