"""With CI=true a skipped test fails the run."""

import pytest

SKIPS = """
import pytest

def test_that_needs_something():
    pytest.skip("this machine lacks it")
"""


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    monkeypatch.delenv("CI", raising=False)
    pytester.plugins = ["tests.skipped_tests"]
    return pytester


@pytest.mark.parametrize("processes", ["0", "1"])
def test_a_skip_fails_the_run_of_continuous_integration(
    run: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, processes: str
) -> None:
    monkeypatch.setenv("CI", "true")
    run.makepyfile(SKIPS)
    finished = run.runpytest_subprocess("-p", "xdist", f"-n{processes}")
    assert finished.ret == pytest.ExitCode.TESTS_FAILED
    finished.stdout.fnmatch_lines(["FAILED: 1 skipped*"])


def test_a_skip_is_fine_on_a_machine_of_ones_own(run: pytest.Pytester) -> None:
    run.makepyfile(SKIPS)
    assert run.runpytest_subprocess().ret == pytest.ExitCode.OK


def test_a_run_without_skips_passes_under_continuous_integration(
    run: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CI", "true")
    run.makepyfile("def test_that_passes(): pass")
    assert run.runpytest_subprocess().ret == pytest.ExitCode.OK
