"""Statements that go to PostgreSQL in one message, and whose results come back in one.

psycopg's own pipelines write each statement to the socket by itself, and turn to the event loop before and
after it. For the statements of an append that took seven times as much of the processor.
"""

from collections.abc import Callable, Generator, Mapping, Sequence
from functools import partial
from itertools import count
from typing import Any, LiteralString, NamedTuple

from psycopg import AsyncConnection, OperationalError, generators, pq
from psycopg.adapt import PyFormat, Transformer
from psycopg.errors import error_from_result
from psycopg.pq.abc import PGresult

Row = tuple[Any, ...]

Asked = Mapping[LiteralString, Sequence[Any]]
"""Statements in their order, with the values of their parameters `$1`, `$2`, …"""


class _Kind(NamedTuple):
    """What is prepared: a statement whose parameters have these types, by their numbers in PostgreSQL."""

    statement: LiteralString
    types: tuple[int, ...]


class _Encoded(NamedTuple):
    kind: _Kind
    values: Sequence[Any]
    formats: Sequence[pq.Format] | None


class RoundTrips:
    """Goes to PostgreSQL and back on one connection. Statements stay prepared there; values are binary."""

    def __init__(self, connection: AsyncConnection[Any]) -> None:
        self.connection = connection
        self._names: dict[_Kind, bytes] = {}
        self._numbers = count()
        """Of the names: one that was lost on the way may be taken all the same."""

    async def ask(self, asked: Asked) -> Mapping[LiteralString, Sequence[Row]]:
        """Return the rows of each statement.

        Raises psycopg's errors: after a statement that failed none was executed. Where the way was cut short,
        nobody knows what was executed, and the connection is closed.
        """
        pgconn = self.connection.pgconn
        encoded = [self._encoded(statement, values) for statement, values in asked.items()]
        async with self.connection.lock:
            await self._prepare({one.kind for one in encoded} - self._names.keys())
            results = await self._exchange(
                [
                    partial(
                        pgconn.send_query_prepared,
                        self._names[one.kind],
                        one.values,
                        one.formats,
                        pq.Format.BINARY,
                    )
                    for one in encoded
                ]
            )
        return dict(zip(asked, map(self._rows, results), strict=True))

    def _encoded(self, statement: LiteralString, values: Sequence[Any]) -> _Encoded:
        encoding = Transformer(self.connection)
        encoded = encoding.dump_sequence(values, [PyFormat.BINARY] * len(values))
        return _Encoded(_Kind(statement, tuple(encoding.types or ())), encoded, encoding.formats)

    async def _prepare(self, kinds: set[_Kind]) -> None:
        if not kinds:
            return
        pgconn = self.connection.pgconn
        names = {kind: b"ticketing_%d" % next(self._numbers) for kind in kinds}
        await self._exchange(
            [
                partial(pgconn.send_prepare, name, kind.statement.encode(), kind.types)
                for kind, name in names.items()
            ]
        )
        self._names |= names

    async def _exchange(self, send: Sequence[Callable[[], None]]) -> Sequence[PGresult]:
        try:
            results = await self.connection.wait(self._there_and_back(send))
        except BaseException:
            self.connection.pgconn.finish()
            raise
        for result in results:
            if result.status == pq.ExecStatus.FATAL_ERROR:
                raise error_from_result(result)
        return results

    def _there_and_back(self, send: Sequence[Callable[[], None]]) -> Generator[Any, Any, Sequence[PGresult]]:
        pgconn = self.connection.pgconn
        pgconn.enter_pipeline_mode()
        for each in send:
            each()
        pgconn.pipeline_sync()
        yield from generators.send(pgconn)
        results: list[PGresult] = []
        while True:
            fetched = yield from generators.fetch_many(pgconn)
            if not fetched:  # libpq could not read what came, and has hung up
                raise OperationalError(pgconn.get_error_message())
            if fetched[-1].status == pq.ExecStatus.PIPELINE_SYNC:
                break
            results.append(fetched[-1])
        pgconn.exit_pipeline_mode()
        return results

    def _rows(self, result: PGresult) -> Sequence[Row]:
        loading = Transformer(self.connection)
        loading.set_pgresult(result, set_loaders=True, format=pq.Format.BINARY)
        return loading.load_rows(0, result.ntuples, tuple)
