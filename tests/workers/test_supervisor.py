"""The supervisor with small processes of its own, that end, hang and fail as they are told."""

import asyncio
import errno
import os
import shutil
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from workers import supervisor
from workers.supervisor import ChildFailed, Lifeline, ProcessChild, Supervisor, make_room

DEADLINE_S = 15.0

OBEDIENT = "import time; print('here', flush=True); time.sleep(600)"
DEAF = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {OBEDIENT}"
SHORT_LIVED = "import sys; print('here', flush=True); sys.exit(7)"
ORPHAN = "import os; print('here', flush=True); os.read(int(os.environ['LIFELINE']), 1); print('alone')"


class Stage:
    """A supervisor, what it said, and a folder for its children's logs."""

    def __init__(self, folder: Path, steady_after_s: float = supervisor.STEADY_AFTER_S) -> None:
        self.said: list[str] = []
        self.supervisor = Supervisor(self.said.append, steady_after_s)
        self._folder = folder

    def child(self, name: str, program: str, stop_within_s: float = 5.0) -> ProcessChild:
        return ProcessChild(
            name,
            [sys.executable, "-c", program],
            environment=dict(os.environ),
            descriptors=(),
            log_file=self.log_of(name),
            stop_within_s=stop_within_s,
        )

    def log_of(self, name: str) -> Path:
        return self._folder / f"{name}.log"

    def times_started(self, name: str) -> int:
        log_file = self.log_of(name)
        return log_file.read_text().count("here") if log_file.exists() else 0

    async def wait_until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(DEADLINE_S):
            while not condition():  # noqa: ASYNC110 (a file tells no one when it grows)
                await asyncio.sleep(0.01)


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


def play(scene: Awaitable[None]) -> None:
    async def playing() -> None:
        await scene

    asyncio.run(playing())


def test_a_child_that_ends_is_started_again_after_a_pause_that_grows(stage: Stage) -> None:
    async def scene() -> None:
        await stage.supervisor.start(stage.child("brief", SHORT_LIVED))
        await stage.wait_until(lambda: stage.times_started("brief") >= 3)
        await stage.supervisor.stop()

    play(scene())
    log_file = stage.log_of("brief")
    assert stage.said[:2] == [
        f"brief ended with exit code 7 (see {log_file}); it is started again in 0.2 s",
        f"brief ended with exit code 7 (see {log_file}); it is started again in 0.4 s",
    ]


def test_a_child_that_ran_steadily_is_started_again_without_a_longer_pause(tmp_path: Path) -> None:
    stage = Stage(tmp_path, steady_after_s=0.0)

    async def scene() -> None:
        await stage.supervisor.start(stage.child("steady", SHORT_LIVED))
        await stage.wait_until(lambda: len(stage.said) >= 3)
        await stage.supervisor.stop()

    play(scene())
    assert all(line.endswith("in 0.2 s") for line in stage.said)


def test_a_child_is_started_again_also_where_nobody_can_be_told(tmp_path: Path) -> None:
    stage = Stage(tmp_path)

    def say(_: str) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    unheard = Supervisor(say)

    async def scene() -> None:
        await unheard.start(stage.child("brief", SHORT_LIVED))
        await stage.wait_until(lambda: stage.times_started("brief") >= 2)
        await unheard.stop()

    play(scene())


def test_stopping_ends_the_last_group_first_and_starts_nothing_again(stage: Stage) -> None:
    stopped: list[str] = []
    ends: list[asyncio.Task[None]] = []

    async def record_the_end(child: ProcessChild) -> None:
        await child.ended()
        stopped.append(child.name)

    async def scene() -> None:
        for name in ("first", "second"):
            child = stage.child(name, OBEDIENT)
            await stage.supervisor.start(child)
            ends.append(asyncio.create_task(record_the_end(child)))
        await stage.wait_until(lambda: all(stage.times_started(name) for name in ("first", "second")))
        await stage.supervisor.stop()
        await asyncio.gather(*ends)

    play(scene())
    assert stopped == ["second", "first"]
    assert stage.said == []


def test_a_child_that_does_not_listen_is_killed_in_time(stage: Stage) -> None:
    deaf = stage.child("deaf", DEAF, stop_within_s=0.2)

    async def scene() -> None:
        await stage.supervisor.start(deaf)
        await stage.wait_until(lambda: stage.times_started("deaf") == 1)
        await stage.supervisor.stop()
        assert "was ended by SIGKILL" in await deaf.ended()

    play(scene())


def test_what_cannot_be_started_says_why(stage: Stage, tmp_path: Path) -> None:
    nothing = ProcessChild(
        "nothing",
        [str(tmp_path / "nothing")],
        environment={},
        descriptors=(),
        log_file=tmp_path / "nothing.log",
        stop_within_s=1.0,
    )

    async def scene() -> None:
        with pytest.raises(ChildFailed, match="nothing cannot be started: No such file or directory"):
            await stage.supervisor.start(nothing)
        await stage.supervisor.stop()

    play(scene())


def test_the_end_of_the_lifeline_reaches_a_child(stage: Stage, tmp_path: Path) -> None:
    async def scene() -> None:
        with Lifeline() as lifeline:
            orphan = ProcessChild(
                "orphan",
                [sys.executable, "-c", ORPHAN],
                environment={**os.environ, "LIFELINE": str(lifeline.reading_end)},
                descriptors=(lifeline.reading_end,),
                log_file=stage.log_of("orphan"),
                stop_within_s=1.0,
            )
            await orphan.start()
            await stage.wait_until(lambda: stage.times_started("orphan") == 1)
        assert "exit code 0" in await orphan.ended()

    play(scene())
    assert stage.log_of("orphan").read_text() == "here\nalone\n"


def test_a_long_log_makes_room_while_its_process_goes_on_writing(tmp_path: Path) -> None:
    log_file = tmp_path / "api.log"
    with log_file.open("ab", buffering=0) as log:
        log.write(b"x" * supervisor.LOG_BYTES_MAX)
        make_room(log_file)
        assert log_file.stat().st_size == supervisor.LOG_BYTES_MAX
        log.write(b"x")
        make_room(log_file)
        log.write(b"new")
    assert log_file.read_bytes() == b"new"
    assert (tmp_path / "api.log.1").stat().st_size == supervisor.LOG_BYTES_MAX + 1


def test_a_long_log_goes_where_there_is_no_room_to_keep_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def copy_a_part(_: Path, kept: Path) -> None:
        kept.write_bytes(b"x")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", copy_a_part)
    log_file = tmp_path / "api.log"
    log_file.write_bytes(b"x" * (supervisor.LOG_BYTES_MAX + 1))
    make_room(log_file)
    assert log_file.read_bytes() == b""
    assert list(tmp_path.iterdir()) == [log_file]


def test_a_log_that_is_not_there_yet_needs_no_room(tmp_path: Path) -> None:
    make_room(tmp_path / "api.log")
    assert not list(tmp_path.iterdir())
