"""A user with a will of their own: comes, waits, looks, takes seats, changes them, pays, pays twice, goes."""

import asyncio
from typing import Any

from tests.histories.client import Client, Visit
from tests.histories.hall import Hall, OnSale, Showing
from tests.histories.record import Call

POLLS_MAX = 60
TRIES_MAX = 3
"""Of taking seats, in one visit."""

LOST_THE_RACE = frozenset({"SEAT_ALREADY_HELD", "SEAT_ALREADY_SOLD", "SEAT_LIMIT_EXCEEDED"})


class Buyer:
    """One user, who may visit several concerts at once, from several connections."""

    def __init__(self, client: Client, hall: Hall) -> None:
        self._client = client
        self._rng = client.rng
        self._hall = hall
        self.user_id = client.new_key()

    async def live(self) -> None:
        """Register, then visit one concert after another, for ever."""
        await self._command("register", "POST", "/users", {"user_id": self.user_id})
        while True:
            concerts = self._rng.sample(self._hall.on_sale, self._several(len(self._hall.on_sale)))
            await asyncio.gather(*(self._visit(concert) for concert in concerts))
            await self._client.pause(0, 0.2)

    async def look_back(self) -> None:
        """Read all that is known of this user, page by page."""
        user = f"/users/{self.user_id}"
        await self._client.read("wallet", f"{user}/wallet", user_id=self.user_id)
        for kind, path in (
            ("entries", f"{user}/wallet/entries"),
            ("payments", f"{user}/payments"),
            ("reservations", f"{user}/reservations"),
        ):
            query: dict[str, Any] = {"limit": self._rng.choice([7, 50, 200])}
            while True:
                call = await self._client.read(kind, path, user_id=self.user_id, query=query)
                if call.status != 200 or not call.view["next"]:
                    break
                query = {**query, "after": call.view["next"]}

    def _several(self, most: int) -> int:
        return min(most, self._rng.choice([1, 1, 1, 2]))

    async def _visit(self, concert: OnSale) -> None:
        visit = await self._join(concert)
        if visit is None:
            return
        if self._client.chance(0.05):
            await self._leave(visit)
            return
        if not await self._wait_for_turn(visit):
            return
        if self._client.chance(0.04):
            return  # takes up a slot until the token's deadline
        for _ in range(TRIES_MAX):
            reservation = await self._take_seats(visit, concert)
            if reservation is not None:
                await self._decide(visit, concert, reservation)
                return
        if self._client.chance(0.8):
            await self._leave(visit)

    async def _join(self, concert: OnSale) -> Visit | None:
        path = f"/concerts/{concert.code}/token"
        join = ("join", "POST", path, {"user_id": self.user_id})
        if self._client.chance(0.1):
            calls = await asyncio.gather(*(self._command(*join, code=concert.code) for _ in range(3)))
        else:
            calls = [await self._command(*join, code=concert.code)]
        for call in calls:
            if call.status in {200, 201}:
                view = call.view
                return Visit(
                    view["token"], view["token_id"], self.user_id, concert.code, view["queue_number"]
                )
        await self._client.pause(0.05, 0.5)
        return None

    async def _wait_for_turn(self, visit: Visit) -> bool:
        path = f"/concerts/{visit.code}/token"
        patience = self._rng.randint(5, POLLS_MAX)
        for _ in range(patience):
            call = await self._client.read("poll", path, visit=visit, fresh=self._client.chance(0.6))
            status = call.view["status"] if call.status == 200 else None
            if status == "ACTIVE":
                return True
            if status != "WAITING":
                return False
            if self._client.chance(0.03):
                await self._take(visit, self._hall.on_sale[0].showings[0], [1])  # out of turn
            await self._client.pause(0.05, 0.3)
        await self._leave(visit)
        return False

    async def _take_seats(self, visit: Visit, concert: OnSale) -> dict[str, Any] | None:
        showing = self._rng.choice(concert.showings)
        if self._client.chance(0.3):
            query = {"all": "true"} if self._client.chance(0.5) else None
            await self._client.read("dates", f"/concerts/{concert.code}/dates", visit=visit, query=query)
        seats = await self._choose(visit, showing)
        if self._client.chance(0.06):
            calls = await asyncio.gather(*(self._take(visit, showing, seats) for _ in range(2)))
        else:
            calls = [await self._take(visit, showing, seats)]
        for call in calls:
            if call.status == 201:
                reservation: dict[str, Any] = call.view
                return reservation
        return None

    async def _choose(self, visit: Visit, showing: Showing) -> list[int]:
        """Choose seats that are free, or, as many do, the best ones without a look."""
        count = self._rng.choice([1, 1, 2, 3])
        if self._client.chance(0.3):
            return sorted(self._rng.sample(range(1, min(4, showing.seats) + 1), count))
        seats = await self._look_at_seats(visit, showing)
        free = [seat["seat_number"] for seat in seats if seat["status"] == "AVAILABLE"]
        if not free or self._client.chance(0.1):
            free = list(range(1, showing.seats + 2))  # one too many
        return sorted(self._rng.sample(free, min(count, len(free))))

    async def _look_at_seats(self, visit: Visit, showing: Showing) -> list[dict[str, Any]]:
        path = f"/concerts/{visit.code}/seats"
        query = {"date": showing.date, "start_time": showing.start_time}
        fresh = self._client.chance(0.7)
        call = await self._client.read("seats", path, visit=visit, query=query, fresh=fresh)
        if call.status == 200 and self._client.chance(0.2):
            again = await self._client.read("seats", path, visit=visit, query=query, if_none_match=call.etag)
            call = again if again.status == 200 else call
        seats: list[dict[str, Any]] = call.view["seats"] if call.status == 200 else []
        return seats

    async def _take(self, visit: Visit, showing: Showing, seats: list[int]) -> Call:
        body = {"date": showing.date, "start_time": showing.start_time, "seat_numbers": seats}
        return await self._command(
            "reserve", "POST", f"/concerts/{visit.code}/reservations", body, visit=visit
        )

    async def _decide(self, visit: Visit, concert: OnSale, reservation: dict[str, Any]) -> None:
        """Do with a reservation what people do."""
        pay = self._pay
        match self._rng.choices(
            ["pay", "pay twice", "change", "lapse", "leave", "vanish", "release and pay"],
            weights=[50, 12, 10, 10, 6, 4, 4],
        )[0]:
            case "pay":
                await self._charge_some(reservation["amount"])
                await self._settle(visit, await pay(visit, reservation))
            case "pay twice":
                await self._charge_some(reservation["amount"])
                paid = await asyncio.gather(pay(visit, reservation), pay(visit, reservation))
                await self._settle(visit, paid[0] if paid[0].status == 201 else paid[1])
            case "change":
                await self._release(visit, reservation)
                await self._look_at_reservation(visit, reservation)
                changed = await self._take_seats(visit, concert)
                if changed is not None:
                    await self._settle(visit, await pay(visit, changed))
            case "lapse":
                await self._client.pause(0.5, 5)
                await pay(visit, reservation)
                await self._look_at_reservation(visit, reservation)
            case "leave":
                await self._leave(visit)
                await self._look_at_reservation(visit, reservation)
            case "release and pay":
                await asyncio.gather(self._release(visit, reservation), pay(visit, reservation))
            case _:
                pass

    async def _settle(self, visit: Visit, paid: Call) -> None:
        """After a payment: look at it, perhaps regret it; without money, find some."""
        if paid.error == "INSUFFICIENT_BALANCE" and self._client.chance(0.7):
            await self._charge_some(paid.view["amount"])
            paid = await self._command("pay", "POST", "/payments", {}, visit=visit)
        if paid.status != 201:
            return
        payment = paid.view
        await self._client.read("payment", f"/payments/{payment['payment_id']}", visit=visit)
        await self._look_at_reservation(visit, payment)
        if self._client.chance(0.3):
            await self._look_at_wallet()
        if self._client.chance(0.6):
            await self._client.pause(0, 1)
            await asyncio.gather(*(self._refund(payment) for _ in range(self._several(2))))
            await self._client.read("payment", f"/payments/{payment['payment_id']}", visit=visit)

    async def _charge_some(self, amount: int) -> None:
        """Charge enough, or too little, at once or from several connections."""
        match self._rng.choice(
            ["enough", "enough", "in parts", "too little", "nothing", "what no wallet takes"]
        ):
            case "enough":
                await self._charge(amount)
            case "in parts":
                await asyncio.gather(*(self._charge(amount // 3 + 1) for _ in range(3)))
            case "too little":
                await self._charge(self._rng.choice([1, 999, amount // 2]))
            case "what no wallet takes":
                await self._charge(self._rng.choice([0, -1, 10_000_001]))
            case _:
                pass

    async def _charge(self, amount: int) -> None:
        path = f"/users/{self.user_id}/wallet/charges"
        await self._command("charge", "POST", path, {"amount": amount})

    async def _refund(self, payment: dict[str, Any]) -> None:
        path = f"/payments/{payment['payment_id']}/refund"
        await self._command("refund", "POST", path, {"user_id": self.user_id})

    async def _pay(self, visit: Visit, reservation: dict[str, Any]) -> Call:
        body: dict[str, Any] = {"reservation_id": reservation["reservation_id"]}
        if self._client.chance(0.3):
            body["amount"] = reservation["amount"] + (1 if self._client.chance(0.1) else 0)
        return await self._command("pay", "POST", "/payments", body, visit=visit)

    async def _release(self, visit: Visit, reservation: dict[str, Any]) -> None:
        path = f"/reservations/{reservation['reservation_id']}"
        await self._command("release", "DELETE", path, visit=visit)

    async def _leave(self, visit: Visit) -> None:
        await self._command("leave", "DELETE", f"/concerts/{visit.code}/token", visit=visit)

    async def _look_at_reservation(self, visit: Visit, of: dict[str, Any]) -> None:
        await self._client.read("reservation", f"/reservations/{of['reservation_id']}", visit=visit)

    async def _look_at_wallet(self) -> None:
        await self._client.read("wallet", f"/users/{self.user_id}/wallet", user_id=self.user_id)

    async def _command(self, kind: str, method: str, path: str, body: Any = None, **about: Any) -> Call:
        """Mostly with a key, now and then repeated, seldom with another body under the same key."""
        about = {"user_id": self.user_id, **about}
        key = self._client.new_key() if self._client.chance(0.8) else None
        ask = self._client.command
        if key is not None and self._client.chance(0.05):
            call, _ = await asyncio.gather(
                ask(kind, method, path, body, key=key, **about),
                ask(kind, method, path, body, key=key, **about),
            )
        else:
            call = await ask(kind, method, path, body, key=key, **about)
        if key is not None and self._client.chance(0.1):
            await ask(kind, method, path, body, key=key, **about)
        another = _another(kind, body)
        if key is not None and another is not None and self._client.chance(0.04):
            await ask(kind, method, path, another, key=key, **about)
        return call


def _another(kind: str, body: Any) -> dict[str, Any] | None:
    """A well-formed body that asks for something else, None where there is none."""
    match kind:
        case "charge":
            return {**body, "amount": body["amount"] + 1}
        case "pay":
            return {**body, "amount": 1}
        case "reserve":
            return {**body, "seat_numbers": [*body["seat_numbers"], 99]}
        case "register":
            return {**body, "name": "Another"}
        case _:
            return None
