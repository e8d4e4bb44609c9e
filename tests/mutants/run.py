"""`python -m tests.mutants.run PROCESSES NAME …`: make all mutants with mutmut, test those of these names.

A process of its own: what is tested is the copy in mutants/, so nothing here imports the packages.
"""

import sys
from pathlib import Path

import pytest
from mutmut.__main__ import collect_source_file_mutation_data, create_mutants
from mutmut.configuration import config
from mutmut.mutation.mutators import mutation_operators
from mutmut.mutation.trampoline import set_mutant_under_test
from mutmut.utils.file_utils import change_cwd, copy_also_copy_files, copy_src_dir, setup_source_paths

from tests.mutants.forking import Forking
from tests.mutants.operators import OPERATORS


def main(processes: int, names: list[str]) -> int:
    """Leave what became of each mutant where mutmut keeps it."""
    _make_mutants(processes)
    mutants, files = collect_source_file_mutation_data(mutant_names=names)
    forking = Forking([name for _, name, _ in mutants], processes)
    _forget_our_own_tests()
    with change_cwd("mutants"):
        arguments = [*config().pytest_add_cli_args, *config().pytest_add_cli_args_test_selection]
        ended = pytest.main(["--rootdir=.", "--quiet", *arguments], plugins=[forking])
    for file in files.values():
        file.exit_code_by_key |= {
            name: code for name, code in forking.exit_codes.items() if name in file.exit_code_by_key
        }
        file.save()
    return int(ended)


def _make_mutants(processes: int) -> None:
    if isinstance(mutation_operators, list):
        mutation_operators.extend(OPERATORS)
    set_mutant_under_test("mutant_generation")
    Path("mutants").mkdir(exist_ok=True)
    copy_src_dir()
    copy_also_copy_files()
    setup_source_paths()
    create_mutants(processes)


def _forget_our_own_tests() -> None:
    """Have pytest import the tests of the copy."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "tests"]:
        del sys.modules[name]


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2:]))
