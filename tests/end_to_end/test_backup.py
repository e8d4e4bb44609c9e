"""The drills of docs/operating/backup.md, run as they are written, on a service that loses its disk."""

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.error import HTTPError
from uuid import uuid4

import pytest
from psycopg import AsyncConnection

import audit
from aggregates.errors import TokenLost
from infrastructure.data_folder import DataFolder
from infrastructure.embedded_postgres import EmbeddedPostgres
from infrastructure.epochs import Epochs, read_epochs, settle
from infrastructure.tokens import TokenSigner
from tests.cli.running_service import RunningService, environment, free_port, running_service

PAGE: Final = Path(__file__).parents[2] / "docs" / "operating" / "backup.md"
DRILLS: Final = dict(re.findall(r"<!-- drill: (.*?) -->\n```bash\n(.*?)```", PAGE.read_text(), re.DOTALL))

CONCERT: Final = "/api/v1/concerts/FIVE-NIGHTS"
DRILL_S_MAX: Final = 60

pytestmark = [pytest.mark.xdist_group("up"), pytest.mark.timeout(180)]


class Disk:
    """A folder with a service's data and its backups."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data, self.lost = folder / ".ticketing", folder / ".ticketing.lost"
        self.port = free_port()

    @property
    def postgres(self) -> EmbeddedPostgres:
        """The PostgreSQL of the service."""
        return EmbeddedPostgres(self.data / "postgres", self.data / "logs" / "postgres.log")

    def follow(self, drill: str, **variables: str) -> None:
        """Do what the page says under this name."""
        path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
        followed = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", DRILLS[drill]],
            cwd=self.folder,
            env={**environment(self.data, self.port), "PATH": path, **variables},
            capture_output=True,
            text=True,
            timeout=DRILL_S_MAX,
            check=False,
        )
        assert followed.returncode == 0, (drill, followed.stdout + followed.stderr)


class Place(NamedTuple):
    """Someone's place in line."""

    user_id: str
    token: str
    queue_number: int


@pytest.fixture
def disk() -> Iterator[Disk]:
    folder = Path(tempfile.mkdtemp(prefix="ticketing-backup-"))
    folder.chmod(0o711)  # root has PostgreSQL run by another account
    yield Disk(folder)
    shutil.rmtree(folder)


def joined(service: RunningService) -> Place:
    """Register someone, who stands in line."""
    user_id = service.answer("/api/v1/users", {"user_id": str(uuid4())})["user_id"]
    token = service.answer(f"{CONCERT}/token", {"user_id": user_id})
    return Place(user_id, token["token"], token["queue_number"])


def refused(service: RunningService, path: str, token: str | None = None) -> Mapping[str, Any]:
    """Ask for what is refused."""
    with pytest.raises(HTTPError) as answer:
        service.answer(path, token=token)
    with answer.value as response:
        problem: Mapping[str, Any] = json.loads(response.read())
    return problem


def test_the_drills_bring_back_what_was_backed_up_and_say_what_is_lost(disk: Disk) -> None:
    disk.follow("archive the WAL")
    with running_service(disk.data, disk.port) as service:
        kept = joined(service)
        disk.follow("back up by a dump")
        disk.follow("back up by a base backup")
        late = joined(service)
        until = datetime.now(UTC).isoformat()
        too_late = joined(service)
    disk.follow("restore a base backup")
    disk.follow("recover up to a moment", UNTIL=until)
    restored_with(disk, kept=[kept, late], lost=[too_late])
    for drill in ("restore a dump", "restore a base backup"):
        shutil.rmtree(disk.lost)
        disk.follow(drill)
        restored_at_rest(disk, kept=[kept], lost=[late, too_late])


def restored_at_rest(disk: Disk, kept: Sequence[Place], lost: Sequence[Place]) -> None:
    """The database shows that it was restored; what was backed up is there, and what is lost is told."""
    secrets = DataFolder(disk.data).known_secrets()
    assert secrets is not None
    with disk.postgres as postgres:
        assert settle(postgres.dsn) is not None
        signer = TokenSigner([secrets.token_secret.encode()], asyncio.run(epochs_of(postgres.dsn)))
        assert [signer.verify(place.token).queue_number for place in kept] == [
            place.queue_number for place in kept
        ]
        for place in lost:
            with pytest.raises(TokenLost):
                signer.verify(place.token)
        report = audit.run(postgres.dsn)
        assert report.ok, report
        assert sum(one.numbers_issued for one in report.concerts) == len(kept)


async def epochs_of(dsn: str) -> Epochs:
    """Read the epochs of a log."""
    async with await AsyncConnection.connect(dsn) as connection:
        return await read_epochs(connection)


def restored_with(disk: Disk, kept: Sequence[Place], lost: Sequence[Place]) -> None:
    """What was backed up is there, what is lost is told, the next who joins gets the first lost number."""
    with running_service(disk.data, disk.port) as service:
        assert "epoch 2 begins after position" in service.said
        for place in kept:
            assert service.answer(f"{CONCERT}/token", token=place.token)["queue_number"] == place.queue_number
            assert service.answer(f"/api/v1/users/{place.user_id}/wallet")["balance"] == 0
        for place in lost:
            assert refused(service, f"{CONCERT}/token", place.token)["code"] == "TOKEN_LOST"
            assert refused(service, f"/api/v1/users/{place.user_id}/wallet")["code"] == "USER_NOT_FOUND"
        assert joined(service).queue_number == lost[0].queue_number
        report = audit.run(disk.postgres.dsn)
        assert report.ok, report
