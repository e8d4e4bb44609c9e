"""Kafka's programs: fetched by Maven once, and kept in the user's cache for every later run and checkout."""

import fcntl
import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from string import Template
from tempfile import mkdtemp
from typing import Final, NamedTuple

HERE: Final = Path(__file__).parent
POM: Final = HERE / "pom.xml"
SERVER_PROPERTIES: Final = HERE / "server.properties"

CLUSTER_ID: Final = "ticketing-tests-kafkaA"
"""22 characters of base64, as Kafka asks for."""

FETCH_S_MAX: Final = 240
"""43 MB: five seconds over a good line."""
FORMAT_S_MAX: Final = 30


class KafkaError(Exception):
    """There is no Kafka to be had; the text says why in one line."""


class Programs(NamedTuple):
    """What a broker is made from."""

    jars: Path
    """The folder with all of its classes."""
    formatted: Path
    """The data folder of a cluster without any topic, to be copied: making one takes a second."""


def missing_tools() -> str | None:
    """Say which tool this machine lacks to run a broker, None if it lacks none."""
    lacks_java = shutil.which("java") is None
    lacks_maven = shutil.which("mvn") is None and not _folder().exists()
    missing = " and ".join(name for name, lacks in (("Java", lacks_java), ("Maven", lacks_maven)) if lacks)
    return f"there is no {missing} here to run Kafka with" if missing else None


def programs() -> Programs:
    """Return what is in the cache, once it is: whoever comes first fetches it, all others wait.

    It is made beside its place and moved there when it is complete. Raises KafkaError.
    """
    folder = _folder()
    if not folder.exists():
        with _alone(folder.parent):
            if not folder.exists():
                _make(folder)
    return Programs(folder / "jars", folder / "formatted")


def caches() -> Path:
    """Return where this user's programs keep what can be fetched again (XDG Base Directory Specification)."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")


def write_properties(
    file: Path, *, data_folder: Path, port: int, controller_port: int, more_properties: str = ""
) -> None:
    """Write the settings of a broker; of those that are said twice, Java takes the last."""
    template = Template(f"{SERVER_PROPERTIES.read_text()}\n{more_properties}")
    file.write_text(template.substitute(data_folder=data_folder, port=port, controller_port=controller_port))


def class_path(jars: Path) -> str:
    """Name all jars of a folder as Java takes it."""
    return f"{jars}/*"


def _folder() -> Path:
    """Return where they are kept: elsewhere for other versions, so that no checkout disturbs another."""
    recipe = hashlib.sha256(POM.read_bytes()).hexdigest()
    return caches() / "ticketing-tests" / f"kafka-{recipe[:16]}"


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _make(folder: Path) -> None:
    for abandoned in folder.parent.glob("new-*"):
        shutil.rmtree(abandoned)
    unfinished = Path(mkdtemp(prefix="new-", dir=folder.parent))
    try:
        _fetch(unfinished / "jars")
        _format(unfinished)
        unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _fetch(jars: Path) -> None:
    copy = ["dependency:copy-dependencies", f"-DoutputDirectory={jars}"]
    _run(["mvn", "--quiet", "--batch-mode", "--file", str(POM), *copy], "fetch Kafka", FETCH_S_MAX)


def _format(unfinished: Path) -> None:
    properties = unfinished / "server.properties"
    write_properties(properties, data_folder=unfinished / "formatted", port=1, controller_port=2)
    tool = ["kafka.tools.StorageTool", "format", "--cluster-id", CLUSTER_ID, "--config", str(properties)]
    _run(["java", "-cp", class_path(unfinished / "jars"), *tool], "format a data folder", FORMAT_S_MAX)


def _run(command: list[str], task: str, within_s: float) -> None:
    try:
        subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=within_s,
            check=True,
        )
    except subprocess.CalledProcessError as error:
        raise KafkaError(f"{command[0]} did not {task}: {_gravest(error.output.decode())}") from None
    except (subprocess.TimeoutExpired, OSError) as error:
        raise KafkaError(f"{command[0]} did not {task}: {error}") from None


def _gravest(said: str) -> str:
    """Pick the line that tells most: the first one that is an error."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    errors = [line for line in lines if "ERROR" in line or "Exception" in line]
    return (errors or lines or ["it said nothing"])[0]
