"""A pytest plugin: under continuous integration (CI=true) a skipped test is a failure.

A skip says that this machine lacks something. The machine that decides must lack nothing.
"""

import os

import pytest


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail a run that would have passed but skipped tests."""
    if session.exitstatus == pytest.ExitCode.OK and _forbidden_skips(session.config):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say why the run fails."""
    if skips := _forbidden_skips(terminalreporter.config):
        terminalreporter.write_line(f"FAILED: {skips} skipped, and with CI=true nothing may be.", red=True)


def _forbidden_skips(config: pytest.Config) -> int:
    """Count the skipped tests, where skipping is forbidden."""
    reporter: pytest.TerminalReporter | None = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None or os.environ.get("CI") != "true":
        return 0
    return len(reporter.getreports("skipped"))
