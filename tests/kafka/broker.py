"""A Kafka broker of one's own: a real one, which may be killed, stopped and started again."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from tests.free_ports import OF_BROKERS, free_ports
from tests.kafka.programs import KafkaError, class_path, programs, write_properties

READY_DEADLINE_S: Final = 45.0
"""A start takes under two seconds; the machine may be busy, and a log may have to be recovered first."""
READY_POLL_S: Final = 0.01
READY: Final = b"] Kafka Server started"
"""What it logs when it takes requests. Kafka's own system tests wait for these words, too."""

STOP_DEADLINE_S: Final = 10.0

HEAP_MIB: Final = 384
QUICK_START: Final = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
"""Compile little: a start takes half of the processor time then. It is not for measuring speed."""

ORPHANED: Final = ("setpriv", "--pdeathsig", "KILL")
"""Has Linux kill it when the thread that started it ends: so nothing is left of a run that was killed."""


class Broker:
    """Listens at `address`, on loopback alone; its data and its log are in `folder`.

    Entered it is started, left it is killed. After `kill` or `stop`, `start` brings it back with its data.
    """

    def __init__(
        self, folder: Path, java_options: Sequence[str] = QUICK_START, more_properties: str = ""
    ) -> None:
        """`folder` may hold what an earlier one left; `more_properties` go into server.properties."""
        self.folder = folder
        self.data_folder = folder / "data"
        """Without it, a broker that is started begins with nothing, as a new cluster does."""
        self.log_file = folder / "broker.log"
        self.port, self._controller_port = islice(free_ports(OF_BROKERS), 2)
        self._java_options = java_options
        self._more_properties = more_properties
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """Where clients find it, as `host:port`."""
        return f"127.0.0.1:{self.port}"

    @property
    def pid(self) -> int | None:
        """Its process, None while there is none."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def start(self) -> None:
        """Start it, and return when it takes requests. Raises KafkaError."""
        self.launch()
        self.wait_until_ready()

    def launch(self) -> None:
        """Start its process, unless it runs, without waiting for it. Raises KafkaError."""
        if self.pid is not None:
            return
        kafka = programs()
        self.folder.mkdir(parents=True, exist_ok=True)
        if not self.data_folder.exists():
            shutil.copytree(kafka.formatted, self.data_folder)
        properties = self.folder / "server.properties"
        write_properties(
            properties,
            data_folder=self.data_folder,
            port=self.port,
            controller_port=self._controller_port,
            more_properties=self._more_properties,
        )
        orphaned = ORPHANED if shutil.which(ORPHANED[0]) else ()
        java = [*orphaned, "java", f"-Xmx{HEAP_MIB}m", *self._java_options, "-cp", class_path(kafka.jars)]
        with self.log_file.open("wb") as log:
            self._process = subprocess.Popen(
                [*java, "kafka.Kafka", str(properties)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def wait_until_ready(self) -> None:
        """Return when a launched broker takes requests. Raises KafkaError when it ends, or takes too long."""
        deadline = time.monotonic() + READY_DEADLINE_S
        while READY not in self.log_file.read_bytes():
            if self.pid is None:
                raise KafkaError(f"the broker did not start: {self._gravest()} (more in {self.log_file})")
            if time.monotonic() > deadline:
                self.kill()
                raise KafkaError(f"the broker was not ready within {READY_DEADLINE_S} s: see {self.log_file}")
            time.sleep(READY_POLL_S)

    def stop(self) -> None:
        """Have it end in order, as an operator would; kill it if it does not."""
        self._signal(signal.SIGTERM)
        self.resume()
        if self._process is not None:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(STOP_DEADLINE_S)
        self.kill()

    def kill(self) -> None:
        """Have it end at once, also while it is suspended."""
        self._signal(signal.SIGKILL)
        if self._process is not None:
            self._process.wait()

    def suspend(self) -> None:
        """Have it stand still: its connections stay open, and nobody answers."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if self.pid is not None:
            os.kill(self.pid, number)

    def _gravest(self) -> str:
        """Pick what tells most of the reason for its end."""
        said = self.log_file.read_text(errors="replace").splitlines()
        grave = [line for mark in ("Exception: ", "ERROR") for line in said if mark in line]
        return (grave or said[-1:] or ["it said nothing"])[0]
