"""Which package may import which, as the architecture has it, and that every contract can fail."""

import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import pytest

ROOT: Final = Path(__file__).parents[2]

MAY_IMPORT: Final[dict[str, set[str]]] = {
    "aggregates": set(),
    "commands": {"aggregates"},
    "projections": {"aggregates"},
    "audit": set(),
    "infrastructure": {"aggregates", "commands", "projections"},
    "api": {"aggregates", "audit", "commands", "infrastructure", "projections"},
    "workers": {"aggregates", "api", "audit", "commands", "infrastructure", "projections"},
    "cli": {"aggregates", "api", "audit", "commands", "infrastructure", "projections", "workers"},
}
AROUND_THE_PRODUCT: Final = {"bench", "tests"}
WEB_AND_TERMINAL: Final = {"fastapi", "rich", "starlette", "typer", "uvicorn"}

Import = tuple[str, str]
"""Who imports, and what."""


def forbidden_to(importer: str) -> list[Import]:
    """Pair a package with each of our packages that it may not import."""
    forbidden = MAY_IMPORT.keys() - MAY_IMPORT[importer] - {importer}
    return [(importer, imported) for imported in sorted(forbidden)]


BREACHES: Final[dict[str, list[Import]]] = {
    "aggregates": [
        *forbidden_to("aggregates"),
        *(("aggregates", outside) for outside in ("asyncio", "os", "psycopg", "pydantic", "random", "time")),
    ],
    "commands": forbidden_to("commands"),
    "commands-reach-the-log-through-ports": [
        ("commands", driver) for driver in ("eventsourcing", "psycopg", "psycopg_pool")
    ],
    "projections": forbidden_to("projections"),
    "no-web-inside": [
        (importer, imported)
        for importer in ("audit", "commands", "projections")
        for imported in sorted(WEB_AND_TERMINAL)
    ],
    "audit": forbidden_to("audit"),
    "infrastructure": forbidden_to("infrastructure"),
    "api": forbidden_to("api"),
    "workers": forbidden_to("workers"),
    "product": [(importer, around) for importer in MAY_IMPORT for around in sorted(AROUND_THE_PRODUCT)],
}
"""For each contract, by its id, the imports that break it."""


def contract_names() -> dict[str, str]:
    """Read the configured contracts: their names by their ids."""
    settings: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    return {contract["id"]: contract["name"] for contract in settings["contracts"]}


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    """Check the contracts on the packages in `folder`."""
    return subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-logo", "--no-cache"],
        cwd=folder,
        env={**os.environ, "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )


def grow(folder: Path, imports: Iterable[Import]) -> None:
    """Build a tree of our packages, under our configuration, where nothing but `imports` is imported."""
    shutil.copy(ROOT / "pyproject.toml", folder)
    for package in MAY_IMPORT.keys() | AROUND_THE_PRODUCT:
        (folder / package).mkdir()
        (folder / package / "__init__.py").touch()
    shutil.copytree(ROOT / "tests" / "contracts", folder / "tests" / "contracts")
    for importer, imported in imports:
        (folder / importer / f"needs_{imported}.py").write_text(f"import {imported}\n")


def test_the_product_keeps_every_contract() -> None:
    checked = lint(ROOT)
    assert checked.returncode == 0, checked.stdout


def test_all_that_the_architecture_allows_breaks_no_contract(tmp_path: Path) -> None:
    ours = [(importer, imported) for importer, allowed in MAY_IMPORT.items() for imported in allowed]
    everything = [(around, imported) for around in AROUND_THE_PRODUCT for imported in MAY_IMPORT]
    grow(tmp_path, [*ours, *everything, ("aggregates", "msgspec"), ("projections", "psycopg")])
    checked = lint(tmp_path)
    assert checked.returncode == 0, checked.stdout


def test_every_contract_has_its_breaches_here() -> None:
    assert contract_names().keys() == BREACHES.keys()


@pytest.mark.parametrize("contract", BREACHES)
def test_a_forbidden_import_breaks_its_contract(contract: str, tmp_path: Path) -> None:
    grow(tmp_path, BREACHES[contract])
    checked = lint(tmp_path)
    assert checked.returncode == 1, checked.stdout + checked.stderr
    assert f"{contract_names()[contract]} BROKEN" in checked.stdout
    reports = [f"{importer}.needs_{imported} -> {imported}" for importer, imported in BREACHES[contract]]
    assert [report for report in reports if report not in checked.stdout] == []
