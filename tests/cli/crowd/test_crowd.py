"""A crowd as a whole, and how it is sent home."""

import asyncio
from collections.abc import Sequence

from cli.crowd.crowd import Crowd
from cli.crowd.visit import End, Visit, Wish
from tests.cli.crowd.played_service import CODE, WAITING, PlayedService, playing

WISH = Wish(concert=CODE, seats=1, charge=5_000, patience_s=60, poll_every_ms=None)


def test_everyone_comes_in_their_turn_and_is_counted_where_they_are() -> None:
    service = PlayedService({})

    async def play() -> tuple[Crowd, Sequence[Visit]]:
        async with playing(service) as reached:
            crowd = Crowd(reached, WISH, [0.0, 0.0, 0.05])
            return crowd, await crowd.run()

    crowd, visits = asyncio.run(play())
    assert [visit.end for visit in visits] == [End.BOUGHT] * 3
    assert +crowd.places == {"bought": 3}
    assert crowd.seconds >= 0.05
    assert service.calls[:6].count("register") == service.calls[:6].count("charge") == 3


def test_a_crowd_that_is_sent_home_leaves_the_line_and_ends_soon() -> None:
    """Two wait in line, one would come in an hour."""
    service = PlayedService({"poll": [WAITING] * 100_000})

    async def play() -> Sequence[Visit]:
        async with playing(service) as reached:
            crowd = Crowd(reached, WISH, [0.0, 0.0, 3_600.0])
            running = asyncio.create_task(crowd.run())
            async with asyncio.timeout(10):
                while crowd.places["waiting"] < 2:  # noqa: ASYNC110 (a crowd tells no one where it is)
                    await asyncio.sleep(0.01)
                crowd.send_home()
                return await running

    visits = asyncio.run(play())
    assert [visit.end for visit in visits] == [End.IMPATIENT] * 3
    assert [visit.reason for visit in visits] == ["waiting", "waiting", "joining"]
    assert service.calls.count("leave") == 2
