"""Reading the tables of a page, for tests that compare docs with code."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

DOCS: Final = Path(__file__).parents[2] / "docs"


def table_rows(page: str, *columns: str) -> Iterator[list[str]]:
    """The cells of each row of every table with these columns in a page of docs/."""
    inside = False
    for line in (DOCS / page).read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")] if line.startswith("|") else []
        if not inside:
            inside = cells == list(columns)
        elif not cells:
            inside = False
        elif not set(line) <= set("|- "):
            yield cells
