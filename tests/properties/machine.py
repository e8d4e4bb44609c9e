"""Anything is asked for, in any order and at any time; the real service and the model are asked alike."""

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from itertools import zip_longest
from typing import Any, ClassVar, Final, TypeVar
from uuid import UUID

import msgspec
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from aggregates.concert import SeatBlock
from aggregates.ids import ConcertCode, ReservationId, StartTime, TokenId, UserId
from aggregates.wallet import ChargeLimits
from audit.replay import Replay
from commands.abandon_token import AbandonToken
from commands.bus import Answer
from commands.charge_wallet import ChargeWallet
from commands.command import Command
from commands.erase_profile import EraseProfile
from commands.join_queue import JoinQueue
from commands.leave_queue import LeaveQueue
from commands.let_in import LetIn, Suggestion
from commands.open_wallet import OpenWallet
from commands.ports import Hearing
from commands.record_expiry import RecordExpiry
from commands.release_reservation import ReleaseReservation
from commands.run_sale import (
    ChangePolicy,
    CloseSales,
    FollowTimetable,
    OpenSales,
    PauseQueue,
    ResumeQueue,
)
from commands.schedule_performance import SchedulePerformance, SeatsFrom
from commands.unit_of_work import ServiceRules
from tests.audit.real_log import stored
from tests.properties import comparison
from tests.properties.model.service import Key, Model, Outcome, Wish
from tests.properties.model.world import Rules, Status
from tests.properties.real_service import RealService
from tests.properties.wishes import (
    BEGIN,
    CHARGES,
    DEFAULTS,
    GALA,
    LARGEST_BALANCE,
    LARGEST_CHARGE,
    NOWHERE,
    ODD_TIMES,
    PLANS,
    PLAY,
    POLICIES,
    SHOW_MINUTES,
    SMALLEST_CHARGE,
    TALK,
    TODAY,
    TOMORROW,
    USERS,
    WRONG_POLICIES,
    Deadline,
    Wishes,
    pick,
)

users = st.sampled_from(USERS)
codes = st.sampled_from([GALA] * 6 + [PLAY] * 3 + [TALK])
nths = st.integers(0, 63)
few = st.integers(0, 3)
seldom = st.sampled_from([False] * 7 + [True])
changes = st.sampled_from([(field, value) for field, values in POLICIES.items() for value in values])
policies = st.lists(changes, max_size=8).map(lambda changed: DEFAULTS | dict(changed))
steps_s = st.sampled_from([1, 0, 0.5, 2, 5, 5.000001, 30, -3, 60])
around = st.sampled_from([0, 0, -1, 1])
"""Microseconds before or after."""

seats_wanted = st.sampled_from(
    [(1,), (2, 3), (1, 2, 3), (4,), (3, 1), (1, 2, 3, 4), (), (2, 2), (0, 13, 1), (13,)]
)

STRANGER: Final = UserId(UUID(int=9))
"""A user who never registers."""

ASKED_AT_A_DEADLINE: Final = 4
"""So many things at most, one after another."""

BALANCES: Final = (5_000, 5_000, 2_500, 1_000, 0)
"""What the first users have to begin with; the last one has not registered."""

Tally = Counter[tuple[str, str]]
"""How often each command came out how."""


Step = TypeVar("Step", bound=Callable[..., Any])


def someone(*statuses: Status) -> Callable[[Step], Step]:
    """A step for when there is a token of one of these statuses."""
    return precondition(
        lambda self: any(token.status in statuses for token in self.model.world.tokens.values())
    )


holding = precondition(lambda self: any(token.open for token in self.model.world.tokens.values()))
"""A step for when somebody holds seats."""


class AnyHistory(RuleBasedStateMachine):
    """The service and its model, side by side."""

    tally: ClassVar[Tally] = Counter()

    def __init__(self) -> None:
        super().__init__()
        self.together: list[Wish] = []
        """What waits in line together."""
        self.length = 1
        """How many wait before they are asked for."""
        self.bus = 0
        self.keyed: list[Wish] = []
        self.first: dict[int, Answer] = {}
        """The first answers to keys, by what the model made of them."""
        self.replay = Replay()

    @initialize(
        policy=policies,
        other=policies,
        strict=st.sampled_from([True, True, False]),
        lives=st.sampled_from([(600, 60), (20, 60), (20, 60), (60, 20)]),
        pace=st.sampled_from([None, None, 2, 1]),
        hall=st.sampled_from([PLANS[0], PLANS[2]]),
        length=st.sampled_from([1, 1, 3, 8]),
        wallet_needs_token=seldom,
    )
    def begin(
        self,
        *,
        policy: dict[str, Any],
        other: dict[str, Any],
        strict: bool,
        lives: tuple[int, int],
        pace: int | None,
        hall: tuple[SeatBlock, ...],
        length: int,
        wallet_needs_token: bool,
    ) -> None:
        other["charge_while_holding"] = policy["charge_while_holding"] = not strict
        policy["active_ttl_s"], policy["hold_ttl_s"] = lives
        policy["admit_per_interval"] = pace
        limits = SMALLEST_CHARGE, LARGEST_CHARGE, LARGEST_BALANCE
        self.real = RealService(ServiceRules(ChargeLimits(*limits), wallet_needs_token), BEGIN)
        self.model = Model(Rules(*limits, wallet_needs_token))
        self.wishes = Wishes(self.model.world, lambda: self.now)
        for code, rules in ((GALA, policy), (PLAY, other)):
            shows = [self.wishes.schedule(code, minutes, hall) for minutes in SHOW_MINUTES[1:]]
            self.together += [
                Wish(command) for command in (self.wishes.announce(code, rules), *shows, OpenSales(code))
            ]
        for user_id, amount in zip(USERS[:-1], BALANCES, strict=True):
            self.together += [
                Wish(OpenWallet(user_id, "Ann")),
                *[Wish(ChargeWallet(user_id, amount))] * (amount > 0),
            ]
        self.flush()
        self.length = length

    # Visits

    @rule(user_id=users, code=codes, count=st.integers(1, 6), nth=nths)
    def goes_on(self, user_id: UserId, code: ConcertCode, count: int, nth: int) -> None:
        self.ask(*list(self.wishes.visit_steps(user_id, code, nth))[:count])

    @rule(user_id=users, code=codes, nth=nths)
    def goes_all_the_way(self, user_id: UserId, code: ConcertCode, nth: int) -> None:
        self.ask(*self.wishes.visit_steps(user_id, code, nth))

    @rule(
        user_ids=st.lists(users, min_size=2, max_size=4, unique=True),
        code=codes,
        nth=nths,
        apart=st.booleans(),
    )
    def rush(self, *, user_ids: list[UserId], code: ConcertCode, nth: int, apart: bool) -> None:
        """Several go all the way at once, a step at a time, each to the same seats or to others."""
        visits = [
            list(self.wishes.visit_steps(user_id, code, nth + apart * other))
            for other, user_id in enumerate(user_ids)
        ]
        steps = zip_longest(*visits)
        self.ask(*[command for step in steps for command in step if command is not None])

    @rule(code=codes, wanted=st.lists(users, min_size=2, max_size=6), unknown=seldom)
    def crowd_joins(self, *, code: ConcertCode, wanted: list[UserId], unknown: bool) -> None:
        known = [*wanted, STRANGER] if unknown else wanted
        self.ask(*[JoinQueue(code, user_id, TokenId(self.wishes.new_id())) for user_id in known])

    @someone(Status.WAITING)
    @rule(code=codes, count=st.integers(1, 6))
    def timer_lets_in(self, code: ConcertCode, count: int) -> None:
        self.ask(self.wishes.let_in(code, count))

    @someone(Status.WAITING)
    @rule(code=codes, nth=few, us=around)
    def interval_is_over(self, code: ConcertCode, nth: int, us: int) -> None:
        """The gate is asked just when the admissions of a while ago no longer count."""
        self.flush()
        concert = self.model.world.concerts.get(code)
        if concert is not None and concert.activations:
            at = pick(concert.activations[::-1], nth) + timedelta(seconds=concert.policy["admit_interval_s"])
            self.real.log.clock = max(self.now, at + timedelta(microseconds=us))
            self.ask(self.wishes.let_in(code, 9))

    @someone(Status.WAITING)
    @rule(code=codes, count=few, back=few, gap=few, user_id=users)
    def timer_is_wrong(self, code: ConcertCode, count: int, back: int, gap: int, user_id: UserId) -> None:
        """Suggestions that are stale, with gaps, and with somebody else's number."""
        head = self.model.world.concerts[code].head if code in self.model.world.concerts else 0
        right = self.wishes.let_in(code, count).suggestions
        wrong = [Suggestion(head + 1 - back, user_id), Suggestion(head + 1 + gap + count, user_id)]
        self.ask(LetIn(code, (*wrong, *right)))

    @someone(Status.ACTIVE)
    @rule(nth=nths, show=few, seats=seats_wanted, named=st.booleans(), waiting=seldom)
    def reserves(self, *, nth: int, show: int, seats: tuple[int, ...], named: bool, waiting: bool) -> None:
        token = self.wishes.token(nth, Status.WAITING if waiting else Status.ACTIVE)
        visit, user_id = self.wishes.visit(token)
        wanted = self.wishes.show(visit.code, show)
        self.ask(self.wishes.reserve_seats(visit, user_id, wanted, seats, named=named))

    @someone(Status.ACTIVE)
    @rule(nth=nths, which=nths, seats=seats_wanted)
    def wants_what_others_have(self, nth: int, which: int, seats: tuple[int, ...]) -> None:
        """Who holds nothing asks for seats that are held or sold, and perhaps for others besides."""
        free = [token for token in self.wishes.tokens(Status.ACTIVE) if token.open is None]
        wanted = self.wishes.seats_taken(free[nth % len(free)].code) if free else []
        if wanted:
            show, number = pick(wanted, which)
            others = [seat for seat in seats if seat != number][: which % 3]
            visit, user_id = self.wishes.visit(pick(free, nth))
            self.ask(self.wishes.reserve_seats(visit, user_id, show, (number, *others)))

    @someone(*Status)
    @rule(nth=nths, seats=seats_wanted, odd=st.integers(0, 9))
    def reserves_strangely(self, nth: int, seats: tuple[int, ...], odd: int) -> None:
        """With a token of any status, or never issued, or another's, or of another concert."""
        visit, user_id = self.wishes.visit(pick([None, *self.wishes.tokens()][::-1], nth))
        show = self.wishes.show(visit.code, 0)
        match odd:
            case 0:
                visit = visit._replace(code=NOWHERE)
            case 1:
                visit = visit._replace(code=PLAY if visit.code == GALA else GALA)
            case 2:
                user_id = USERS[USERS.index(user_id) - 1]
            case 3:
                show = None
        self.ask(self.wishes.reserve_seats(visit, user_id, show, seats))

    @holding
    @rule(nth=nths, user_id=users, us=around, count=st.integers(1, 3), which=nths)
    def takes_over(self, nth: int, user_id: UserId, us: int, count: int, which: int) -> None:
        """Somebody active takes what another's hold has to give up, whether or not that is recorded."""
        token = self.wishes.holder(nth)
        held = token.open if token is not None else None
        if token is None or held is None:
            return
        *coming, reserve, pay = self.wishes.visit_to(
            user_id, token.code, held.show, held.seat_numbers[:count]
        )
        self.ask(*coming)
        self.flush()
        if held.until > self.now:
            self.real.log.clock = held.until + timedelta(microseconds=us)
        late = self.wishes.asked_at_the_end(token)
        self.ask(reserve, pick(late, which), pay, pick(late, which + 1))

    @holding
    @rule(nth=nths, us=around, which=nths)
    def overstays(self, nth: int, us: int, which: int) -> None:
        """Q5: past its deadline a token stays active for as long as its reservation is open."""
        self.flush()
        token = self.wishes.holder(nth)
        if token is not None and token.until is not None and not token.out_of_time(token.until):
            self.real.log.clock = max(self.now, token.until + timedelta(microseconds=us))
            self.ask(pick(self.wishes.asked_at_the_end(token), which))

    @holding
    @rule(nth=nths, seats=seats_wanted)
    def wants_more(self, nth: int, seats: tuple[int, ...]) -> None:
        visit, user_id = self.wishes.visit(self.wishes.holder(nth))
        self.ask(self.wishes.reserve_seats(visit, user_id, self.wishes.show(visit.code, 0), seats))

    @holding
    @rule(nth=nths, amount=st.sampled_from(CHARGES))
    def charges_while_holding(self, nth: int, amount: int) -> None:
        visit, user_id = self.wishes.visit(self.wishes.holder(nth))
        shown = visit if self.model.rules.wallet_needs_token else None
        self.ask(ChargeWallet(user_id, amount, shown))

    @holding
    @rule(nth=nths)
    def mistakes_the_concert(self, nth: int) -> None:
        token = self.wishes.holder(nth)
        pay = self.wishes.pay(token, token.last.id if token and token.last else None)
        visit = pay.visit._replace(code=PLAY if pay.visit.code == GALA else GALA)
        release = ReleaseReservation(visit, pay.user_id, pay.reservation_id or self.wishes.reservation(nth))
        self.ask(msgspec.structs.replace(pay, visit=visit), release)

    @holding
    @rule(nth=nths, amount=st.sampled_from([None, None, 777]))
    def pays(self, nth: int, amount: int | None) -> None:
        self.ask(self.wishes.pay(self.wishes.holder(nth), amount=amount))

    @holding
    @rule(nth=nths, which=nths, amount=st.sampled_from([None, 777]), named=st.booleans())
    def pays_for_something(self, *, nth: int, which: int, amount: int | None, named: bool) -> None:
        """For any reservation, of one's own or not, at any price."""
        token = self.wishes.holder(nth) if which < 40 else self.wishes.token(nth)
        own = self.wishes.reservations_of(token)
        reservation_id = pick(own, which // 2) if own and which % 2 else self.wishes.reservation(which // 2)
        self.ask(self.wishes.pay(token, reservation_id if named else None, amount))

    @holding
    @rule(nth=nths)
    def insists_on_paying(self, nth: int) -> None:
        token = self.wishes.holder(nth)
        self.ask(*[self.wishes.pay(token) for _ in range(7)])

    @holding
    @rule(nth=nths)
    def releases(self, nth: int) -> None:
        token = self.wishes.holder(nth)
        assert token is not None
        assert token.last is not None
        self.ask(ReleaseReservation(*self.wishes.visit(token), ReservationId(token.last.id)))

    @someone(*Status)
    @rule(nth=nths, which=nths)
    def releases_something(self, nth: int, which: int) -> None:
        visit, user_id = self.wishes.visit(self.wishes.token(nth))
        self.ask(ReleaseReservation(visit, user_id, self.wishes.reservation(which)))

    @precondition(lambda self: self.model.world.payments)
    @rule(nth=nths, by_another=seldom, twice=seldom, again=st.booleans())
    def gives_back(self, *, nth: int, by_another: bool, twice: bool, again: bool) -> None:
        """And perhaps asks for as many seats as one may have, at once."""
        refund = self.wishes.refund(nth // 4, by_another=by_another)
        self.ask(*[refund] * (2 if twice else 1))
        payment = self.model.world.payments.get(refund.payment_id)
        if again and payment is not None:
            code, show = payment.reservation.token.code, payment.reservation.show
            seats_max = self.model.world.concerts[code].policy["max_seats_per_user"]
            self.ask(*self.wishes.visit_to(refund.user_id, code, show, tuple(range(1, seats_max + 1))))

    @someone(Status.WAITING, Status.ACTIVE)
    @rule(nth=nths, any_token=seldom)
    def leaves(self, *, nth: int, any_token: bool) -> None:
        statuses = tuple(Status) if any_token else (Status.WAITING, Status.ACTIVE)
        self.ask(LeaveQueue(*self.wishes.visit(self.wishes.token(nth, *statuses))))

    @someone(Status.ACTIVE)
    @rule(nth=nths, pays=st.booleans())
    def makes_room(self, *, nth: int, pays: bool) -> None:
        """Whoever ends their visit frees a slot, but not for whom the gate lets in within the same append."""
        self.flush()
        token = self.wishes.holder(nth) if pays else self.wishes.token(nth, Status.ACTIVE)
        visit, user_id = self.wishes.visit(token)
        ends = self.wishes.pay(token) if pays else LeaveQueue(visit, user_id)
        self.submit(Wish(ends), Wish(self.wishes.let_in(visit.code, 9)))

    @someone(Status.ACTIVE)
    @rule(nth=nths)
    def timer_records_expiry(self, nth: int) -> None:
        self.ask(RecordExpiry(*self.wishes.visit(self.wishes.token(nth, Status.ACTIVE))))

    @someone(Status.WAITING, Status.ACTIVE)
    @rule(nth=nths)
    def timer_abandons(self, nth: int) -> None:
        self.ask(AbandonToken(*self.wishes.visit(self.wishes.token(nth, Status.ACTIVE, Status.WAITING))))

    # Users

    @rule(user_id=users, amount=st.sampled_from(CHARGES), nth=nths, shown=st.booleans())
    def charges(self, *, user_id: UserId, amount: int, nth: int, shown: bool) -> None:
        visit = None
        if shown and self.model.rules.wallet_needs_token:
            visit, user_id = self.wishes.visit(self.wishes.token(nth))
        self.ask(ChargeWallet(user_id, amount, visit))

    @rule(user_id=st.sampled_from([*USERS, STRANGER]), erases=seldom)
    def registers(self, *, user_id: UserId, erases: bool) -> None:
        if erases or user_id == STRANGER:
            self.ask(EraseProfile(user_id))
        else:
            self.ask(OpenWallet(user_id, "Ann"), EraseProfile(user_id), ChargeWallet(STRANGER, 10))

    # Operators and the timer

    @rule(code=st.sampled_from([TALK, TALK, GALA, NOWHERE]), policy=policies)
    def announces(self, code: ConcertCode, policy: dict[str, Any]) -> None:
        is_new = code == TALK and TALK not in self.model.world.concerts
        self.ask(self.wishes.announce(code, policy))
        if is_new:
            self.ask(*[self.wishes.schedule(code, minutes) for minutes in SHOW_MINUTES], OpenSales(code))

    @rule(code=codes, minutes=st.sampled_from([*SHOW_MINUTES, 1, 30]), nth=nths, twin=seldom)
    def schedules(self, *, code: ConcertCode, minutes: int, nth: int, twin: bool) -> None:
        show = self.wishes.show(code, nth)
        plan = None if twin else pick(PLANS, nth)
        self.ask(self.wishes.schedule(code, minutes, plan, show if twin else None))

    @rule(code=codes, nth=st.integers(0, 7))
    def operator_errs(self, code: ConcertCode, nth: int) -> None:
        """Times that a clock skips or shows twice, the plan of a performance there is not, wrong policies."""
        if nth < len(ODD_TIMES):
            at, day, start_time = ODD_TIMES[nth]
            self.ask(SchedulePerformance(at, day, StartTime(start_time), None, None, None))
        elif nth % 2:
            like = SeatsFrom(TOMORROW, StartTime("23:59"))
            self.ask(SchedulePerformance(code, TODAY, StartTime("23:00"), None, None, like))
        else:
            self.ask(*[ChangePolicy(code, changes) for changes in WRONG_POLICIES])

    @rule(code=codes, changed=st.lists(changes, min_size=1, max_size=2))
    def changes_policy(self, code: ConcertCode, changed: list[tuple[str, Any]]) -> None:
        self.ask(ChangePolicy(code, dict(changed)))

    @rule(code=codes, kind=st.sampled_from([CloseSales, PauseQueue]), seriously=st.booleans())
    def stops(self, *, code: ConcertCode, kind: Callable[[ConcertCode], Command], seriously: bool) -> None:
        self.ask(kind(code))
        if not seriously:
            self.ask(self.wishes.let_in(code, 9), ResumeQueue(code), OpenSales(code))

    @rule(code=codes)
    def reopens(self, code: ConcertCode) -> None:
        self.ask(ResumeQueue(code), OpenSales(code))

    @rule(code=codes, nth=few)
    def timer_withdraws(self, code: ConcertCode, nth: int) -> None:
        self.ask(self.wishes.withdraw(code, nth), FollowTimetable(code))

    # Time, and how it is asked

    @rule(seconds=steps_s)
    def time_passes(self, seconds: float) -> None:
        self.flush()
        self.real.log.clock += timedelta(seconds=seconds)

    @rule(nth=st.integers(0, 15), us=around, which=nths)
    def deadline_comes(self, nth: int, us: int, which: int) -> None:
        self._ask_at(self.wishes.deadlines(), nth, us, which)

    @holding
    @rule(nth=few, us=around, which=nths)
    def hold_runs_out(self, nth: int, us: int, which: int) -> None:
        self._ask_at(self.wishes.deadlines_of_holds(), nth, us, which)

    @someone(Status.ACTIVE)
    @rule(nth=few, us=around, which=nths)
    def token_runs_out(self, nth: int, us: int, which: int) -> None:
        self._ask_at(self.wishes.deadlines_of_tokens(), nth, us, which)

    def _ask_at(self, deadlines: Sequence[Deadline], nth: int, us: int, which: int) -> None:
        """Some things are asked for at the very instant, or within a microsecond of it."""
        self.flush()
        coming = sorted(deadline for deadline in deadlines if deadline.at > self.now)
        if coming:
            at, commands = pick(coming, nth)
            self.real.log.clock = at + timedelta(microseconds=us)
            first = which % len(commands) if commands else 0
            self.ask(*[*commands[first:], *commands[:first]][:ASKED_AT_A_DEADLINE])

    @rule(nth=nths, listens=st.sampled_from([True, True, False]))
    def is_heard_from(self, *, nth: int, listens: bool) -> None:
        self.flush()
        world, clock = self.model.world, self.real.log.clock
        token = self.wishes.token(nth, Status.WAITING, Status.ACTIVE)
        if token is not None and nth % 2:
            world.heard[token.id] = clock
        elif not listens:
            world.listening_since = None
        elif world.listening_since is None:
            world.listening_since = clock
        heard = {TokenId(id_): at for id_, at in world.heard.items()}
        self.real.log.hearing = Hearing(world.listening_since, heard)

    @rule(length=st.sampled_from([1, 1, 2, 3, 8]))
    def gather(self, length: int) -> None:
        self.length = length

    @rule(bus=st.integers(0, 1), restarts=seldom)
    def another_process_answers(self, *, bus: int, restarts: bool) -> None:
        self.flush()
        self.bus = bus
        if restarts:
            self.real.restart(bus)

    @rule(conflicts=st.integers(0, 3), lost=st.booleans())
    def log_is_in_trouble(self, *, conflicts: int, lost: bool) -> None:
        self.flush()
        self.real.log.conflicts, self.real.log.answer_is_lost = conflicts, lost

    @precondition(lambda self: self.keyed)
    @rule(nth=nths, other=st.booleans(), twice=st.booleans())
    def repeats(self, *, nth: int, other: bool, twice: bool) -> None:
        """The same key again, with the same request or with another one."""
        wish = pick(self.keyed[::-1], nth)
        assert wish.key is not None
        again = wish._replace(key=wish.key._replace(request=b"other")) if other else wish
        self.submit(*[again] * (2 if twice else 1))

    # Asking both

    @property
    def now(self) -> datetime:
        """The instant of the next append."""
        return self.model.now(self.real.log.clock)

    def ask(self, *commands: Command) -> None:
        """Ask for these; every third carries a key."""
        for command in commands:
            id_ = str(self.wishes.new_id())
            key = Key(str(getattr(command, "user_id", "admin")), id_, b"as asked")
            keyed = int(id_[0], 16) % 3 == 0
            self.submit(Wish(command, key if keyed else None))

    def submit(self, *wishes: Wish) -> None:
        self.keyed += [wish for wish in wishes if wish.key is not None]
        self.together += wishes
        if len(self.together) >= self.length:
            self.flush()

    def flush(self) -> None:
        """Let the real service and the model carry out what waits, and compare."""
        wishes, self.together = self.together, []
        if not wishes:
            return
        foretold, appends = self.model.ask(wishes, self.real.log.clock)
        answers, events = self.real.ask(wishes, self.bus)
        comparison.check_appends(events, appends)
        for wish, answer, outcome in zip(wishes, answers, foretold, strict=True):
            comparison.check_answer(answer, outcome)
            self._check_repeat(answer, outcome)
            self._count(wish, answer)
        self.replay.apply_all([stored(event) for event in events])
        self._check_audit()

    def _check_repeat(self, answer: Answer, outcome: Outcome) -> None:
        if outcome.repeats is None:
            self.first[id(outcome)] = answer
        else:
            comparison.check_reply(answer, self.first[id(outcome.repeats)])

    def _count(self, wish: Wish, answer: Answer) -> None:
        outcome = answer.outcome
        code = "repeat" if outcome is None and answer.recorded else getattr(outcome, "code", "done")
        self.tally[wish.name, code if isinstance(outcome, Exception) or code == "repeat" else "done"] += 1

    def _check_audit(self) -> None:
        """A1: another reading of the rules, which shares nothing with the model, finds no breach."""
        assert self.replay.books.breaches.kept == []

    def teardown(self) -> None:
        """In the end the audit finds nothing, and what the processes remember is what the log says."""
        if not hasattr(self, "real"):
            return
        try:
            self.flush()
            self.replay.close()
            self._check_audit()
            assert self.real.log.names == self.model.world.names
        finally:
            self.real.stop()
