"""A server that all processes of a test run share. It starts when the first asks, and ends with the run.

A guard, a process of its own, runs it: the run holds a lock on the file `run` of a folder, and when the lock
is free the run has ended, in whatever way. The guard stops the server then and removes the folder. So nothing
is left behind, also by a run that was killed.
"""

import fcntl
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final

import pytest

RUN: Final = "run"
SAID: Final = "guard.log"
READY: Final = "ready"
FAILED: Final = "failed"

STOP_DEADLINE_S: Final = 15.0
POLL_S: Final = 0.01


def begin_run(variable: str) -> IO[str] | None:
    """Give the run a folder, which all its processes learn from the environment's `variable`.

    Returns the lock that says that the run lives; None in those processes that began after it.
    """
    if variable in os.environ:
        return None
    folder = Path(tempfile.mkdtemp(prefix="ticketing-tests-"))
    folder.chmod(0o711)  # root has PostgreSQL run by another account
    lock = (folder / RUN).open("w")
    fcntl.flock(lock, fcntl.LOCK_EX)
    os.environ[variable] = str(folder)
    return lock


def end_run(variable: str, lock: IO[str] | None) -> None:
    """End the run, where it began, and wait until its server is gone."""
    if lock is None:
        return
    lock.close()
    folder = Path(os.environ.pop(variable))
    if not (folder / SAID).exists():
        shutil.rmtree(folder)
    deadline = time.monotonic() + STOP_DEADLINE_S
    while folder.exists() and time.monotonic() < deadline:
        time.sleep(POLL_S)


def whereabouts(variable: str, guard_module: str, start_deadline_s: float) -> str:
    """Return where the run's server listens, once it does; start its guard if nobody has."""
    folder = Path(os.environ[variable])
    with (folder / "starting").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / SAID).exists():
            _start_guard(guard_module, folder)
        deadline = time.monotonic() + start_deadline_s
        while not (folder / READY).exists():
            if (folder / FAILED).exists():
                pytest.fail((folder / FAILED).read_text(), pytrace=False)
            if time.monotonic() > deadline:
                pytest.fail(f"{guard_module}: not ready in {start_deadline_s} s: see {folder}", pytrace=False)
            time.sleep(POLL_S)
    return (folder / READY).read_text()


@contextmanager
def guarded(folder: Path) -> Iterator[None]:
    """Guard what is started within, apart from the run's terminal; at the end the folder goes, too."""
    os.setsid()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    except BaseException as error:
        _tell(folder / FAILED, f"{type(error).__name__}: {error}")
        _wait_for_the_end(folder)
        raise
    finally:
        shutil.rmtree(folder)


def serve_until_the_end(folder: Path, where: str) -> None:
    """Tell where the server listens, and return when the run has ended."""
    _tell(folder / READY, where)
    _wait_for_the_end(folder)


def _start_guard(module: str, folder: Path) -> None:
    """Start it as a process that outlives this one, and that nobody waits for."""
    os.posix_spawn(
        sys.executable,
        [sys.executable, "-m", module, str(folder)],
        os.environ,
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(folder / SAID), os.O_WRONLY | os.O_CREAT, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
    )


def _tell(file: Path, words: str) -> None:
    """Write the file at once: whoever sees it sees all of it."""
    unfinished = file.with_suffix(".new")
    unfinished.write_text(words)
    unfinished.replace(file)


def _wait_for_the_end(folder: Path) -> None:
    with (folder / RUN).open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
