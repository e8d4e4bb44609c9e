"""What a benchmark starts ends with it."""

import signal
import subprocess
import sys
from pathlib import Path

import psutil

from tests.cli.running_service import has_ended, wait_until

RUN = """
import sys, time
from bench.service import database
with database() as dsn:
    print(dsn, flush=True)
    sys.stdin.read()
"""


def test_a_benchmark_that_is_told_to_end_leaves_no_postgresql_behind() -> None:
    root = Path(__file__).resolve().parents[2]
    benchmark = subprocess.Popen(
        [sys.executable, "-c", RUN], cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with benchmark:
        assert benchmark.stdout is not None
        assert benchmark.stdout.readline()
        started = psutil.Process(benchmark.pid).children(recursive=True)
        assert started
        benchmark.send_signal(signal.SIGTERM)
        assert benchmark.wait(30) == 128 + signal.SIGTERM
    wait_until(lambda: all(has_ended(one) for one in started), "PostgreSQL has ended")
