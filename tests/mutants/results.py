"""What became of the mutants, and which of those that survived are known to, and why."""

import json
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from mutmut.mutation.diff_apply import get_diff_for_mutant
from mutmut.stats import status_by_exit_code

MUTANTS: Final = Path("mutants")
"""Where mutmut keeps the changed copy of the packages, and what became of each mutant."""

SURVIVORS: Final = Path(__file__).parent / "survivors.toml"
"""The survivors that are known, each with a reason."""

GONE: Final = ("killed", "timeout")
"""A mutant on which a test fails, or which keeps the tests from ever ending."""


class Mutant(NamedTuple):
    """A change of one function: the lines that it takes away, and those that it puts in their place."""

    function: str
    was: str
    becomes: str


class Known(NamedTuple):
    """A survivor that was looked at."""

    mutant: Mutant
    reason: str


class Module(NamedTuple):
    """What became of the mutants of one module."""

    path: str
    counts: Mapping[str, int]
    survivors: Sequence[Mutant]

    @property
    def made(self) -> int:
        """How many there were."""
        return sum(self.counts.values())

    @property
    def gone(self) -> int:
        """How many the tests noticed."""
        return sum(self.counts[status] for status in GONE)


def read(paths: Iterable[str]) -> list[Module]:
    """Read what became of the mutants of these modules."""
    return [_module(path) for path in paths]


def known(paths: Iterable[str]) -> list[Known]:
    """Read which survivors of these modules are known."""
    prefixes = tuple(f"{_dotted(path)}." for path in paths)
    entries = tomllib.loads(SURVIVORS.read_text())["survivor"]
    every = [_known(entry) for entry in entries]
    return [each for each in every if each.mutant.function.startswith(prefixes)]


def as_toml(mutant: Mutant) -> str:
    """Write a survivor down as it stands in the list, but for its reason."""
    fields = {**mutant._asdict(), "reason": ""}
    lines = [f"{name} = {json.dumps(text, ensure_ascii=False)}" for name, text in fields.items()]
    return "\n".join(["[[survivor]]", *lines])


def _known(entry: Mapping[str, str]) -> Known:
    mutant = Mutant(entry["function"], entry["was"], entry["becomes"])
    return Known(mutant, entry["reason"])


def _module(path: str) -> Module:
    told = json.loads((MUTANTS / f"{path}.meta").read_text())
    exit_codes: dict[str, int | None] = told["exit_code_by_key"]
    statuses = {name: status_by_exit_code[code] for name, code in exit_codes.items()}
    survivors = [_mutant(name, path) for name, status in statuses.items() if status not in GONE]
    return Module(path, Counter(statuses.values()), survivors)


def _mutant(name: str, path: str) -> Mutant:
    diff = get_diff_for_mutant(name, path=path).splitlines()[2:]
    return Mutant(_function(name), "\n".join(_lines(diff, "-")), "\n".join(_lines(diff, "+")))


def _lines(diff: Sequence[str], sign: str) -> Iterator[str]:
    return (line[1:].strip() for line in diff if line.startswith(sign))


def _function(name: str) -> str:
    """`commands.pay._complete` of `commands.pay.x__complete__mutmut_7`, and likewise of methods."""
    module, _, mangled = name.rpartition("__mutmut_")[0].rpartition(".")
    qualified = mangled.removeprefix("xǁ").replace("ǁ", ".") if "ǁ" in mangled else mangled.removeprefix("x_")
    return f"{module}.{qualified}"


def _dotted(path: str) -> str:
    return path.removesuffix(".py").replace("/", ".")
