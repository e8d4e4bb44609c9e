"""The operator: announces concerts, and then interferes with their sales in all the ways there are."""

from typing import Any

from tests.histories.client import Client
from tests.histories.hall import Hall, OnSale, Showing
from tests.histories.record import Call

NEW_CONCERT_EVERY_S = 12.0


class Operator:
    """Runs the sales of one hall."""

    def __init__(self, client: Client, hall: Hall) -> None:
        self._client = client
        self._hall = hall

    async def open_hall(self) -> None:
        """Put the first concert on sale."""
        await self._announce()

    async def announce_concerts(self) -> None:
        """Bring new concerts for ever; those who stand in older lines may stay."""
        while True:
            await self._announce()
            await self._client.pause(NEW_CONCERT_EVERY_S / 2, NEW_CONCERT_EVERY_S)

    async def interfere(self) -> None:
        """Do something to a sale now and then, for ever."""
        while True:
            await self._client.pause(0.1, 1.5)
            concert = self._client.rng.choice(self._hall.on_sale)
            await self._client.rng.choice([self._change_policy, self._pause, self._close, self._look])(
                concert
            )

    async def _announce(self) -> None:
        code, body = self._hall.new_concert()
        if (await self._command("announce", "", body, code)).status != 201:
            return
        showings = []
        for day in range(self._client.rng.randint(1, 2)):
            performance = self._hall.new_performance(day)
            scheduled = await self._command("schedule", f"/{code}/performances", performance, code)
            if scheduled.status == 201:
                seats = performance["seats"][-1]["last"]
                showings.append(Showing(performance["date"], performance["start_time"], seats))
        opened = await self._command("open", f"/{code}/sales/open", None, code)
        if opened.status == 200 and showings:
            self._hall.put_on_sale(OnSale(code, tuple(showings)))

    async def _change_policy(self, concert: OnSale) -> None:
        policy = self._hall.new_policy()
        names = self._client.rng.sample(sorted(policy), 2)
        changes = {name: policy[name] for name in names}
        path = f"/admin/concerts/{concert.code}/policy"
        await self._client.command(
            "change policy", "PATCH", path, changes, key=self._client.new_key(), admin=True, code=concert.code
        )

    async def _pause(self, concert: OnSale) -> None:
        await self._command("pause", f"/{concert.code}/queue/pause", None, concert.code)
        await self._client.pause(0, 0.7)
        await self._command("resume", f"/{concert.code}/queue/resume", None, concert.code)

    async def _close(self, concert: OnSale) -> None:
        await self._command("close", f"/{concert.code}/sales/close", None, concert.code)
        await self._client.pause(0, 0.7)
        await self._command("open", f"/{concert.code}/sales/open", None, concert.code)

    async def _look(self, concert: OnSale) -> None:
        path = f"/admin/concerts/{concert.code}/stats"
        await self._client.read("stats", path, admin=True, code=concert.code)

    async def _command(self, kind: str, path: str, body: Any, code: str) -> Call:
        return await self._client.command(
            kind, "POST", f"/admin/concerts{path}", body, key=self._client.new_key(), admin=True, code=code
        )
