"""Measures what is between the log and the read models when Kafka is, and how late they are then.

`python -m bench.topic` runs a real broker, PostgreSQL and the service; it takes about two minutes. Everything
shares the machine.
"""

import argparse
import asyncio
import tempfile
import threading
import time
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, LiteralString, NamedTuple
from uuid import UUID

import msgspec
import psutil
import psycopg
from psycopg import AsyncConnection, Connection

from bench.audit import log
from bench.client import request, run
from bench.service import database, embedded, migrate, processes, service
from infrastructure.collector import IN_BATCHES, collect_rarely
from infrastructure.epochs import Epochs, read_epochs
from infrastructure.feed import PostgresFeed
from infrastructure.kafka_client import client_options
from infrastructure.kafka_topic import KafkaTopic
from infrastructure.settings import Settings
from projections.projector import Projector
from projections.registry import PROJECTIONS
from tests.audit.database import store
from tests.kafka.broker import Broker

WITHIN_S = 120.0
LOOK_EVERY_S = 0.01

TOPIC_POSITION: LiteralString = "SELECT position FROM ticketing.topic"

ENDS: LiteralString = """
    SELECT (SELECT coalesce(max(notification_id), 0) FROM ticketing.ticketing_events),
           (SELECT min(position) FROM ticketing.projection_checkpoints)
"""


class Speed(NamedTuple):
    """How long some events took, by the clock on the wall, and of the process's own work."""

    events: int
    seconds: float
    cpu_seconds: float

    def __str__(self) -> str:
        per_s, per_cpu_s = self.events / self.seconds, self.events / self.cpu_seconds
        return f"{per_s:>9,.0f} events/s {per_cpu_s:>9,.0f} per CPU second"


class Lag(NamedTuple):
    """How far the read models were behind the log while it grew."""

    commands_per_s: float
    p50_ms: float
    p99_ms: float
    max_ms: float


@contextmanager
def over_kafka() -> Iterator[tuple[str, Mapping[str, str]]]:
    """Run a broker, and a PostgreSQL whose log goes to a topic; yield its DSN and the settings."""
    with (
        tempfile.TemporaryDirectory(prefix="ticketing-bench-kafka-") as folder,
        Broker(Path(folder) / "kafka", java_options=()) as broker,
        database() as dsn,
    ):
        told = {"TICKETING_KAFKA": broker.address}
        migrate(dsn, told)
        yield dsn, told


def relay_speed(dsn: str, told: Mapping[str, str], events: int) -> Speed:
    """Return how fast a relay publishes a log that it has not seen."""
    with (
        psycopg.connect(dsn, autocommit=True) as connection,
        processes(dsn, told, ["relay"]) as (relay,),
    ):
        worked = psutil.Process(relay.pid).cpu_times
        _until(lambda: _first(connection, TOPIC_POSITION) > 0)
        began, at, before = time.perf_counter(), _first(connection, TOPIC_POSITION), worked()
        _until(lambda: _first(connection, TOPIC_POSITION) >= events)
        after = worked()
        cpu_seconds = after.user + after.system - before.user - before.system
        return Speed(events - at, time.perf_counter() - began, cpu_seconds)


def projector_speed(dsn: str, told: Mapping[str, str], events: int) -> Speed:
    """Return how fast a projector applies events that come over the topic."""
    settings = Settings(kafka=tuple(told.values()))

    async def epochs() -> Epochs:
        async with await AsyncConnection.connect(dsn) as connection:
            return await read_epochs(connection)

    async def measure() -> Speed:
        feed = PostgresFeed(dsn)
        topic = KafkaTopic(settings.kafka_topic, client_options(settings), feed, epochs)
        nothing = dict.fromkeys(range(settings.kafka_partitions), 0)
        while not topic.partitions:
            await topic.read(nothing, 1)
            await asyncio.sleep(LOOK_EVERY_S)
        projector = Projector(dsn, feed, PROJECTIONS, topic=topic)
        collect_rarely(IN_BATCHES)  # as `ticketing project` does
        stop = asyncio.Event()
        running = asyncio.create_task(projector.run(stop))
        began, worked = time.perf_counter(), time.process_time()
        while min(standing.position for standing in projector.standings.values()) < events:
            await asyncio.sleep(LOOK_EVERY_S)
            if projector.reads_the_log:
                raise RuntimeError("the projector has left the topic")
        speed = Speed(events, time.perf_counter() - began, time.process_time() - worked)
        stop.set()
        await running
        await topic.close()
        await feed.close()
        return speed

    return asyncio.run(measure())


def lag(dsn: str, told: Mapping[str, str], *, rate: float, seconds: float, projectors: int) -> Lag:
    """Return how late read models are while wallets are charged at this rate."""
    with service(dsn, told=told, projectors=projectors) as port:
        users = [str(UUID(int=number + 1)) for number in range(2_000)]
        registrations = (_post("/api/v1/users", {"user_id": user}) for user in users)
        run(port, registrations, connections=32, seconds=60)
        watch = _Watch(dsn)
        watch.start()
        charges = (
            _post(f"/api/v1/users/{users[number % len(users)]}/wallet/charges", {"amount": 1})
            for number in range(int(rate * seconds))
        )
        result = run(port, charges, connections=64, seconds=seconds + 30, rate=rate)
        return watch.found(result.rate)


class _Watch(threading.Thread):
    """Looks all the time how far the log goes, and how far the read models do."""

    def __init__(self, dsn: str) -> None:
        super().__init__(daemon=True)
        self._dsn = dsn
        self._told_to_stop = threading.Event()
        self._looks: list[tuple[float, int, int]] = []

    def run(self) -> None:
        with psycopg.connect(self._dsn, autocommit=True) as connection:
            while not self._told_to_stop.wait(LOOK_EVERY_S):
                end, reached = connection.execute(ENDS).fetchone() or (0, 0)
                self._looks.append((time.perf_counter(), end, reached))

    def found(self, commands_per_s: float) -> Lag:
        """How long it took, from each look, until the read models had come to where the log was then."""
        _until(lambda: self._looks and self._looks[-1][1] == self._looks[-1][2])
        self._told_to_stop.set()
        self.join()
        reached = [reached for _, _, reached in self._looks]
        late = sorted(
            self._looks[at][0] - then
            for then, end, _ in self._looks
            if (at := bisect_left(reached, end)) < len(reached)
        )
        p50, p99, longest = (late[int((len(late) - 1) * share)] * 1_000 for share in (0.5, 0.99, 1))
        return Lag(commands_per_s, p50, p99, longest)


def _until(condition: Any) -> None:
    deadline = time.perf_counter() + WITHIN_S
    while not condition():
        if time.perf_counter() > deadline:
            raise TimeoutError("waited in vain")
        time.sleep(LOOK_EVERY_S)


def _first(connection: Connection[Any], query: LiteralString) -> int:
    ((number,),) = connection.execute(query).fetchall()
    return int(number)


def _post(path: str, body: Any) -> bytes:
    return request("POST", path, msgspec.json.encode(body))


def main() -> None:
    """Measure, and print one line each."""
    parser = argparse.ArgumentParser(prog="bench.topic", description=__doc__)
    parser.add_argument("--events", type=int, default=200_000, help="of the backlog (200000)")
    parser.add_argument("--rate", type=float, default=1_500, help="commands per second (1500)")
    parser.add_argument("--seconds", type=float, default=20, help="of load (20)")
    options = parser.parse_args()
    with over_kafka() as (dsn, told):
        store(dsn, log(options.events))
        with psycopg.connect(dsn) as connection:
            events = _first(connection, "SELECT max(notification_id) FROM ticketing.ticketing_events")
        print(f"relay      {relay_speed(dsn, told, events)}", flush=True)
        print(f"projector  {projector_speed(dsn, told, events)}", flush=True)
    for name, over in (("Kafka between", over_kafka), ("embedded", embedded)):
        with over() as (dsn, told):
            found = lag(dsn, told, rate=options.rate, seconds=options.seconds, projectors=1 + bool(told))
            print(
                f"{name:14} read models behind at {found.commands_per_s:,.0f} commands/s: "
                f"p50 {found.p50_ms:.0f} ms, p99 {found.p99_ms:.0f} ms, max {found.max_ms:.0f} ms",
                flush=True,
            )


if __name__ == "__main__":
    main()
