"""A pytest plugin that tests mutants: it collects once, and forks a process for each mutant.

Which tests a mutant can matter to is learned by running them all once. A test that constructs what it asks
about as soon as it is imported is not seen to: nothing that was made before the fork is made by a mutant.
"""

import gc
import math
import os
import resource
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence

import pytest
from mutmut.mutation.trampoline import set_mutant_under_test
from mutmut.state import state
from mutmut.utils.format_utils import mangled_name_from_mutant_name

SURVIVED, KILLED, BROKE_DOWN, UNTESTED = 0, 1, 3, 33
"""As mutmut has them; beyond its CPU time a process ends by a signal, which mutmut calls a timeout."""

NO_MUTANT = ""
"""A fork in which all tests have to pass, lest they fail because of the forking."""

CPU_S_MIN = 3
CPU_TIMES_MAX = 5
"""A mutant may take so many times the CPU time of its tests, and this more: however busy the machine is."""


class Forking:
    """Runs the tests of each mutant until one fails, quick ones first, a few mutants at a time."""

    def __init__(self, mutants: Iterable[str], processes: int) -> None:
        self.exit_codes: dict[str, int] = {}
        """What became of each mutant."""
        self._mutants = list(mutants)
        self._processes = processes
        self._tests: defaultdict[str, list[pytest.Item]] = defaultdict(list)
        self._took_s: dict[pytest.Item, float] = {}
        self._running: dict[int, str] = {}
        self._failed = False

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Notice a test that fails."""
        self._failed |= report.failed

    def pytest_runtestloop(self, session: pytest.Session) -> bool | None:
        """Run all tests once, then those of each mutant."""
        if session.testsfailed:
            return None
        self._learn(session.items)
        if self._failed:
            pytest.exit("the tests fail without any mutant", returncode=KILLED)
        gc.collect()
        gc.freeze()  # what is shared with the forks stays so
        for mutant in self._mutants:
            self._start(mutant)
        self._fork(NO_MUTANT, session.items)
        while self._running:
            self._await_one()
        if self.exit_codes.pop(NO_MUTANT) != SURVIVED:
            pytest.exit("the tests fail in a fork without a mutant", returncode=KILLED)
        return True

    def _learn(self, items: Sequence[pytest.Item]) -> None:
        set_mutant_under_test("stats")
        for item in items:
            state()._stats.clear()
            started = time.process_time()
            _run(item)
            self._took_s[item] = time.process_time() - started
            for function in state()._stats:
                self._tests[function].append(item)
        for tests in self._tests.values():
            tests.sort(key=self._took_s.__getitem__)

    def _start(self, mutant: str) -> None:
        tests = self._tests.get(mangled_name_from_mutant_name(mutant), [])
        if tests:
            self._fork(mutant, tests)
        else:
            self.exit_codes[mutant] = UNTESTED

    def _fork(self, mutant: str, tests: Sequence[pytest.Item]) -> None:
        while len(self._running) >= self._processes:
            self._await_one()
        pid = os.fork()
        if pid:
            self._running[pid] = mutant
        else:
            self._be(mutant, tests)

    def _be(self, mutant: str, tests: Sequence[pytest.Item]) -> None:
        exit_code = BROKE_DOWN
        try:
            exit_code = self._test(mutant, tests)
        finally:
            os._exit(exit_code)  # whatever happened: the end of pytest is not this process's to bring about

    def _test(self, mutant: str, tests: Sequence[pytest.Item]) -> int:
        wanted_s = math.ceil(CPU_TIMES_MAX * sum(self._took_s[item] for item in tests))
        cpu_s = CPU_S_MIN + wanted_s
        resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s + 1))
        set_mutant_under_test(mutant)
        for item in tests:
            _run(item)
            if self._failed:
                return KILLED
        return SURVIVED

    def _await_one(self) -> None:
        pid, status = os.wait()
        self.exit_codes[self._running.pop(pid)] = os.waitstatus_to_exitcode(status)


def _run(item: pytest.Item) -> None:
    item.config.hook.pytest_runtest_protocol(item=item, nextitem=None)
