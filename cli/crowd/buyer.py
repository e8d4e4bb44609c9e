"""One simulated buyer: registers, charges a wallet, stands in line, chooses seats, pays."""

import asyncio
import random
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from typing import Any, Final, NamedTuple
from uuid import uuid4

from cli.crowd import answers
from cli.crowd.calls import REPEATABLE, NoAnswer, Problem, Reply, Service, UnexpectedAnswer
from cli.crowd.visit import End, Stage, Visit, Wish

PAYMENT_TRIES_MAX: Final = 3
"""Once, once more after charging what was missing, and once more where a price was read wrongly."""

LEAVING_S_MAX: Final = 10
"""Who has lost patience does not wait long for leave to be taken."""

ENDS_OF_REFUSALS: Final[Mapping[str, End]] = {
    "SALES_NOT_OPEN": End.SALES_CLOSED,
    "TOKEN_EXPIRED": End.OUT_OF_TIME,
    "TOKEN_ENDED": End.TOKEN_ENDED,
    "AMOUNT_OUT_OF_RANGE": End.REFUSED,
    "BALANCE_LIMIT_EXCEEDED": End.REFUSED,
    "CHARGE_NOT_ALLOWED_WHILE_HOLDING": End.REFUSED,
    "INSUFFICIENT_BALANCE": End.REFUSED,
    "RESERVATION_ALREADY_OPEN": End.REFUSED,
    "SEAT_LIMIT_EXCEEDED": End.REFUSED,
    **dict.fromkeys(REPEATABLE, End.REFUSED),
}
"""Refusals after which a buyer goes home. Any other that is not handled below has no place in a visit."""

ENDS_OF_TOKENS: Final[Mapping[str, End]] = {
    "EXPIRED": End.OUT_OF_TIME,
    "CANCELLED": End.TOKEN_ENDED,
    "COMPLETED": End.TOKEN_ENDED,
}

LOST_THE_RACE: Final = frozenset({"SEAT_ALREADY_HELD", "SEAT_ALREADY_SOLD"})

CHOOSE_AGAIN: Final = LOST_THE_RACE | {
    "HOLD_EXPIRED",
    "PERFORMANCE_NOT_FOUND",
    "PERFORMANCE_STARTED",
    "RESERVATION_NOT_OPEN",
    "SEAT_NOT_FOUND",
}
"""Refusals after which the buyer looks at the dates and seats anew."""


class _Ending(NamedTuple):
    end: End
    reason: str = ""


class _GoHome(Exception):
    def __init__(self, end: End, reason: str = "") -> None:
        super().__init__(end)
        self.ending = _Ending(end, reason)


class Buyer:
    """One buyer. `prepare`, then `visit`, which goes the whole way; neither fails."""

    def __init__(self, service: Service, wish: Wish, moved: Callable[[str, str], None]) -> None:
        """`moved(before, after)` is told of every step, and of the end."""
        self._user_id = uuid4()
        self._service = service
        self._wish = wish
        self._moved = moved
        self._place: Stage | End = Stage.PREPARING
        self._token: answers.Token | None = None
        self._charged = False
        self._position = 0
        self._in_line_at: float | None = None
        self._let_in_at: float | None = None
        self._races_lost = 0
        self._amount_seen = 0
        self._payment: answers.Payment | None = None
        self._unprepared: _Ending | None = None
        self._patience_s = wish.patience_s
        self._patience: asyncio.Timeout | None = None
        self._answered = True

    def lose_patience(self) -> None:
        """Give up whatever this buyer does or is about to do; a place in line is given back."""
        self._patience_s = 0
        if self._patience is not None and not self._patience.expired():
            self._patience.reschedule(0)

    async def prepare(self) -> None:
        """Register and charge the wallet, before the sale begins."""
        self._unprepared = await self._ending_of(self._register())
        self._move(Stage.AWAY)

    async def visit(self) -> Visit:
        """Come to the queue, and leave it with seats or without."""
        clock = asyncio.get_running_loop().time
        came_at = clock()

        def after(moment: float | None) -> float | None:
            return None if moment is None else moment - came_at

        ending = self._unprepared or await self._ending_of(self._go_the_whole_way()) or _Ending(End.BOUGHT)
        visit = Visit(
            self._user_id,
            ending.end,
            ending.reason,
            None if self._token is None else self._token.queue_number,
            after(self._in_line_at),
            after(self._let_in_at),
            clock() - came_at,
            self._races_lost,
            self._payment,
            self._amount_seen,
        )
        await self._leave_politely(ending.end)
        self._move(ending.end)
        return visit

    async def _ending_of(self, steps: Coroutine[Any, Any, None]) -> _Ending | None:
        """Take these steps; return how they ended the visit, None where it can go on."""
        try:
            async with asyncio.timeout(self._patience_s) as self._patience:
                await steps
        except _GoHome as home:
            return home.ending
        except TimeoutError:
            return _Ending(End.IMPATIENT, self._place)
        except Problem as problem:
            return self._ending_of_refusal(problem)
        except (NoAnswer, UnexpectedAnswer) as failure:
            self._answered = isinstance(failure, UnexpectedAnswer)
            return _Ending(End.FAILED, str(failure))
        finally:
            self._patience = None
        return None

    def _ending_of_refusal(self, problem: Problem) -> _Ending:
        end = ENDS_OF_REFUSALS.get(problem.code)
        if end is not None:
            return _Ending(end, problem.code)
        self._service.measured.unexpected[str(problem)] += 1
        return _Ending(End.FAILED, str(problem))

    async def _register(self) -> None:
        await self._command("register", "POST", "/users", {"user_id": str(self._user_id)})
        await self._charge(self._wish.charge)

    async def _charge(self, amount: int) -> None:
        """Charge the wallet. Where that needs a token, it waits until there is one."""
        path = f"/users/{self._user_id}/wallet/charges"
        try:
            await self._command("charge", "POST", path, {"amount": amount})
        except Problem as problem:
            if problem.code != "TOKEN_MISSING" or self._token is not None:
                raise
        else:
            self._charged = True

    async def _go_the_whole_way(self) -> None:
        token = await self._join()
        if not self._charged:
            await self._charge(self._wish.charge)
        while self._payment is None:
            await self._wait_in_line(token)
            token = await self._buy() or token

    async def _join(self) -> answers.Token:
        self._move(Stage.JOINING)
        path = f"/concerts/{self._wish.concert}/token"
        reply = await self._command("join", "POST", path, {"user_id": str(self._user_id)})
        self._token = reply.read(answers.Token)
        self._in_line_at = asyncio.get_running_loop().time()
        return self._token

    async def _wait_in_line(self, token: answers.Token) -> None:
        """Poll until let in, as long as there is something to wait for."""
        while token.status != "ACTIVE":
            self._move(Stage.WAITING)
            _go_home_if_in_vain(token)
            token = await self._poll_after(token)
        if self._let_in_at is None:
            self._let_in_at = asyncio.get_running_loop().time()

    async def _poll_after(self, token: answers.Token) -> answers.Token:
        poll_ms = self._wish.poll_every_ms or token.poll_after_ms
        await asyncio.sleep(poll_ms / 1_000 * random.uniform(1, 1.1))  # noqa: S311 (spreads the polls)
        path = f"/concerts/{self._wish.concert}/token"
        reply = await self._service.call("poll", "GET", path, headers=self._headers())
        self._token = reply.read(answers.Token)
        return self._token

    async def _buy(self) -> answers.Token | None:
        """Choose, reserve and pay, once; return the token anew where that has to wait."""
        self._move(Stage.CHOOSING)
        try:
            showing = await self._choose_showing()
            if showing is None:
                return await self._look_later()
            reservation = await self._reserve(showing, await self._choose_seats(showing))
            self._move(Stage.PAYING)
            await self._pay(reservation)
        except Problem as problem:
            self._position = max(self._position, problem.position)
            if problem.code == "TOKEN_NOT_ACTIVE":
                return await self._look_later()
            if problem.code not in CHOOSE_AGAIN:
                raise
            self._races_lost += problem.code in LOST_THE_RACE
        return None

    async def _look_later(self) -> answers.Token:
        """All seats are held or sold, of which one may yet come free."""
        if self._token is None:
            raise AssertionError("a buyer joins before anything else")
        token = await self._poll_after(self._token)
        _go_home_if_in_vain(token)
        return token

    async def _choose_showing(self) -> answers.Showing | None:
        """Any performance with free seats, those with more of them more often."""
        reply = await self._read("dates", f"/concerts/{self._wish.concert}/dates")
        showings = reply.read(answers.Dates).dates
        if not showings:
            return None
        weights = [showing.seats_available for showing in showings]
        return random.choices(showings, weights)[0]  # noqa: S311 (a taste)

    async def _choose_seats(self, showing: answers.Showing) -> list[answers.Seat]:
        """Neighbours, beginning anywhere in what is free; fewer, if fewer are left. Perhaps none."""
        query = f"date={showing.date}&start_time={showing.start_time}"
        reply = await self._read("seats", f"/concerts/{self._wish.concert}/seats?{query}")
        free = [seat for seat in reply.read(answers.SeatMap).seats if seat.status == "AVAILABLE"]
        begin = random.randrange(max(1, len(free) - self._wish.seats + 1))  # noqa: S311 (a taste)
        return free[begin : begin + self._wish.seats]

    async def _reserve(self, showing: answers.Showing, seats: list[answers.Seat]) -> answers.Reservation:
        if not seats:
            raise Problem("seats", "SEAT_ALREADY_HELD", {})
        self._amount_seen = sum(seat.price for seat in seats)
        wanted = {
            "date": showing.date,
            "start_time": showing.start_time,
            "seat_numbers": [seat.seat_number for seat in seats],
        }
        path = f"/concerts/{self._wish.concert}/reservations"
        return (await self._command("reserve", "POST", path, wanted)).read(answers.Reservation)

    async def _pay(self, reservation: answers.Reservation) -> None:
        """Pay; where the wallet holds too little, charge what is missing and pay again."""
        for tries_left in reversed(range(PAYMENT_TRIES_MAX)):
            try:
                wanted = {"reservation_id": str(reservation.reservation_id)}
                reply = await self._command("pay", "POST", "/payments", wanted)
            except Problem as problem:
                if problem.code != "INSUFFICIENT_BALANCE" or not tries_left:
                    raise
                await self._charge(int(problem.members["amount"]) - int(problem.members["balance"]))
            else:
                self._payment = reply.read(answers.Payment)
                return

    async def _leave_politely(self, end: End) -> None:
        """Give back a place in line, and seats, that are of no use any more."""
        ended_already = end in {End.BOUGHT, End.OUT_OF_TIME, End.TOKEN_ENDED}
        if self._token is None or ended_already or not self._answered:
            return
        with suppress(Problem, NoAnswer, UnexpectedAnswer, TimeoutError):
            async with asyncio.timeout(LEAVING_S_MAX):
                await self._command("leave", "DELETE", f"/concerts/{self._wish.concert}/token")

    async def _command(
        self, name: str, method: str, path: str, body: Mapping[str, Any] | None = None
    ) -> Reply:
        headers = {**self._headers(), "Idempotency-Key": str(uuid4())}
        reply = await self._service.call(name, method, path, body=body, headers=headers)
        self._position = max(self._position, reply.position)
        return reply

    async def _read(self, name: str, path: str) -> Reply:
        """Read what reflects all that this buyer has done and seen."""
        headers = {**self._headers(), "Min-Log-Position": str(self._position)}
        return await self._service.call(name, "GET", path, headers=headers)

    def _headers(self) -> dict[str, str]:
        return {} if self._token is None else {"Authorization": f"Bearer {self._token.token}"}

    def _move(self, place: Stage | End) -> None:
        if place is not self._place:
            self._moved(self._place, place)
            self._place = place


def _go_home_if_in_vain(token: answers.Token) -> None:
    if token.status in ENDS_OF_TOKENS:
        raise _GoHome(ENDS_OF_TOKENS[token.status], token.status)
    if token.sold_out:
        raise _GoHome(End.SOLD_OUT)
    if token.sales == "CLOSED":
        raise _GoHome(End.SALES_CLOSED)
