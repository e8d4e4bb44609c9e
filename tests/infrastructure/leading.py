"""A process that leads or stands by: it prints a line for each act of its leadership. `python … DSN`."""

import asyncio
import sys

from infrastructure.leader import Leader

ACT_EVERY_S = 0.01


async def main(dsn: str) -> None:
    leader = Leader(dsn, "test")

    async def work() -> None:
        while True:
            if leader.leads:
                print("act", flush=True)  # noqa: T201
            await asyncio.sleep(ACT_EVERY_S)

    await leader.lead(work, asyncio.Event())


asyncio.run(main(sys.argv[1]))
