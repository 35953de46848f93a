"""The second attempt of tests that failed in a run of the whole suite: alone, and reported as flaky if it passes.

A story over real processes also fails where a busy machine is too slow for one of its waits. A second run with nothing
beside it separates such a failure from one of the code (decision 0090).
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence

import pytest

TESTS_MAX = 3
"""A run with more failures gets no second attempt."""


class Failures:
    """A plugin of pytest that keeps the tests that failed, in setup, call or teardown."""

    def __init__(self) -> None:
        self.tests: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed and report.nodeid not in self.tests:
            self.tests.append(report.nodeid)


def run_again(exit_code: int, failed: Sequence[str], options: Sequence[str] = ()) -> int:
    """The exit code of the suite: the one given, or that of the second attempt of its few failed tests.

    The first failure stays in the output; a passed second attempt adds a line that names the test as flaky.
    """
    if exit_code != pytest.ExitCode.TESTS_FAILED or not 0 < len(failed) <= TESTS_MAX:
        return exit_code
    print(f"\nThe second attempt, with nothing beside it, of: {', '.join(failed)}", flush=True)
    code = subprocess.run((sys.executable, "-m", "pytest", *options, *failed), check=False).returncode
    for test in failed if code == pytest.ExitCode.OK else ():
        print(f"FLAKY {test} - it failed in the suite and passed alone; its failure is printed above", flush=True)
    return code
