"""What people may ask for, as commands, given what stands in the model's world. Sensible or not."""

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any, NamedTuple, TypeVar
from uuid import UUID, uuid5

import msgspec

from aggregates.concert import SeatBlock
from aggregates.ids import ConcertCode, PaymentId, ReservationId, StartTime, TokenId, UserId
from aggregates.policy import Policy
from commands.abandon_token import AbandonToken
from commands.announce_concert import AnnounceConcert
from commands.charge_wallet import ChargeWallet
from commands.command import Command
from commands.join_queue import JoinQueue
from commands.leave_queue import LeaveQueue
from commands.let_in import LetIn, Suggestion
from commands.open_wallet import OpenWallet
from commands.pay import Pay
from commands.record_expiry import RecordExpiry
from commands.refund import Refund
from commands.release_reservation import ReleaseReservation
from commands.reserve import Reserve
from commands.run_sale import CloseSales, FollowTimetable, OpenSales
from commands.schedule_performance import SchedulePerformance, SeatsFrom
from commands.unit_of_work import Visit
from commands.withdraw_seats import WithdrawSeats
from tests.properties.model.line import SILENCE_ALLOWANCE_S
from tests.properties.model.world import Concert, Show, Status, Token, World

BEGIN = datetime(2026, 3, 2, 3, 0, tzinfo=UTC)
"""Noon in Seoul."""

USERS = [UserId(uuid5(UUID(int=1), str(number))) for number in range(6)]
GALA, PLAY, TALK, NOWHERE = (ConcertCode(code) for code in ("GALA", "PLAY", "TALK", "NOWHERE"))
CODES = (GALA, PLAY, TALK)
ZONES = {GALA: "Asia/Seoul", PLAY: "Europe/Berlin", TALK: "Australia/Sydney", NOWHERE: "Mars/Olympus"}
"""Their clocks are 9, 1 and 11 hours before UTC on that day."""

HOURS = {GALA: 12, PLAY: 4, TALK: 14, NOWHERE: 12}
"""What the venue's clock shows at the beginning."""

TODAY, TOMORROW = date(2026, 3, 2), date(2026, 3, 3)
DAY_MINUTES = 24 * 60
SHOW_MINUTES = (2, 10, 11, DAY_MINUTES)

PLAN = (SeatBlock(1, 2, "VIP", 2_500), SeatBlock(3, 3, "STANDARD", 1_000), SeatBlock(4, 12, "STANDING", 0))
PLANS: Sequence[tuple[SeatBlock, ...] | None] = (
    PLAN,
    PLAN[::-1],
    PLAN[:1],
    None,
    PLAN[1:],
    (*PLAN, PLAN[2]),
    (),
)
"""Those from the fifth on are none."""

ODD_TIMES = (
    (PLAY, date(2026, 3, 29), "02:30"),  # the clock skips it
    (TALK, date(2026, 4, 5), "02:30"),  # the clock shows it twice
    (GALA, date(2026, 4, 1), "19:30"),
)

CHARGES = (5_000, 2_500, 1_000, 10, 9, 5_001)
SMALLEST_CHARGE, LARGEST_CHARGE, LARGEST_BALANCE = 10, 5_000, 12_000

MOMENTS = (
    None,
    None,
    None,
    "2026-03-02T12:01:00+09:00",
    "2026-03-02T12:03:00+09:00",
    "2026-03-02T03:20:00+00:00",
)

POLICIES: dict[str, Sequence[Any]] = {
    "max_active": (100, None, 100, 1, 2, 3),
    "admit_per_interval": (None, None, None, 1, 2, 4),
    "admit_interval_s": (1, 5, 60),
    "admit_up_to_seats_left": (True, False),
    "max_waiting": (1_000, 1_000, 4, 2, 1),
    "active_ttl_s": (600, 60, 5, 20),
    "hold_ttl_s": (60, 300, 3, 20),
    "max_seats_per_user": (3, 4, 8, 2, 1),
    "abandon_waiting_after_s": (600, 900, None),
    "abandon_active_after_s": (None, 5, 30),
    "on_insufficient_balance": ("keep_hold", "keep_hold", "release_hold", "release_hold_and_end_token"),
    "charge_while_holding": (True, False),
    "sales_open_at": MOMENTS,
    "sales_close_at": MOMENTS,
    "refund_until_s": (0, None, 0, None, 60, 86_400),
}
DEFAULTS = {field: values[0] for field, values in POLICIES.items()}

WRONG_POLICIES: Sequence[dict[str, Any]] = (
    {"abandon_waiting_after_s": 599},
    {"admit_interval_s": 3_601},
    {"max_active": 2, "colour": "red"},
)

MOMENT_FIELDS = ("sales_open_at", "sales_close_at")

T = TypeVar("T")


def pick(options: Sequence[T], nth: int) -> T:
    """One of these; the first for 0."""
    return options[nth % len(options)]


class Deadline(NamedTuple):
    """An instant that matters, and what may be asked just then."""

    at: datetime
    commands: Sequence[Command]

    def __lt__(self, other: "Deadline") -> bool:  # type: ignore[override]  # commands have no order
        return self.at < other.at


class Wishes:
    """Makes commands, with ids that nobody had before."""

    def __init__(self, world: World, now: Callable[[], datetime]) -> None:
        self.world = world
        self._now = now
        self._ids = 0

    def new_id(self) -> UUID:
        """An id of its own, the same in every run."""
        self._ids += 1
        return uuid5(UUID(int=2), str(self._ids))

    # Finding things

    def tokens(self, *statuses: Status) -> Sequence[Token]:
        """Those of these statuses on record, or, where there are none, any."""
        tokens = list(self.world.tokens.values())
        return [token for token in tokens if token.status in statuses] or tokens

    def visit(self, token: Token | None) -> tuple[Visit, UserId]:
        """Show this token, or one that was never issued."""
        if token is None:
            return Visit(GALA, TokenId(UUID(int=0))), USERS[0]
        return Visit(ConcertCode(token.code), TokenId(token.id)), UserId(token.user_id)

    def token(self, nth: int, *statuses: Status) -> Token | None:
        """One of these statuses, if there is any token; the latest for 0."""
        tokens = self.tokens(*statuses)[::-1]
        return pick(tokens, nth) if tokens else None

    def holder(self, nth: int) -> Token | None:
        """Somebody who holds seats, if anybody does."""
        holders = [token for token in self.world.tokens.values() if token.open is not None]
        return pick(holders, nth) if holders else self.token(nth, Status.ACTIVE)

    def seats_taken(self, code: str) -> Sequence[tuple[Show, int]]:
        """The seats of this concert that are held or sold."""
        shows = self.world.concerts[code].shows.values()
        return [(show, number) for show in shows for number in (*show.holds, *show.owners)]

    def reservation(self, nth: int) -> ReservationId:
        """The latest for 0."""
        ids = [UUID(int=0), *self.world.reservations][::-1]
        return ReservationId(pick(ids, nth))

    def reservations_of(self, token: Token | None) -> Sequence[UUID]:
        """All that this token's user ever made for its concert, the latest first."""
        return [
            reservation.id
            for reservation in reversed(self.world.reservations.values())
            if token is not None
            and (reservation.token.user_id, reservation.token.code) == (token.user_id, token.code)
        ]

    def show(self, code: str, nth: int) -> Show | None:
        """The first that has not begun for 0, as far as the others are sold out."""
        concert = self.world.concerts.get(code)
        shows = list(concert.shows.values()) if concert else []
        shows.sort(key=lambda show: (show.starts_at <= self._now(), not show.unsold, show.starts_at))
        return pick(shows, nth) if shows else None

    # A visit

    def let_in(self, code: ConcertCode, count: int, *, more: Sequence[Suggestion] = ()) -> LetIn:
        """Suggest the next so many of the line."""
        concert = self.world.concerts.get(code)
        following = concert.line[concert.head :][:count] if concert else []
        line = [Suggestion(token.number, UserId(token.user_id)) for token in following]
        return LetIn(code, (*line, *more))

    def visit_steps(self, user_id: UserId, code: ConcertCode, nth: int) -> Iterator[Command]:
        """What this user does next, and then, to buy seats."""
        if user_id not in self.world.wallets:
            yield OpenWallet(user_id, "Ann")
            yield ChargeWallet(user_id, pick(CHARGES, nth))
        concert = self.world.concerts.get(code)
        if concert is not None and nth % 4 and not concert.open:
            yield OpenSales(code)
        token = concert.live_token_of(user_id) if concert else None
        if token is not None and token.out_of_time(self._now()):
            token = None
        visit = Visit(code, TokenId(token.id if token else self.new_id()))
        if token is None:
            yield JoinQueue(code, user_id, visit.token_id)
        if token is None or token.status is Status.WAITING:
            last = len(concert.line) if concert else 0
            number = token.number if token else last + 1
            yield self.let_in(code, 100, more=[Suggestion(number + more, user_id) for more in range(4)])
        if token is None or token.open is None or nth % 8 == 7:
            yield self.reserve(visit, user_id, self.show(code, nth // 16), nth)
        yield Pay(visit, user_id, PaymentId(self.new_id()), None, None)

    def visit_to(self, user_id: UserId, code: str, show: Show, seats: tuple[int, ...]) -> Sequence[Command]:
        """What this user does to buy these very seats."""
        *coming, pay = self.visit_steps(user_id, ConcertCode(code), 0)
        assert isinstance(pay, Pay)
        coming = [command for command in coming if not isinstance(command, Reserve)]
        return [*coming, self.reserve_seats(pay.visit, user_id, show, seats), pay]

    def reserve(self, visit: Visit, user_id: UserId, show: Show | None, nth: int) -> Reserve:
        """Take one to three seats that look free."""
        taken = {*show.owners, *show.holds} if show else set()
        free = [number for number in range(1, 5) if number not in taken] or [1, 2]
        if taken and nth % 5 == 4:
            free = sorted(taken)
        seats = tuple(free[nth % len(free) :][: 1 + nth // 4 % 3])
        return self.reserve_seats(visit, user_id, show, seats)

    def reserve_seats(
        self, visit: Visit, user_id: UserId, show: Show | None, seats: tuple[int, ...], *, named: bool = True
    ) -> Reserve:
        """Take these seats."""
        day, start_time = (show.day, StartTime(show.start_time)) if show else (TODAY, StartTime("23:59"))
        id_ = ReservationId(self.new_id())
        return Reserve(visit, user_id, id_, day, start_time if named else None, seats)

    def pay(self, token: Token | None, reservation_id: UUID | None = None, amount: int | None = None) -> Pay:
        """Pay with this token."""
        id_ = None if reservation_id is None else ReservationId(reservation_id)
        return Pay(*self.visit(token), PaymentId(self.new_id()), id_, amount)

    def refund(self, nth: int, *, by_another: bool = False) -> Refund:
        """Give a payment back; the latest that was completed for 0."""
        payments = sorted(
            self.world.payments.values(), key=lambda payment: payment.status is Status.COMPLETED
        )[::-1]
        if not payments:
            return Refund(PaymentId(UUID(int=0)), USERS[0])
        payment = pick(payments, nth)
        user_id = UserId(payment.reservation.token.user_id)
        return Refund(PaymentId(payment.id), USERS[USERS.index(user_id) - 1] if by_another else user_id)

    # Operating

    def announce(self, code: ConcertCode, policy: dict[str, Any]) -> AnnounceConcert:
        """Announce a concert."""
        in_utc = {
            name: datetime.fromisoformat(value).astimezone(UTC) if name in MOMENT_FIELDS and value else value
            for name, value in policy.items()
        }
        recorded = msgspec.convert(msgspec.to_builtins(in_utc), Policy)
        zone = ZONES[code]
        return AnnounceConcert(code, f"The {code}", "With songs.", "CONCERT", "The Hall", zone, recorded)

    def schedule(
        self,
        code: ConcertCode,
        minutes: int,
        plan: tuple[SeatBlock, ...] | None = PLAN,
        seats_from: Show | None = None,
    ) -> SchedulePerformance:
        """Schedule a performance so many minutes after the beginning."""
        day = TODAY + timedelta(days=minutes // DAY_MINUTES)
        start_time = StartTime(f"{HOURS[code]:02}:{minutes % DAY_MINUTES:02}")
        model = SeatsFrom(seats_from.day, StartTime(seats_from.start_time)) if seats_from else None
        return SchedulePerformance(code, day, start_time, "23:00", plan, model)

    def withdraw(self, code: ConcertCode, nth: int) -> WithdrawSeats:
        """Withdraw a performance, or one that does not exist."""
        show = self.show(code, nth)
        if show is None:
            return WithdrawSeats(code, TOMORROW, StartTime("23:59"))
        return WithdrawSeats(code, show.day, StartTime(show.start_time))

    # Deadlines

    def deadlines(self) -> Sequence[Deadline]:
        """When performances begin, refunds end, an interval of admissions is over, a silence was too long."""
        return [
            deadline
            for concert in self.world.concerts.values()
            for deadline in (*self._deadlines_of(concert), *self._silences_of(concert))
        ]

    def _deadlines_of(self, concert: Concert) -> Iterator[Deadline]:
        code = ConcertCode(concert.code)
        for show in concert.shows.values():
            if show.day > TODAY:
                continue  # so far off that all else would be over
            withdraw = WithdrawSeats(code, show.day, StartTime(show.start_time))
            yield Deadline(
                show.starts_at, [withdraw, self.let_in(code, 9), *self._reserving(concert, show, 1)]
            )
        for payment in self.world.payments.values():
            reservation = payment.reservation
            if payment.status is Status.COMPLETED and reservation.token.code == code:
                back = Refund(PaymentId(payment.id), UserId(reservation.token.user_id))
                until_s = concert.policy["refund_until_s"] or 0
                yield Deadline(reservation.show.starts_at - timedelta(seconds=until_s), [back])
        if concert.activations:
            span = timedelta(seconds=concert.policy["admit_interval_s"])
            yield Deadline(concert.activations[-1] + span, [self.let_in(code, 9)])
        for field, kind in (("sales_open_at", CloseSales), ("sales_close_at", OpenSales)):
            if concert.policy[field] is not None:
                yield Deadline(concert.policy[field], [FollowTimetable(code), kind(code)])

    def deadlines_of_tokens(self) -> Sequence[Deadline]:
        """When active tokens end by themselves."""
        return [
            Deadline(token.until, self.asked_at_the_end(token))
            for token in self.world.tokens.values()
            if token.live and token.until is not None
        ]

    def deadlines_of_holds(self) -> Sequence[Deadline]:
        """When reservations end unpaid; others want the seats by then."""
        return [
            Deadline(
                token.open.until,
                [
                    self.pay(token),
                    *self._reserving(
                        self.world.concerts[token.code], token.open.show, token.open.seat_numbers[0]
                    ),
                    *self.asked_at_the_end(token),
                ],
            )
            for token in self.world.tokens.values()
            if token.open is not None
        ]

    def asked_at_the_end(self, token: Token) -> Sequence[Command]:
        """What may be asked for just when a hold or a token ends."""
        visit, user_id = self.visit(token)
        release = [ReleaseReservation(visit, user_id, ReservationId(token.last.id))] if token.last else []
        return [
            self.pay(token),
            ChargeWallet(user_id, 10, visit if self.world.rules.wallet_needs_token else None),
            self.reserve(visit, user_id, self.show(token.code, 0), 0),
            RecordExpiry(visit, user_id),
            *release,
            LeaveQueue(visit, user_id),
            JoinQueue(visit.code, user_id, TokenId(self.new_id())),
        ]

    def _silences_of(self, concert: Concert) -> Iterator[Deadline]:
        for token in concert.line:
            if token.live:
                yield from self._silence_of(concert, token)

    def _silence_of(self, concert: Concert, token: Token) -> Iterator[Deadline]:
        since = self.world.listening_since
        field = "abandon_active_after_s" if token.activated_at else "abandon_waiting_after_s"
        if since is None or concert.policy[field] is None:
            return
        last = max(since, self.world.heard.get(token.id, since), token.activated_at or token.issued_at)
        allowed = timedelta(seconds=concert.policy[field] + SILENCE_ALLOWANCE_S)
        yield Deadline(last + allowed, [AbandonToken(*self.visit(token))])

    def _reserving(self, concert: Concert, show: Show, seat: int) -> Sequence[Command]:
        """Somebody who is active takes this seat."""
        active = [token for token in concert.line if token.status is Status.ACTIVE and token.open is None]
        return [self.reserve_seats(*self.visit(token), show, (seat,)) for token in active[-1:]]
