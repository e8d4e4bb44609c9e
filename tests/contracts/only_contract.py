"""A contract for import-linter that lists what a package may import, instead of what it may not."""

from collections.abc import Iterator, Sequence
from typing import cast

from grimp import ImportGraph
from importlinter import Contract, ContractCheck, fields, output


class OnlyContract(Contract):
    """The source packages import themselves and the allowed packages, and nothing else.

    What is new is thereby forbidden until someone allows it. Options, both lists of top-level packages:
    `source_packages` and `allowed_packages`.
    """

    source_packages = fields.ListField(subfield=fields.StringField())
    allowed_packages = fields.ListField(subfield=fields.StringField())

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:  # noqa: FBT001 (their signature)
        """Find the imports that no one has allowed."""
        output.verbose_print(verbose, f"Looking for what {self._sources} import")
        surplus = sorted(self._surplus(graph))
        return ContractCheck(kept=not surplus, metadata={"surplus": surplus})

    def render_broken_contract(self, check: ContractCheck) -> None:
        """Say which module imports what it may not."""
        for importer, imported in cast("list[tuple[str, str]]", check.metadata["surplus"]):
            output.print_error(f"{importer} -> {imported}", bold=False)

    @property
    def _sources(self) -> Sequence[str]:
        return cast("Sequence[str]", self.source_packages)

    def _surplus(self, graph: ImportGraph) -> Iterator[tuple[str, str]]:
        welcome = {*self._sources, *cast("Sequence[str]", self.allowed_packages)}
        for importer in graph.modules:
            if _package(importer) in self._sources:
                for imported in graph.find_modules_directly_imported_by(importer):
                    if _package(imported) not in welcome:
                        yield importer, imported


def _package(module: str) -> str:
    return module.partition(".")[0]
