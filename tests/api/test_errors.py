"""Every error code: documented, with the status that the code has, and met by a test over HTTP."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from aggregates.errors import DomainError
from api import examples, problems
from api.problems import STATUS
from tests.contracts.markdown import DOCS, table_rows

PAGE: Final = "reference/errors.md"
ROWS: Final = {
    code.strip("`"): cells
    for code, *cells in table_rows(PAGE, "code", "status", "rule", "what it means", "what to do", "tells")
}
RULES: Final = re.findall(r"^- \*\*([A-Z]\d)\*\* ", (DOCS / "concepts/rules.md").read_text(), re.MULTILINE)


def error_classes(base: type[DomainError] = DomainError) -> Iterator[type[DomainError]]:
    """Every kind of error there is."""
    for error in base.__subclasses__():
        yield error
        yield from error_classes(error)


def codes_refused_in_tests() -> set[str]:
    """The codes that stand in a `then_refused("…")` of tests over HTTP."""
    return {
        call.args[0].value
        for path in Path(__file__).parent.glob("test_*.py")
        for call in ast.walk(ast.parse(path.read_text()))
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Attribute)
        and call.func.attr == "then_refused"
        and isinstance(call.args[0], ast.Constant)
        and isinstance(call.args[0].value, str)
    }


def test_the_page_has_every_code_once() -> None:
    assert set(ROWS) == set(STATUS)
    assert (DOCS / PAGE).read_text().count("\n| `") == len(STATUS)


def test_the_page_says_of_each_code_its_status_and_what_it_tells() -> None:
    for code, (status, rule, meaning, advice, tells) in ROWS.items():
        assert status == str(STATUS[code])
        assert rule in ("", *RULES)
        assert meaning
        assert advice
        assert re.findall(r"`(\w+)`", tells) == list(examples.ERRORS[code].members)


def test_the_page_says_when_trying_again_makes_sense() -> None:
    says_when = {code for code, cells in ROWS.items() if "when to try again is told" in cells[3]}
    assert says_when == {code for code, error in examples.ERRORS.items() if error.retry_after_s is not None}


def test_the_rule_that_an_error_is_raised_for_is_the_one_on_the_page() -> None:
    for code, error in examples.ERRORS.items():
        if named := re.match(r"([A-Z]\d): ", type(error).__doc__ or ""):
            assert ROWS[code][1] == named[1], code


def test_every_code_is_met_over_http() -> None:
    assert codes_refused_in_tests() == set(STATUS)


def test_every_error_has_a_status() -> None:
    ours = {error.code for error in error_classes() if not error.__module__.startswith("tests.")}
    assert ours == set(STATUS)


def test_a_problem_document_has_the_members_of_rfc_9457() -> None:
    for error in examples.ERRORS.values():
        problem = problems.problem(error, "/a path/ü")
        assert list(problem)[:6] == ["type", "title", "status", "detail", "instance", "code"]
        assert problem["instance"] == "/a%20path/%C3%BC"
        assert problem["title"]
        assert problem["detail"].endswith((".", "`"))
