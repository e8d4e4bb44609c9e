"""The data folder: one service at a time, and secrets that stay secret."""

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from infrastructure.data_folder import DataFolder, DataFolderError, DataFolderInUse

HOLD_THE_LOCK = """
import sys
from pathlib import Path
from infrastructure.data_folder import DataFolder

with DataFolder(Path(sys.argv[1])).locked():
    print("locked", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def folder(tmp_path: Path) -> DataFolder:
    return DataFolder(tmp_path / "new" / "data")


def test_a_second_service_is_refused_and_told_who_runs_the_first(folder: DataFolder) -> None:
    with folder.locked(), pytest.raises(DataFolderInUse) as refused, DataFolder(folder.path).locked():
        pass
    assert str(refused.value) == f"the data folder {folder.path} is in use by process {os.getpid()}"


def test_a_service_that_ended_leaves_the_folder_to_the_next(folder: DataFolder) -> None:
    with folder.locked():
        pass
    with folder.locked():
        assert folder.logs.is_dir()


def test_a_service_that_was_killed_leaves_the_folder_to_the_next(folder: DataFolder) -> None:
    command = [sys.executable, "-c", HOLD_THE_LOCK, str(folder.path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"locked\n"
        with pytest.raises(DataFolderInUse, match=f"by process {other.pid}$"), folder.locked():
            pass
        other.send_signal(signal.SIGKILL)
    with folder.locked():
        pass


def test_secrets_are_made_once(folder: DataFolder) -> None:
    with folder.locked():
        assert folder.known_secrets() is None
        made = folder.secrets()
        assert len(made.token_secret.encode()) >= 32
        assert made.admin_key != made.token_secret
    with folder.locked():
        assert folder.secrets() == made
    assert DataFolder(folder.path).known_secrets() == made


def test_secrets_are_for_their_owner_alone(folder: DataFolder) -> None:
    with folder.locked():
        secrets = folder.secrets()
    assert stat.S_IMODE((folder.path / "secrets.json").stat().st_mode) == 0o600
    assert secrets.admin_key not in repr(secrets)
    assert secrets.token_secret not in repr(secrets)


def test_damaged_secrets_are_told_in_one_line_and_kept(folder: DataFolder) -> None:
    with folder.locked():
        (folder.path / "secrets.json").write_text('{"admin_key": "half a f')
        with pytest.raises(DataFolderError, match=r"secrets\.json is damaged: restore it") as refused:
            folder.secrets()
    assert "\n" not in str(refused.value)
    assert (folder.path / "secrets.json").exists()


def test_a_folder_that_cannot_be_made_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    folder = DataFolder(tmp_path / "file" / "data")
    with pytest.raises(DataFolderError, match="cannot be used: Not a directory"), folder.locked():
        pass
