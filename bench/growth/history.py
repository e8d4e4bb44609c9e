"""Long histories, made fast: the events of very many commands, written in bulk as the bus would have.

Each append has what a batch of commands records, through the product's own codec, under the append lock, at
an instant of its own. Nobody can tell such a log from one that as many requests made; the audit does not.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice
from random import Random
from typing import Any, LiteralString, NamedTuple, TypeVar
from uuid import UUID

import psycopg
from psycopg import Connection

from aggregates import queue, token, wallet
from aggregates.event import Event
from aggregates.ids import ConcertCode, TokenId, UserId
from aggregates.queue import NumbersIssued
from aggregates.stream import Stream
from aggregates.token import TokenIssued
from aggregates.wallet import WalletCharged, WalletOpened
from infrastructure import codec
from infrastructure.event_log import APPEND_LOCK

COMMANDS_PER_APPEND = 128
"""As many as have come meanwhile when so many connections ask at once."""

APPENDS_PER_TRANSACTION = 100
"""Nobody may hold the append lock for two seconds; so many take a quarter of one."""

AMOUNT = 1_000

LAST_RECORDED_AT: LiteralString = """
    SELECT convert_from(state, 'UTF8')::json ->> 'recorded_at'
    FROM ticketing.ticketing_events
    ORDER BY notification_id DESC
    LIMIT 1
"""

LAST_VERSION: LiteralString = """
    SELECT originator_version
    FROM ticketing.ticketing_events
    WHERE originator_id = %s
    ORDER BY originator_version DESC
    LIMIT 1
"""

COPY: LiteralString = """
    COPY ticketing.ticketing_events (originator_id, originator_version, topic, state)
    FROM STDIN (FORMAT BINARY)
"""

T = TypeVar("T")


class New(NamedTuple):
    """An event before it is recorded."""

    stream: Stream[Any]
    version: int
    event: Event
    partition_key: str
    command_id: UUID
    correlation_id: UUID


Append = Sequence[New]


class History:
    """A log that is being written; nobody else may record anything on the same streams meanwhile."""

    def __init__(self, connection: Connection[Any], seed: int = 1) -> None:
        self._connection = connection
        self._random = Random(seed)

    def open_wallets(self, users: Iterable[UserId], *, charges: int = 0) -> int:
        """Have the users registered, and each of them charge so often; return how many events it took."""
        return self._write(self._wallets(batch, charges) for batch in _in_batches(users, COMMANDS_PER_APPEND))

    def join(self, code: ConcertCode, users: Sequence[UserId], *, issued: int) -> int:
        """Have the users, who have no token yet, join a line in which so many numbers have been issued."""
        line = queue.stream(code)
        ((version,),) = self._connection.execute(LAST_VERSION, [line.id]).fetchall()
        return self._write(self._line(line, version, users, issued))

    def _wallets(self, users: Sequence[UserId], charges: int) -> Append:
        return [
            self._own(wallet.stream(user_id), version, event)
            for user_id in users
            for version, event in enumerate([WalletOpened(), *[WalletCharged(AMOUNT)] * charges], start=1)
        ]

    def _line(
        self, line: Stream[Any], version: int, users: Sequence[UserId], issued: int
    ) -> Iterator[Append]:
        for batch in _in_batches(users, COMMANDS_PER_APPEND):
            code = ConcertCode(line.partition_key)
            tokens = [
                self._issued(code, user_id, issued + place) for place, user_id in enumerate(batch, start=1)
            ]
            first, issued, version = issued + 1, issued + len(batch), version + 1
            yield [*tokens, self._own(line, version, NumbersIssued(first, issued))]

    def _issued(self, code: ConcertCode, user_id: UserId, number: int) -> New:
        token_id = TokenId(self._new_id())
        event = TokenIssued(token_id, user_id, code, number)
        return New(token.stream(code, user_id), 1, event, code, self._new_id(), token_id)

    def _own(self, stream: Stream[Any], version: int, event: Event) -> New:
        command_id = self._new_id()
        return New(stream, version, event, stream.partition_key, command_id, command_id)

    def _new_id(self) -> UUID:
        return UUID(int=self._random.getrandbits(128), version=4)

    def _write(self, appends: Iterator[Append]) -> int:
        """Record each append a microsecond after the last: all of them in the past, as far as that goes."""
        count = 0
        for some in _in_batches(appends, APPENDS_PER_TRANSACTION):
            with self._connection.transaction(), self._connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_xact_lock(%s)", [APPEND_LOCK])
                recorded_at = _last_recorded_at(cursor)
                with cursor.copy(COPY) as copy:
                    copy.set_types(["uuid", "int8", "text", "bytea"])
                    for append in some:
                        recorded_at += timedelta(microseconds=1)
                        _copy(copy.write_row, append, recorded_at)
                        count += len(append)
        return count


def _copy(write: Callable[[Sequence[Any]], None], append: Append, recorded_at: datetime) -> None:
    for new in append:
        form = codec.StoredForm(
            new.stream.name,
            new.partition_key,
            recorded_at,
            new.command_id,
            new.correlation_id,
            new.command_id,
            new.event,
        )
        write((new.stream.id, new.version, new.event.topic, codec.encode(form)))


def _last_recorded_at(cursor: psycopg.Cursor[Any]) -> datetime:
    row = cursor.execute(LAST_RECORDED_AT).fetchone()
    if row is not None:
        return datetime.fromisoformat(row[0])
    now: datetime
    ((now,),) = cursor.execute("SELECT clock_timestamp()").fetchall()
    return now.astimezone(UTC)


def _in_batches(all_of_them: Iterable[T], size: int) -> Iterator[Sequence[T]]:
    following = iter(all_of_them)
    while some := list(islice(following, size)):
        yield some
