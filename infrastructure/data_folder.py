"""The folder of a service that runs on one machine: its PostgreSQL, its secrets, its logs.

postgres/      the embedded PostgreSQL
logs/          what the workers and PostgreSQL say
secrets.json   the generated admin key and token secret, for the owner's eyes alone
lock           held by the process that runs the service
"""

import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec


class DataFolderError(Exception):
    """The data folder cannot be used; the text is one line for whoever started the process."""


class DataFolderInUse(DataFolderError):
    """Another process runs the service from this folder."""


class Secrets(msgspec.Struct, frozen=True):
    """What `up` makes up for itself where the settings do not say it."""

    admin_key: str
    token_secret: str

    def __repr__(self) -> str:
        return "Secrets(…)"


class DataFolder:
    """The data folder at `path`, which need not exist before it is locked."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.postgres = self.path / "postgres"
        self.logs = self.path / "logs"
        self.postgres_log = self.logs / "postgres.log"
        self._secrets_file = self.path / "secrets.json"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Make the folder where there is none, and keep everyone else from running a service from it.

        The lock ends with its process, however that ends. Raises DataFolderInUse, DataFolderError.
        """
        try:
            # Others may pass through, since root has PostgreSQL run by an account that it does not own;
            # everything in it is closed to them.
            self.path.mkdir(mode=0o711, parents=True, exist_ok=True)
            self.logs.mkdir(mode=0o700, exist_ok=True)
            descriptor = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise self._unusable(error) from None
        with os.fdopen(descriptor, "r+") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise DataFolderInUse(
                    f"the data folder {self.path} is in use by process {lock.read().strip() or 'unknown'}"
                ) from None
            except OSError as error:
                raise self._unusable(error) from None
            lock.truncate(0)
            lock.write(str(os.getpid()))
            lock.flush()
            yield

    def secrets(self) -> Secrets:
        """Return the folder's secrets, generated when they are first asked for. Call it under the lock.

        Raises DataFolderError.
        """
        known = self.known_secrets()
        if known is None:
            known = Secrets(secrets.token_urlsafe(24), secrets.token_urlsafe(48))
            self._keep(known)
        return known

    def known_secrets(self) -> Secrets | None:
        """Return the folder's secrets, None where none were generated yet. Raises DataFolderError."""
        try:
            return msgspec.json.decode(self._secrets_file.read_bytes(), type=Secrets)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._unusable(error) from None
        except msgspec.DecodeError:
            raise DataFolderError(
                f"{self._secrets_file} is damaged: restore it, or remove it to have new secrets made "
                "(which ends all queue tokens that are out)"
            ) from None

    def _keep(self, generated: Secrets) -> None:
        """Write the file whole or not at all."""
        unfinished = self._secrets_file.with_suffix(".new")
        try:
            unfinished.unlink(missing_ok=True)
            descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(msgspec.json.encode(generated))
                file.flush()
                os.fsync(descriptor)
            unfinished.replace(self._secrets_file)
        except OSError as error:
            raise self._unusable(error) from None

    def _unusable(self, error: OSError) -> DataFolderError:
        return DataFolderError(f"the data folder {self.path} cannot be used: {error.strerror or error}")
