"""As whom the embedded PostgreSQL runs: as oneself, but never as root, which it refuses.

Root has it run by an account without privileges. Such an account may be unable to reach the folders, where
one above them is closed to others (`/root` often is). It is then given the one capability of passing through
closed folders, `CAP_DAC_READ_SEARCH`, by `setpriv` (util-linux). Who cannot reach the folders cannot reach
the server's socket in them either.
"""

import os
import pwd
import shutil
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

CAP_DAC_READ_SEARCH = 1 << 2
"""As capability.h numbers it."""

UNPRIVILEGED = "nobody"


class FolderOutOfReach(Exception):
    """A folder is closed to the account that would have to work in it."""


class Account(NamedTuple):
    """A user and their group."""

    uid: int
    gid: int


def account_for(folder: Path) -> Account:
    """Return who runs, or would run, PostgreSQL in this folder.

    For root that is who owns the folder already, or else an account without privileges.
    """
    if os.geteuid() != 0:
        return Account(os.geteuid(), os.getegid())
    if folder.exists() and (owner := folder.stat()).st_uid != 0:
        return Account(owner.st_uid, owner.st_gid)
    unprivileged = pwd.getpwnam(UNPRIVILEGED)
    return Account(unprivileged.pw_uid, unprivileged.pw_gid)


class Launch(NamedTuple):
    """How to start a program under an account."""

    prefix: Sequence[str] = ()
    """Goes before the program and its arguments."""
    become: Account | None = None
    """Whom the new process has to become before it executes anything."""


def launch_as(account: Account, within: Sequence[Path]) -> Launch:
    """Return how to start a program under the account so that it reaches the paths `within`.

    Raises FolderOutOfReach.
    """
    if account.uid == os.geteuid():
        return Launch()
    closed = next((parent for path in within for parent in path.parents if _is_closed(parent, account)), None)
    if closed is None:
        return Launch(become=account)
    setpriv = shutil.which("setpriv")
    if setpriv is None or not _effective_capabilities() & CAP_DAC_READ_SEARCH:
        raise FolderOutOfReach(
            f"{closed} is closed to the account {UNPRIVILEGED}, which runs PostgreSQL for root; "
            "start the service as an ordinary user, or open that folder (chmod o+x)"
        )
    identity = [f"--reuid={account.uid}", f"--regid={account.gid}", "--clear-groups"]
    capability = [f"--{kind}-caps=-all,+dac_read_search" for kind in ("inh", "ambient")]
    return Launch([setpriv, *identity, *capability, "--"])


def _is_closed(folder: Path, account: Account) -> bool:
    """Whether the permission bits keep the account from passing through."""
    status = folder.stat()
    if status.st_uid == account.uid:
        return not status.st_mode & stat.S_IXUSR
    if status.st_gid == account.gid:
        return not status.st_mode & stat.S_IXGRP
    return not status.st_mode & stat.S_IXOTH


def _effective_capabilities() -> int:
    """Of this process; none where the system does not know of capabilities."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((int(line.split()[1], 16) for line in lines if line.startswith("CapEff:")), 0)
