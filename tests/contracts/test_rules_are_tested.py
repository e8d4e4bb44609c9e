"""Every rule of docs/concepts/rules.md is named by a test, and every rule that a test names exists."""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import pytest

from tests.contracts.markdown import DOCS

TESTS: Final = Path(__file__).parents[1]

RULE: Final = re.compile(r"^- \*\*([A-Z]\d)\*\* ", re.MULTILINE)
"""A rule on the page: `- **Q1** Queue numbers are dense, …`."""

NAMED: Final = re.compile(r"_([ailpqsw]\d)(?=_|$)")
"""A rule in a test's name: `test_q1_numbers_start_at_1`, `test_p1_s1_paying_makes_the_holder_the_owner`."""

RULES: Final = RULE.findall((DOCS / "concepts/rules.md").read_text())


def names_by_rule() -> Mapping[str, list[str]]:
    """The tests that carry each rule's id in their name."""
    named: dict[str, list[str]] = defaultdict(list)
    for path in sorted(TESTS.rglob("test_*.py")):
        for name in _tests_in(path):
            for rule in NAMED.findall(name):
                named[rule.upper()].append(f"{path.relative_to(TESTS)}::{name}")
    return named


def _tests_in(path: Path) -> Iterator[str]:
    """The names of a module's test functions, those of classes included; nothing is executed."""
    for node in ast.walk(ast.parse(path.read_text(), path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
            yield node.name


def test_the_page_has_the_rules_of_the_domain() -> None:
    assert " ".join(RULES) == ("Q1 Q2 Q3 Q4 Q5 Q6 Q7 Q8 L1 L2 S1 S2 S3 S4 S5 W1 W2 W3 P1 P2 P3 P4 I1 I2 A1")


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_is_named_by_a_test(rule: str) -> None:
    assert rule in names_by_rule(), f"no test carries the id of {rule} in its name"


def test_every_rule_that_a_test_names_is_on_the_page() -> None:
    unknown = {rule: tests for rule, tests in names_by_rule().items() if rule not in RULES}
    assert unknown == {}
