"""How soon `ticketing up` answers: in a new data folder, in an old one, and in one with a long history."""

import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from bench.curve import Curve, Line
from bench.growth.figure import Growth, Tell, at_most
from bench.growth.history import History
from bench.growth.running import catch_up, connect
from bench.growth.sale import ALL_WAIT, Sale, users
from bench.service import ADMIN_KEY, TICKETING, wait_until_ready
from infrastructure.data_folder import DataFolder
from infrastructure.embedded_postgres import EmbeddedPostgres

EVENTS, SHORT_EVENTS = 1_000_000, 20_000
ROUNDS, SHORT_ROUNDS = 3, 1
NEW_S_MAX, OLD_S_MAX = 10, 5
STOPS_WITHIN_S = 30


def measure(tell: Tell, *, short: bool) -> Growth:
    """Start often; each time but the first in a folder that was stopped cleanly before."""
    rounds, events = (SHORT_ROUNDS, SHORT_EVENTS) if short else (ROUNDS, EVENTS)
    new: list[float] = []
    for _ in range(rounds):
        with _folder() as folder, _running(folder) as (seconds, _):
            new.append(seconds)
    with _folder() as folder:
        with _running(folder):
            pass
        tell("an old folder")
        old = _starts(folder, rounds)
        with _running(folder) as (_, port):
            _fill(folder, port, events, tell)
        tell(f"{events:,} events")
        long = _starts(folder, rounds)
    places = {"a new folder": new, "an old one": old, f"one with {events:,} events": long}
    limits = (NEW_S_MAX, OLD_S_MAX, OLD_S_MAX)
    figures = [
        at_most(f"ready in {place}", max(seconds), "s", limit)
        for (place, seconds), limit in zip(places.items(), limits, strict=True)
    ]
    curve = Curve(
        "From `ticketing up` to /readyz",
        "data folder",
        list(places),
        "seconds",
        [
            Line("median", [median(seconds) for seconds in places.values()]),
            Line("longest", [max(seconds) for seconds in places.values()]),
        ],
        limit=OLD_S_MAX,
    )
    return Growth(curve, figures)


def _fill(folder: Path, port: int, events: int, tell: Tell) -> None:
    """Half of them wallets, and half people who wait in one line."""
    data = DataFolder(folder)
    with connect(EmbeddedPostgres(data.postgres, data.postgres_log).dsn) as connection:
        history = History(connection)
        people = users(1, events // 2)
        history.open_wallets(people)
        sale = Sale(port, "START", ALL_WAIT)
        sale.schedule(0, 50)
        sale.join(people[:1])
        sale.until(lambda stats: stats["active"] == 1)
        history.join(sale.code, people[1:], issued=1)
        catch_up(connection, tell)


def _starts(folder: Path, rounds: int) -> list[float]:
    seconds: list[float] = []
    for _ in range(rounds):
        with _running(folder) as (one, _):
            seconds.append(one)
    return seconds


@contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="ticketing-bench-") as folder:
        Path(folder).chmod(0o755)  # PostgreSQL may have to run under another account
        yield Path(folder) / "data"


@contextmanager
def _running(folder: Path) -> Iterator[tuple[float, int]]:
    """Run the service; yield how long it took to be ready, and its port. Stop it cleanly."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environment = {
        **{name: value for name, value in os.environ.items() if name != "DATABASE_URL"},
        "TICKETING_DATA_DIR": str(folder),
        "TICKETING_PORT": str(port),
        "TICKETING_ADMIN_KEY": ADMIN_KEY,
    }
    began = time.perf_counter()
    process = subprocess.Popen(
        [TICKETING, "up"], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        wait_until_ready(f"http://127.0.0.1:{port}/readyz")
        yield time.perf_counter() - began, port
    finally:
        process.send_signal(signal.SIGTERM)
        if process.wait(STOPS_WITHIN_S) != 0:
            raise RuntimeError(f"`ticketing up` ended with {process.returncode}")
