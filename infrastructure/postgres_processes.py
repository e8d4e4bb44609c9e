"""The processes of the embedded PostgreSQL: how they are ended, and found when their supervisor is gone."""

import signal
import subprocess
from contextlib import suppress
from pathlib import Path

import psutil  # type: ignore[import-untyped, unused-ignore]  # its types are a package of their own

SHUTDOWNS = (
    (signal.SIGINT, 5.0),
    (signal.SIGQUIT, 2.0),
    (signal.SIGKILL, 2.0),
)
"""Signals and the seconds that each is given. "Fast" rolls back what is open and writes a checkpoint;
"immediate" leaves the rest to recovery. Together they end within the 10 s that a stop may take."""

ORPHANS_S = 1.0
"""Backends notice at once that their postmaster is gone, unless they are stopped."""


def shut_down(postmaster: "subprocess.Popen[bytes] | psutil.Process") -> None:
    """End a postmaster as gently as it lets us, and wait until it has ended."""
    for number, deadline_s in SHUTDOWNS:
        with suppress(ProcessLookupError, psutil.NoSuchProcess):
            postmaster.send_signal(number)
        try:
            postmaster.wait(timeout=deadline_s)
        except (subprocess.TimeoutExpired, psutil.TimeoutExpired):
            continue
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
    for postmaster in running:
        if postmaster.pid == pid:
            shut_down(postmaster)
    _, orphans = psutil.wait_procs(running, timeout=ORPHANS_S)
    for orphan in orphans:
        orphan.kill()
    psutil.wait_procs(orphans, timeout=ORPHANS_S)
    if pid is None or psutil.pid_exists(pid):
        lock_file.unlink(missing_ok=True)
        socket_lock.unlink(missing_ok=True)


def _first_number(lock_file: Path) -> int | None:
    first, _, _ = lock_file.read_text().partition("\n")
    return int(first) if first.strip().isdecimal() else None


def _running_in(folder: Path) -> "list[psutil.Process]":
    """PostgreSQL works in its cluster's folder, all its processes do."""
    running = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.name().startswith("postgres") and Path(process.cwd()) == folder:
                running.append(process)
    return running
