"""The processes of the embedded PostgreSQL: how they are ended, and found when their supervisor is gone."""

import signal
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import psutil

SHUTDOWNS = (
    (signal.SIGINT, 5.0),
    (signal.SIGQUIT, 2.0),
    (signal.SIGKILL, 2.0),
)
"""Signals and the seconds that each is given. "Fast" rolls back what is open and writes a checkpoint;
"immediate" leaves the rest to recovery. Together they end within the 10 s that a stop may take."""

ORPHANS_S = 1.0
"""Backends notice at once that their postmaster is gone, unless they are stopped."""

POLL_S = 0.005


def shut_down(pid: int) -> None:
    """End a postmaster as gently as it lets us, and return when it has ended."""
    with suppress(psutil.NoSuchProcess):
        postmaster = psutil.Process(pid)
        for number, deadline_s in SHUTDOWNS:
            postmaster.send_signal(number)
            if not _still_alive([postmaster], deadline_s):
                return


def stop_leftovers(folder: Path, socket_lock: Path) -> None:
    """End what a supervisor that was killed left running in the cluster's folder.

    `postmaster.pid` says whom to ask. Its number may have gone to another process since, so it is checked
    that it is a postgres of this very folder. PostgreSQL does not check, and would refuse to start: then its
    lock files are removed.
    """
    lock_file = folder / "postmaster.pid"
    try:
        pid = _first_number(lock_file)
    except FileNotFoundError:
        return
    running = _running_in(folder)
    if pid is not None and pid in (process.pid for process in running):
        shut_down(pid)
    for orphan in _still_alive(running, ORPHANS_S):
        with suppress(psutil.NoSuchProcess):
            orphan.kill()
    _still_alive(running, ORPHANS_S)
    if pid is None or psutil.pid_exists(pid):
        lock_file.unlink(missing_ok=True)
        socket_lock.unlink(missing_ok=True)


def _first_number(lock_file: Path) -> int | None:
    first, _, _ = lock_file.read_text().partition("\n")
    return int(first) if first.strip().isdecimal() else None


def _running_in(folder: Path) -> "Sequence[psutil.Process]":
    """PostgreSQL works in its cluster's folder, all its processes do."""
    running = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.name().startswith("postgres") and Path(process.cwd()) == folder:
                running.append(process)
    return running


def _still_alive(processes: "Sequence[psutil.Process]", deadline_s: float) -> "Sequence[psutil.Process]":
    """Wait until all have ended, and return those that have not after so long."""
    deadline = time.monotonic() + deadline_s
    while (alive := [each for each in processes if _is_alive(each)]) and time.monotonic() < deadline:
        time.sleep(POLL_S)
    return alive


def _is_alive(process: psutil.Process) -> bool:
    """A zombie has ended, whether or not its parent, which may be a careless init, takes notice."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
