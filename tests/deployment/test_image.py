"""The image holds what the lock file names, file by file, and nothing that it does not need."""

import re
import tomllib
from typing import Any, Final, NamedTuple

from packaging.specifiers import SpecifierSet

from tests.deployment.compose import ROOT

CONTINUED: Final = re.compile(r"\\\n\s*")

PROJECT: Final[dict[str, Any]] = tomllib.loads((ROOT / "pyproject.toml").read_text())


class Instruction(NamedTuple):
    """A line of the Dockerfile."""

    word: str
    rest: str


def instructions() -> list[Instruction]:
    """Read the Dockerfile."""
    text = CONTINUED.sub("", (ROOT / "Dockerfile").read_text())
    lines = (line for line in text.splitlines() if line and not line.startswith("#"))
    return [Instruction(word, rest) for word, _, rest in (line.partition(" ") for line in lines)]


def having(word: str) -> list[str]:
    """Return what follows a word, of all instructions with it."""
    return [instruction.rest for instruction in instructions() if instruction.word == word]


def last_stage() -> list[Instruction]:
    """Return what makes the image itself."""
    all_of_it = instructions()
    begins = max(number for number, one in enumerate(all_of_it) if one.word == "FROM")
    return all_of_it[begins:]


def test_it_runs_as_an_account_that_is_not_root_and_owns_none_of_it() -> None:
    (account,) = (one.rest for one in last_stage() if one.word == "USER")
    assert int(account) > 0
    assert any(f"--uid {account}" in command for command in having("RUN"))
    assert not any("--chown" in copied for copied in having("COPY"))


def test_it_is_made_of_a_python_of_a_given_version_that_the_project_takes() -> None:
    assert {image.partition(" ")[0] for image in having("FROM")} == {"python:${PYTHON}"}
    (argument,) = having("ARG")
    version = re.fullmatch(r"PYTHON=(\d+\.\d+\.\d+)-slim-\w+", argument)
    assert version is not None
    assert version[1] in SpecifierSet(PROJECT["project"]["requires-python"])


def test_whatever_is_fetched_is_in_the_lock_file_with_its_hash() -> None:
    fetching = [command for command in having("RUN") if "pip" in command]
    assert len(fetching) == 2
    assert "--require-hashes --requirement requirements.lock" in fetching[0]
    assert "--no-index" in fetching[1]
    assert not any("index-url" in command or "://" in command for command in fetching)


def test_it_has_each_package_of_the_service_and_no_other_file() -> None:
    packages = {name.rstrip("*") for name in PROJECT["tool"]["setuptools"]["packages"]["find"]["include"]}
    copied = {source for line in having("COPY") if "--from" not in line for source in line.split()[:-1]}
    assert copied == packages | {"pyproject.toml", "requirements.lock"}
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert ignored[1] == "*"
    assert {line[1:] for line in ignored if line.startswith("!")} == copied


def test_it_has_no_secret() -> None:
    said = " ".join(having("ENV") + having("ARG"))
    assert re.findall(r"PASSWORD|SECRET|KEY|TICKETING_|DATABASE_URL", said) == []
    assert not any(".env" in line for line in having("COPY"))


def test_its_program_is_the_one_that_the_project_installs() -> None:
    assert having("ENTRYPOINT") == ['["ticketing"]']
    assert list(PROJECT["project"]["scripts"]) == ["ticketing"]
