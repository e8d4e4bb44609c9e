"""What the repository promises whoever clones it: everything pinned, and no package registry named."""

import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT: Final = Path(__file__).parents[2]

REGISTRY_HOSTS: Final = tuple(
    ".".join(labels)
    for labels in (
        ("pypi", "org"),
        ("python" + "hosted", "org"),
        ("npmjs", "org"),
        ("npmjs", "com"),
        ("yarnpkg", "com"),
        ("crates", "io"),
        ("proxy", "golang", "org"),
        ("maven", "org"),
        ("maven", "apache", "org"),
        ("sonatype", "org"),
        ("rubygems", "org"),
        ("anaconda", "org"),
    )
)
"""Written in parts, because this file is searched too."""

PIN: Final = re.compile(r"^(?P<name>[\w.-]+)==(?P<version>\S+).*\n(?P<hashes>(?:[ ]+.*\n)*)", re.MULTILINE)
HASH: Final = re.compile(r"--hash=sha256:[0-9a-f]{64}\b")

PATH: Final = re.compile(
    r"(?<![\w/.-])(?:aggregates|api|audit|bench|cli|commands|docs|infrastructure|projections|tests|workers)/[\w./-]*"
)
"""A file or folder of ours, as pages name it."""
LINK: Final = re.compile(r"\]\((?P<target>[^)#:]+)(?:#[^)]*)?\)")


class Pin(NamedTuple):
    """One requirement of the lock file."""

    name: str
    version: str
    hashes: list[str]


def pins() -> Iterator[Pin]:
    """Read the lock file."""
    for pin in PIN.finditer((ROOT / "requirements.lock").read_text()):
        yield Pin(canonicalize_name(pin["name"]), pin["version"], HASH.findall(pin["hashes"]))


def requirements() -> Iterator[Requirement]:
    """Read what the project asks for: to run, to develop, and to be built."""
    project: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
    for wanted in (
        *project["project"]["dependencies"],
        *project["dependency-groups"]["dev"],
        *project["build-system"]["requires"],
    ):
        yield Requirement(wanted)


def tracked_files() -> list[Path]:
    """List the files of the repository that are here."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    return [path for name in listed.stdout.split("\0") if name and (path := ROOT / name).is_file()]


def test_no_file_names_the_host_of_a_package_registry() -> None:
    hosts = re.compile("|".join(map(re.escape, REGISTRY_HOSTS)).encode())
    assert [str(path) for path in tracked_files() if hosts.search(path.read_bytes())] == []


def pages() -> list[Path]:
    """List what people read."""
    return [path for path in tracked_files() if path.suffix == ".md"]


def test_every_file_that_a_page_names_exists() -> None:
    named = {(page.name, name.rstrip(".")) for page in pages() for name in PATH.findall(page.read_text())}
    assert len(named) > 20, "the pages name files, so this pattern has to find some"
    assert [(page, name) for page, name in sorted(named) if not (ROOT / name).exists()] == []


def test_every_link_between_pages_leads_somewhere() -> None:
    links = [(page, target) for page in pages() for target in LINK.findall(page.read_text())]
    assert links
    assert [(page.name, target) for page, target in links if not (page.parent / target).exists()] == []


def test_the_lock_file_has_hashes_for_every_requirement() -> None:
    assert [pin.name for pin in pins() if not pin.hashes] == []


def test_the_lock_file_holds_pins_with_hashes_and_nothing_else() -> None:
    allowed = re.compile(r"#.*|[\w.-]+==\S+( ; .+)? \\|    --hash=sha256:[0-9a-f]{64}( \\)?|    #.*")
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    assert [line for line in lines if not allowed.fullmatch(line) or "://" in line] == []


def test_the_lock_file_satisfies_what_the_project_asks_for() -> None:
    locked = {pin.name: pin.version for pin in pins()}
    for wanted in requirements():
        assert wanted.specifier.contains(locked[canonicalize_name(wanted.name)]), wanted
