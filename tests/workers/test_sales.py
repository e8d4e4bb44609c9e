"""What the timer knows of the sales is read anew when rows were changed behind what it has seen."""

import asyncio
from typing import Any

import psycopg

from projections import checkpoints, queue
from tests.commands.sale import Sale
from tests.commands.steps import on_sale
from tests.projections.read_models import connect, project
from workers.sales import Sales


def test_a_read_model_that_was_amended_is_read_anew(dsn: str) -> None:
    sale = Sale()
    sale.done(on_sale())
    project(dsn, sale.log.events)

    def change_behind_the_position() -> None:
        """As a retry does: the row's position is older than what was seen."""
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute("UPDATE queue_v2.queues SET issued = 7")

    async def run() -> list[Any]:
        sales, seen = Sales(), []
        async with await connect(dsn) as connection:
            for amends in (False, True):
                await sales.refresh(connection)
                seen.append([one.line.issued for one in sales])
                change_behind_the_position()
                if amends:
                    await checkpoints.amend(connection, [queue.PROJECTION])
            await sales.refresh(connection)
            seen.append([one.line.issued for one in sales])
        return seen

    assert asyncio.run(run()) == [[0], [0], [7]]
