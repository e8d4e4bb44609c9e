"""Where it was measured."""

import os
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, LiteralString

import psutil
import psycopg

SETTINGS: LiteralString = """
    SELECT
        current_setting('server_version'),
        current_setting('fsync'),
        current_setting('synchronous_commit')
"""


def machine(dsn: str) -> Mapping[str, Any]:
    """The machine, and the PostgreSQL on it, as it says itself."""
    with psycopg.connect(dsn) as connection:
        version, fsync, synchronous_commit = connection.execute(SETTINGS).fetchall()[0]
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30),
        "python": platform.python_version(),
        "postgresql": version,
        "fsync": fsync,
        "synchronous_commit": synchronous_commit,
    }


def _cpu() -> str:
    """Its model, as far as the system tells."""
    told = Path("/proc/cpuinfo")
    lines = told.read_text().splitlines() if told.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())
