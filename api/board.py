"""The board: what every waiting user asks for, kept in memory and at most 100 ms old.

A line's head, who left it early, who is active, the concerts and their performances are read from the
read models in one snapshot, and only what has changed since. So a poll of a waiting token costs no query,
whether a hundred wait or a million; and a seat map is rendered once per change.
"""

import asyncio
import hashlib
import math
import time
from bisect import bisect_left, bisect_right, insort
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final, LiteralString, NamedTuple, TypeVar

import msgspec
import psycopg
import structlog
from psycopg import AsyncConnection, IsolationLevel

from aggregates.errors import (
    PerformanceNotFound,
    TokenEnded,
    TokenExpired,
    TokenInvalid,
    TokenNotActive,
)
from aggregates.ids import ConcertCode, PerformanceName, TokenId
from aggregates.queue import poll_after_ms
from aggregates.token import TokenStatus
from api.problems import PositionNotInLog, ReadModelBehind
from api.views import DateView, Sales, SeatsView, SeatView
from commands.ports import LogReplaced
from infrastructure.epochs import Epochs
from infrastructure.read_models import ReadModels
from infrastructure.tokens import Claims
from projections import concerts, queue, seat_map
from projections.checkpoints import places
from projections.concerts import ConcertFound
from projections.queue import TokenFound, TokenStands
from projections.reading import LOOKED_UP_BY_KEYS, lock_versions, position_of
from projections.registry import PROJECTIONS
from projections.seat_map import PerformanceFound

REFRESH_S = 0.05
"""Twice as often as the board may be old."""

REFRESH_TIMEOUT_S = 5.0
RECONNECT_S = 0.25

WAIT_S = 2.0
"""How long a read waits for what its client has seen, and how old the board may be when it is read."""

HAS_MOVED: LiteralString = "SELECT ticketing.log_has_moved()"

CLOCK_AND_END: LiteralString = """
    SELECT clock_timestamp(),
           (SELECT epoch::text FROM ticketing.log_epochs ORDER BY number DESC LIMIT 1),
           (SELECT coalesce(max(notification_id), 0) FROM ticketing.ticketing_events)
"""

CHANGES_FOLLOWED = timedelta(seconds=queue.CHANGES_KEPT_S / 3)
"""A board that was not refreshed for so long, since its process was stopped, begins anew."""

ADMISSIONS_WINDOW = timedelta(seconds=60)
ADMISSIONS_EVERY_S = 2.0
"""The time to wait is estimated from the admissions of the last minute, looked up this often."""

SEAT_MAPS_BYTES_MAX = 64 * 1024 * 1024
"""Rendered maps kept, those asked for last: an arena's has 1.5 MB."""

BEGINNING = datetime.min.replace(tzinfo=UTC)

T = TypeVar("T")

Show = Callable[[], None]
"""Puts on the board what was read for it."""

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Line:
    """One concert's line, as the board knows it."""

    code: ConcertCode
    sales: Sales = "CLOSED"
    issued: int = 0
    head: int = 0
    active: int = 0
    seats_left: int = 0
    left: list[int] = field(default_factory=list[int])
    """Numbers beyond the head whose tokens have ended, in order."""
    seconds_per_admission: float | None = None

    @property
    def waiting(self) -> int:
        """How many numbers the gate has yet to pass."""
        return max(0, self.issued - self.head)

    @property
    def sold_out(self) -> bool:
        """Whether no seat is left unsold."""
        return self.seats_left == 0

    def waits(self, queue_number: int) -> bool:
        """Whether this number is still to be called."""
        return queue_number > self.head and not self._has_left(queue_number)

    def ahead_of(self, queue_number: int) -> int:
        """How many still wait in front of this number."""
        return max(0, queue_number - self.head - 1 - self.left_before(queue_number, self.head))

    def left_before(self, queue_number: int, head: int) -> int:
        """How many between `head` and this number have left early."""
        return bisect_left(self.left, queue_number) - bisect_right(self.left, head)

    def eta_seconds(self, ahead: int) -> int | None:
        """When this place's turn may come, from recent admissions; None when unknown."""
        if self.seconds_per_admission is None:
            return None
        return round((ahead + 1) * self.seconds_per_admission)

    def leave(self, queue_number: int) -> None:
        """Note that a number ahead of its turn will not be called."""
        if queue_number > self.head and not self._has_left(queue_number):
            insort(self.left, queue_number)

    def forget_passed(self) -> None:
        """Drop the leavers that the gate has passed."""
        del self.left[: bisect_right(self.left, self.head)]

    def _has_left(self, queue_number: int) -> bool:
        place = bisect_left(self.left, queue_number)
        return place < len(self.left) and self.left[place] == queue_number


class TokenStanding(NamedTuple):
    """Where a token stands by now."""

    status: TokenStatus
    ends_at: datetime | None
    position: int


class RenderedMap(NamedTuple):
    """A seat map as it is sent."""

    body: bytes
    etag: bytes
    version: int
    position: int


class Showing(NamedTuple):
    """A performance on the board, and how it is listed."""

    performance: PerformanceFound
    listed: DateView


class Board:
    """Keeps itself fresh while `run` runs."""

    QUEUE: Final = queue.PROJECTION.name
    SEAT_MAP: Final = seat_map.PROJECTION.name

    def __init__(self, dsn: str, read_models: ReadModels, epochs: Epochs) -> None:
        self._dsn = dsn
        self._read_models = read_models
        self._epochs = epochs
        self._log_end = 0
        """The position of the log's last event, as of the last refresh."""
        self._refreshes = 0
        self.positions: dict[str, int] = dict.fromkeys((p.name for p in PROJECTIONS), 0)
        """Up to where each read model has come, of all partitions of the log."""
        self._reached: dict[str, Sequence[int]] = {}
        """And of each partition, where some have come further."""
        self._amended: dict[str, int] = {}
        """How often each was changed behind that."""
        self.refreshed_at = -math.inf
        """By a clock that nobody sets."""
        self._lines: dict[ConcertCode, Line] = {}
        self._concerts: dict[ConcertCode, ConcertFound] = {}
        self._showings: dict[ConcertCode, dict[PerformanceName, Showing]] = {}
        """Of each concert by their start, which never changes."""
        self._active: dict[TokenId, TokenStands] = {}
        self._seat_maps: OrderedDict[tuple[ConcertCode, PerformanceName], RenderedMap] = OrderedDict()
        self._seat_maps_bytes = 0
        self._rendering: dict[tuple[ConcertCode, PerformanceName], asyncio.Lock] = {}
        self._refreshed = asyncio.Event()
        self._clock_offset = datetime.now(UTC) - _monotonic()
        self._admissions_at = 0.0
        self._read_at = BEGINNING
        """When the last refresh began, by the database's clock."""

    async def run(self) -> None:
        """Refresh for ever; a lost connection is made anew, and nothing of before believed on it.

        Raises LogReplaced.
        """
        while True:
            try:
                async with await self._connect() as connection:
                    await _require_the_same_log(connection)
                    self._start_over()
                    while True:
                        async with asyncio.timeout(REFRESH_TIMEOUT_S):
                            await self._refresh(connection)
                        await asyncio.sleep(REFRESH_S)
            except (psycopg.OperationalError, OSError, TimeoutError) as error:
                log.warning("board_not_refreshed", error=str(error).strip() or type(error).__name__)
            except LogReplaced:
                raise
            except Exception:  # a defect must not leave the board as it is for ever
                log.exception("board_not_refreshed")
            await asyncio.sleep(RECONNECT_S)

    def now(self) -> datetime:
        """The database's clock, carried on between refreshes by a monotonic one."""
        return _monotonic() + self._clock_offset

    @property
    def is_read(self) -> bool:
        """Whether there is anything on the board yet."""
        return self.refreshed_at > -math.inf

    @property
    def reached(self) -> int:
        """Up to where all read models have come."""
        return min(self.positions.values())

    def position_of(self, projection: str, code: ConcertCode) -> int:
        """Up to where a read model shows what belongs to this concert."""
        reached = self.reached_of(projection)
        return position_of(reached, code) if reached else 0

    def reached_of(self, projection: str) -> Sequence[int]:
        """Up to where a read model has come in each partition of the log; none as long as that is unknown."""
        return self._reached.get(projection, ())

    def line(self, code: ConcertCode) -> Line | None:
        """The concert's line, None where the board does not know it (yet)."""
        return self._lines.get(code)

    async def line_of(self, code: ConcertCode) -> Line:
        """The line of a concert that exists. Raises ReadModelBehind."""
        line = self._lines.get(code)
        return line if line is not None else await self._known(self._lines, code)

    async def concert(self, code: ConcertCode) -> ConcertFound:
        """A concert that exists. Raises ReadModelBehind."""
        return await self._known(self._concerts, code)

    def showings(self, code: ConcertCode) -> Iterable[Showing]:
        """The concert's performances by their start, begun ones too."""
        return self._showings.get(code, {}).values()

    def lines(self) -> Iterable[Line]:
        """All lines."""
        return self._lines.values()

    async def wait_for(self, projections: Sequence[str], position: int) -> None:
        """Wait until the board is fresh and shows these read models at `position`, or later.

        Raises ReadModelBehind after 2 s, and PositionNotInLog at once.
        """
        if position and self._epochs.has_lost(position):
            raise PositionNotInLog(self._log_end)
        if not self._shows(projections, position):
            asked_at = self._refreshes

            def shown() -> bool:
                # A refresh that had begun before we were asked does not know what was recorded before.
                if position > self._log_end and self._refreshes > asked_at + 1:
                    raise PositionNotInLog(self._log_end)
                return self._shows(projections, position)

            await self._until(shown)

    async def token(self, claims: Claims) -> TokenStanding:
        """Where a token stands; one that is not active here is looked up once. Raises TokenInvalid.

        One that was issued a moment ago may have come here before the read model.
        """
        ends_at = self._active_until(claims.jti)
        if ends_at is not None:
            position = self.position_of(self.QUEUE, claims.concert)
            return TokenStanding(TokenStatus.ACTIVE, ends_at, position)
        issued = (await self.line_of(claims.concert)).issued
        found = await self._read_models.read(queue.find_token, claims.jti)
        if found.value is not None:
            return TokenStanding(_status(found.value, self.now()), found.value.ends_at, found.position)
        if claims.queue_number > issued:
            return TokenStanding(TokenStatus.WAITING, None, found.position)
        raise TokenInvalid

    async def require_active(self, claims: Claims) -> None:
        """Q7: raise TokenNotActive, TokenExpired or TokenEnded unless the token is active."""
        if self._active_until(claims.jti) is not None:
            return
        standing = await self.token(claims)
        match standing.status:
            case TokenStatus.ACTIVE:
                return
            case TokenStatus.EXPIRED:
                raise TokenExpired
            case TokenStatus.COMPLETED | TokenStatus.CANCELLED:
                raise TokenEnded(standing.status)
            case TokenStatus.WAITING:
                line = await self.line_of(claims.concert)
                ahead = line.ahead_of(claims.queue_number)
                retry_after_s = -(-poll_after_ms(ahead, line.waiting) // 1_000)
                raise TokenNotActive(ahead + 1, retry_after_s)

    def _active_until(self, token_id: TokenId) -> datetime | None:
        """When a token that is active on this board ends; None for one that is not, or no longer."""
        active = self._active.get(token_id)
        if active is None or (ends_at := active.ends_at) is None or ends_at <= self.now():
            return None
        return ends_at

    async def seat_map(self, performance: PerformanceFound) -> tuple[RenderedMap, int]:
        """The seat map of a performance on this board, rendered anew only if it has changed.

        And up to where the log is on it: further than when it was rendered, if nothing has changed since.
        """
        key = (performance.code, performance.performance)
        # Now: while it is rendered the board moves on.
        position = self.position_of(self.SEAT_MAP, performance.code)
        rendered = self._seat_maps.get(key)
        if rendered is None or rendered.version < performance.changed_position:
            rendered = await self._render(key, performance.changed_position)
        else:
            self._seat_maps.move_to_end(key)
        return rendered, max(rendered.position, position)

    async def _render(self, key: tuple[ConcertCode, PerformanceName], version: int) -> RenderedMap:
        async with self._rendering.setdefault(key, asyncio.Lock()):
            rendered = self._seat_maps.get(key)
            if rendered is not None and rendered.version >= version:
                return rendered
            amended = self._amended
            found = await self._read_models.read(seat_map.find, *key)
            if found.value is None:
                raise PerformanceNotFound
            body = msgspec.json.encode(_seats_view(found.value))
            etag = b'"%s"' % hashlib.sha256(body).hexdigest()[:32].encode()
            rendered = RenderedMap(body, etag, found.value.performance.changed_position, found.position)
            if amended == self._amended:
                self._keep(key, rendered)
            return rendered

    def _keep(self, key: tuple[ConcertCode, PerformanceName], rendered: RenderedMap) -> None:
        """Keep this map, and of the others those asked for last."""
        replaced = self._seat_maps.pop(key, None)
        self._seat_maps[key] = rendered
        self._seat_maps_bytes += len(rendered.body) - (len(replaced.body) if replaced else 0)
        while self._seat_maps_bytes > SEAT_MAPS_BYTES_MAX and len(self._seat_maps) > 1:
            dropped, dropped_map = self._seat_maps.popitem(last=False)
            self._seat_maps_bytes -= len(dropped_map.body)
            self._rendering.pop(dropped, None)

    def _shows(self, projections: Sequence[str], position: int) -> bool:
        """Whether the board is fresh, and these read models are on it as of `position`, or later."""
        if time.monotonic() - self.refreshed_at >= WAIT_S:
            return False
        return not position or all(self.positions[name] >= position for name in projections)

    async def _known(self, known: Mapping[ConcertCode, T], code: ConcertCode) -> T:
        """What belongs to a concert that exists: a signed token says so. It may not be on the board yet."""
        if code not in known:
            await self._until(lambda: code in known)
        return known[code]

    async def _until(self, condition: Callable[[], bool]) -> None:
        """Wait for a refresh after which the condition holds. Raises ReadModelBehind after 2 s."""
        try:
            async with asyncio.timeout(WAIT_S):
                while not condition():
                    await self._refreshed.wait()
        except TimeoutError:
            raise ReadModelBehind from None

    async def _connect(self) -> AsyncConnection[Any]:
        connection = await AsyncConnection.connect(
            self._dsn,
            autocommit=True,
            connect_timeout=int(REFRESH_TIMEOUT_S),
            application_name="ticketing-board",
            options=f"-c timezone=UTC {LOOKED_UP_BY_KEYS}",
        )
        await connection.set_isolation_level(IsolationLevel.REPEATABLE_READ)
        await connection.set_read_only(True)
        return connection

    async def _refresh(self, connection: AsyncConnection[Any]) -> None:
        """Read in one snapshot what has changed since the last one, and only then show it, all at once.

        Nobody who asks meanwhile sees more than the positions say: their next read may go elsewhere. What has
        changed since the position that all partitions have reached holds all that is new: what is read again
        of those that are ahead is as it was, or newer.
        """
        changes: list[Show] = []
        async with connection.transaction():
            await lock_versions(connection)
            now, log_end = await self._read_clock_and_end(connection)
            found = await places(connection, PROJECTIONS)
            reached = {name: place.positions for name, place in found.items()}
            amended = {name: place.amended for name, place in found.items()}
            is_earlier = any(found[name].position < position for name, position in self.positions.items())
            is_late = now - self._read_at > CHANGES_FOLLOWED
            if is_earlier or is_late or amended != self._amended:
                self._amended = amended
                self._start_over()
            if reached["concerts"] != self._reached.get("concerts"):
                changes.append(await self._read_concerts(connection))
            if reached[self.SEAT_MAP] != self._reached.get(self.SEAT_MAP):
                changes.append(await self._read_performances(connection))
            if reached[self.QUEUE] != self._reached.get(self.QUEUE):
                changes.append(await self._read_lines(connection))
            if (looked_at := time.monotonic()) >= self._admissions_at:
                self._admissions_at = looked_at + ADMISSIONS_EVERY_S
                changes.append(await self._read_admissions(connection))
        for show in changes:
            show()
        self.positions = {name: place.position for name, place in found.items()}
        self._reached = reached
        self._read_at = now
        self._log_end = log_end
        self._refreshes += 1
        self.refreshed_at = time.monotonic()
        self._refreshed.set()
        self._refreshed = asyncio.Event()

    def _start_over(self) -> None:
        """Forget everything: rows were changed behind the positions, or these are earlier (a restore).

        Or what has changed meanwhile is no longer kept.
        """
        self.positions = dict.fromkeys(self.positions, 0)
        self._reached = {}
        self.refreshed_at = -math.inf
        for known in (self._lines, self._concerts, self._showings, self._active, self._seat_maps):
            known.clear()
        self._seat_maps_bytes = 0

    async def _read_clock_and_end(self, connection: AsyncConnection[Any]) -> tuple[datetime, int]:
        """Read the database's clock, and where the log ends. Raises LogReplaced."""
        cursor = await connection.execute(CLOCK_AND_END)
        ((now, epoch, log_end),) = await cursor.fetchall()
        if epoch != self._epochs.current:
            raise LogReplaced
        self._clock_offset = now - _monotonic()
        return now, log_end

    async def _read_concerts(self, connection: AsyncConnection[Any]) -> Show:
        found = await concerts.changed_since(connection, self.positions["concerts"])

        def show() -> None:
            for concert in found.value:
                self._concerts[concert.code] = concert
                self._line(concert.code).sales = "OPEN" if concert.sales_open else "CLOSED"

        return show

    async def _read_performances(self, connection: AsyncConnection[Any]) -> Show:
        found = await seat_map.performances_changed_since(connection, self.positions[self.SEAT_MAP])

        def show() -> None:
            for performance in found.value:
                self._put_in_order(performance)

        return show

    def _put_in_order(self, performance: PerformanceFound) -> None:
        known, name = self._showings.get(performance.code, {}), performance.performance
        is_new = name not in known
        known[name] = Showing(performance, _date_view(performance))
        if is_new:
            by_start = sorted(known.items(), key=lambda item: item[1].performance.starts_at)
            self._showings[performance.code] = dict(by_start)

    async def _read_lines(self, connection: AsyncConnection[Any]) -> Show:
        since = self.positions[self.QUEUE]
        lines = (await queue.lines_changed_since(connection, since)).value
        show_tokens = await (self._read_tokens(connection, since) if since else self._read_start(connection))

        def show() -> None:
            for line in lines:
                known = self._line(line.code)
                known.issued, known.head, known.active = line.issued, line.head, line.active
                known.seats_left = line.seats_left
                known.forget_passed()
            show_tokens()

        return show

    async def _read_start(self, connection: AsyncConnection[Any]) -> Show:
        active = (await queue.active_tokens(connection)).value
        leavers = (await queue.early_leavers(connection)).value

        def show() -> None:
            self._active = {token.token_id: token for token in active}
            for leaver in leavers:
                self._line(leaver.code).leave(leaver.queue_number)

        return show

    async def _read_tokens(self, connection: AsyncConnection[Any], since: int) -> Show:
        changed = (await queue.tokens_changed_since(connection, since)).value

        def show() -> None:
            for token in changed:
                self._note(token)

        return show

    def _note(self, token: TokenStands) -> None:
        if token.status is TokenStatus.ACTIVE:
            self._active[token.token_id] = token
            return
        self._active.pop(token.token_id, None)
        if token.activated_at is None:
            self._line(token.code).leave(token.queue_number)

    async def _read_admissions(self, connection: AsyncConnection[Any]) -> Show:
        now = self.now()
        admissions = await queue.admissions_since(connection, now - ADMISSIONS_WINDOW)
        rates = {entry.code: entry for entry in admissions.value}

        def show() -> None:
            for line in self._lines.values():
                entry = rates.get(line.code)
                line.seconds_per_admission = None
                if entry is not None:
                    span_s = max(1.0, (now - entry.first_at).total_seconds())
                    line.seconds_per_admission = span_s / entry.activated

        return show

    def _line(self, code: ConcertCode) -> Line:
        return self._lines.setdefault(code, Line(code))


async def _require_the_same_log(connection: AsyncConnection[Any]) -> None:
    cursor = await connection.execute(HAS_MOVED)
    if await cursor.fetchone() != (False,):
        raise LogReplaced


def _status(token: TokenFound, now: datetime) -> TokenStatus:
    """Q5: judged by the deadlines, whether or not the end has been recorded."""
    ends_at = token.ends_at
    if token.status is TokenStatus.ACTIVE and ends_at is not None and ends_at <= now:
        return TokenStatus.EXPIRED
    return token.status


def _date_view(performance: PerformanceFound) -> DateView:
    return DateView(
        date=performance.date,
        start_time=performance.start_time,
        end_time=performance.end_time,
        seats_total=performance.seats_total,
        seats_available=performance.seats_available,
        seats_held=performance.seats_held,
        seats_sold=performance.seats_sold,
        min_price=performance.min_price,
        max_price=performance.max_price,
    )


def _seats_view(found: seat_map.SeatMap) -> SeatsView:
    performance = found.performance
    seats = [
        SeatView(seat.seat_number, seat.type, seat.price, seat.status.value, seat.held_until)
        for seat in found.seats()
    ]
    return SeatsView(performance.code, performance.date, performance.start_time, seats)


def _monotonic() -> datetime:
    """A clock that nobody sets as a time of day of no meaning, to which an offset is added."""
    return datetime.fromtimestamp(time.monotonic(), UTC)
