"""The embedded PostgreSQL: private, durable, and back after any death of itself or of its supervisor."""

import os
import signal
import stat
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import psutil
import psycopg
import pytest

from infrastructure.embedded_postgres import SOCKET_PATH_BYTES_MAX, EmbeddedPostgres, EmbeddedPostgresError
from infrastructure.postgres_account import account_for
from tests.postgres_fixtures import MakeServer

DEADLINE_S = 20.0

SUPERVISE = """
import sys
from pathlib import Path
from infrastructure.embedded_postgres import EmbeddedPostgres

with EmbeddedPostgres(Path(sys.argv[1]), Path(sys.argv[2])) as postgres:
    print(postgres.pid, flush=True)
    sys.stdin.read()
"""


def server_in(folder: Path) -> EmbeddedPostgres:
    return EmbeddedPostgres(folder / "postgres", folder / "logs" / "postgres.log")


def kill(postgres: EmbeddedPostgres) -> None:
    """Kill the server as a power cut would, and see that its supervisor notices."""
    assert postgres.pid is not None
    os.kill(postgres.pid, signal.SIGKILL)
    deadline = time.monotonic() + DEADLINE_S
    while postgres.poll() is None:
        assert time.monotonic() < deadline
    assert postgres.poll() == -signal.SIGKILL


def write(dsn: str, number: int) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS written (number int)")
        connection.execute("INSERT INTO written VALUES (%s)", [number])


def written(dsn: str) -> list[int]:
    with psycopg.connect(dsn) as connection:
        return [number for (number,) in connection.execute("SELECT number FROM written ORDER BY number")]


def lives(pid: int) -> bool:
    """Whether it has not ended; that its parent has taken notice does not matter."""
    return bool(psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)


def test_it_never_trades_durability_for_speed(own_postgres: EmbeddedPostgres) -> None:
    with psycopg.connect(own_postgres.dsn) as connection:
        on = {
            name: connection.execute(f"SHOW {name}".encode()).fetchone()
            for name in ("fsync", "synchronous_commit", "full_page_writes", "data_checksums")
        }
        encoding = connection.execute("SHOW server_encoding").fetchone()
    assert on == dict.fromkeys(on, ("on",))
    assert encoding == ("UTF8",)


def test_nobody_else_reaches_it(own_postgres: EmbeddedPostgres) -> None:
    with psycopg.connect(own_postgres.dsn) as connection:
        assert connection.execute("SHOW listen_addresses").fetchone() == ("",)
    assert stat.S_IMODE(own_postgres.socket_folder.stat().st_mode) == 0o700


def test_the_terminals_ctrl_c_does_not_reach_it(own_postgres: EmbeddedPostgres) -> None:
    assert own_postgres.pid is not None
    assert os.getsid(own_postgres.pid) == own_postgres.pid != os.getsid(0)


def test_our_secrets_do_not_reach_it(
    postgres_folder: Path, make_server: MakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TICKETING_TOKEN_SECRET", "s" * 32)
    with make_server(postgres_folder) as postgres:
        assert "TICKETING_TOKEN_SECRET" not in psutil.Process(postgres.pid).environ()


def test_it_keeps_its_data_over_a_clean_stop(own_postgres: EmbeddedPostgres) -> None:
    write(own_postgres.dsn, 1)
    own_postgres.stop()
    assert own_postgres.poll() == 0
    own_postgres.start()
    assert written(own_postgres.dsn) == [1]


def test_a_stop_does_not_wait_for_open_transactions(own_postgres: EmbeddedPostgres) -> None:
    with closing(psycopg.connect(own_postgres.dsn)) as connection:
        connection.execute("SELECT 1")
        own_postgres.stop()
        assert own_postgres.poll() == 0


def test_starting_it_again_while_it_runs_changes_nothing(own_postgres: EmbeddedPostgres) -> None:
    pid = own_postgres.pid
    own_postgres.start()
    assert own_postgres.pid == pid


def test_what_was_committed_survives_a_kill(own_postgres: EmbeddedPostgres) -> None:
    write(own_postgres.dsn, 1)
    kill(own_postgres)
    own_postgres.start()
    write(own_postgres.dsn, 2)
    assert written(own_postgres.dsn) == [1, 2]


def test_it_comes_back_while_backends_of_its_killed_predecessor_still_end(
    own_postgres: EmbeddedPostgres,
) -> None:
    write(own_postgres.dsn, 1)
    with closing(psycopg.connect(own_postgres.dsn)) as connection:
        backend = connection.info.backend_pid
        os.kill(backend, signal.SIGSTOP)
        kill(own_postgres)
        own_postgres.start()
        assert not lives(backend)
    assert written(own_postgres.dsn) == [1]


def test_what_a_killed_supervisor_left_running_is_stopped_first(
    postgres_folder: Path, make_server: MakeServer
) -> None:
    postgres = make_server(postgres_folder)
    command = [sys.executable, "-c", SUPERVISE, str(postgres.folder), str(postgres_folder / "postgres.log")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as supervisor:
        assert supervisor.stdout is not None
        left_over = int(supervisor.stdout.readline())
        write(postgres.dsn, 1)
        supervisor.kill()
    assert lives(left_over)
    with postgres:
        assert not lives(left_over)
        assert written(postgres.dsn) == [1]


def test_a_stale_lock_file_that_names_another_process_is_no_obstacle(own_postgres: EmbeddedPostgres) -> None:
    kill(own_postgres)
    with process_of_the_same_account(own_postgres) as bystander:
        for name in ("postmaster.pid", ".s.PGSQL.5432.lock"):
            lock_file = own_postgres.folder / name
            _, _, rest = lock_file.read_text().partition("\n")
            lock_file.write_text(f"{bystander.pid}\n{rest}")
        own_postgres.start()
        assert bystander.poll() is None
        bystander.communicate()


def process_of_the_same_account(postgres: EmbeddedPostgres) -> "subprocess.Popen[bytes]":
    """Start a process that waits for the end of its input. Another account's would not be mistaken."""
    account = account_for(postgres.folder)
    become = account.uid if os.geteuid() == 0 else None
    return subprocess.Popen(["cat"], stdin=subprocess.PIPE, user=become)


def test_a_long_path_gets_its_socket_in_a_short_folder(
    postgres_folder: Path, make_server: MakeServer
) -> None:
    long = postgres_folder / ("a" * SOCKET_PATH_BYTES_MAX)
    long.mkdir(mode=0o711)
    with make_server(long) as postgres:
        write(postgres.dsn, 1)
        assert written(server_in(long).dsn) == [1]
        assert stat.S_IMODE(postgres.socket_folder.stat().st_mode) == 0o700
    assert not postgres.socket_folder.exists()


def test_a_short_folder_that_others_can_open_is_not_trusted(
    postgres_folder: Path, make_server: MakeServer
) -> None:
    odd = postgres_folder / "with a comma, which libpq takes for the end"
    odd.mkdir(mode=0o711)
    postgres = make_server(odd)
    postgres.socket_folder.mkdir(mode=0o755)
    with pytest.raises(EmbeddedPostgresError, match="is not a private folder of ours"):
        postgres.start()
    postgres.socket_folder.rmdir()


def test_it_runs_below_a_folder_that_is_closed_to_others(
    postgres_folder: Path, make_server: MakeServer
) -> None:
    closed = postgres_folder / "closed"
    closed.mkdir(mode=0o700)
    with make_server(closed) as postgres:
        write(postgres.dsn, 1)
        assert written(postgres.dsn) == [1]


def test_a_cluster_is_made_whole_or_not_at_all(postgres_folder: Path) -> None:
    (postgres_folder / "postgres.new-abandoned").mkdir()
    postgres = server_in(postgres_folder)
    postgres.initialise()
    assert {entry.name for entry in postgres_folder.iterdir()} == {"logs", "postgres"}
    inode = postgres.folder.stat().st_ino
    postgres.initialise()
    assert postgres.folder.stat().st_ino == inode


def test_the_data_of_another_version_is_left_alone(postgres_folder: Path) -> None:
    postgres = server_in(postgres_folder)
    postgres.folder.mkdir()
    (postgres.folder / "PG_VERSION").write_text("17\n")
    with pytest.raises(
        EmbeddedPostgresError, match=r"holds the data of PostgreSQL 17; this is PostgreSQL 18$"
    ):
        postgres.start()


def test_a_folder_with_something_else_in_it_is_left_alone(postgres_folder: Path) -> None:
    postgres = server_in(postgres_folder)
    postgres.folder.mkdir()
    (postgres.folder / "photo.jpg").touch()
    with pytest.raises(EmbeddedPostgresError, match=r"is neither empty nor a PostgreSQL cluster$"):
        postgres.start()
    assert (postgres.folder / "photo.jpg").exists()


def test_why_it_does_not_start_is_told_in_one_line(own_postgres: EmbeddedPostgres) -> None:
    own_postgres.stop()
    (own_postgres.folder / "postgresql.conf").write_text("nonsense = 1\n")
    with pytest.raises(
        EmbeddedPostgresError, match=r"^PostgreSQL did not start: .*FATAL: .*\(more in "
    ) as refused:
        own_postgres.start()
    assert "\n" not in str(refused.value)
