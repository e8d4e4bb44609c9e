"""Workers tell how they do, for as long as they run."""

import asyncio
from uuid import uuid4

from structlog.testing import capture_logs

from infrastructure.worker_status import Facts, WorkerFound, WorkerStatus, worker_statuses
from tests.infrastructure.read_only import nobody_writes
from tests.live_sale import LiveSale


class Worker:
    """A worker that has something to tell."""

    def __init__(self, sale: LiveSale, role: str) -> None:
        self._sale = sale
        self._stop = asyncio.Event()
        self.facts: dict[str, int] = {"rounds": 1}
        status = WorkerStatus(sale.dsn, role, self._tell)
        self._running = sale.in_background(status.run(self._stop))

    def stop(self) -> None:
        self._stop.set()
        self._sale.until(self._running.done)

    def _tell(self) -> Facts:
        return self.facts


def test_a_worker_is_found_with_what_it_told_last(sale: LiveSale) -> None:
    worker = Worker(sale, "timer")
    sale.until(lambda: [found.facts for found in told(sale)] == [{"rounds": 1}])
    worker.facts = {"rounds": 2}
    sale.until(lambda: [found.facts for found in told(sale)] == [{"rounds": 2}])
    (found,) = told(sale)
    assert found.role == "timer"
    assert 0 <= found.age.total_seconds() < 20


def test_two_of_a_role_are_found_side_by_side(sale: LiveSale) -> None:
    Worker(sale, "timer")
    Worker(sale, "timer")
    sale.until(lambda: len(told(sale)) == 2)


def test_a_worker_that_stops_is_not_found_any_more(sale: LiveSale) -> None:
    worker = Worker(sale, "timer")
    sale.until(lambda: told(sale))
    worker.stop()
    assert not told(sale)


def test_a_worker_that_died_is_forgotten_after_a_while(sale: LiveSale) -> None:
    for age in (30, 90):
        sale.connection.execute(
            """
            INSERT INTO ticketing.worker_status (role, process_id, beat_at, facts)
            VALUES ('projector', %s, now() - make_interval(secs => %s), '{}')
            """,
            [uuid4(), age],
        )
    Worker(sale, "timer")
    sale.until(lambda: [found.role for found in told(sale)] == ["projector", "timer"])


def test_one_that_may_not_write_for_a_while_goes_on_telling(sale: LiveSale) -> None:
    worker = Worker(sale, "timer")
    sale.until(lambda: told(sale))
    with nobody_writes(sale.dsn, "ticketing-timer-status"), capture_logs() as logs:
        sale.until(lambda: any("read-only" in entry["error"] for entry in logs))
    worker.facts = {"rounds": 2}
    sale.until(lambda: [found.facts for found in told(sale)] == [{"rounds": 2}])


def told(sale: LiveSale) -> list[WorkerFound]:
    return list(sale.read(worker_statuses))
