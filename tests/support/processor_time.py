"""Processor time of each test file: ``python -m pytest -p tests.support.processor_time tests/unit``.

The time of pytest's process and of all that descends from it or carries its mark, each time a test has ended. On a
shared machine it says more than wall time. What starts and ends between two looks without being waited for is missed.
"""

from __future__ import annotations

import collections
import os
import pathlib
import uuid
from collections.abc import Iterator

import pytest

from fairlead_cli.local import process_table

_MARK = "FAIRLEAD_PROCESSOR_TIME"
_NAME = "processor_s"
_UTIME, _CSTIME = 11, 15
_TICKS = os.sysconf("SC_CLK_TCK")
_SHOWN = 40


class Meter:
    """What was used since the last look."""

    def __init__(self) -> None:
        self._mark = f"{_MARK}={uuid.uuid4().hex}"
        os.environ.update([self._mark.split("=")])
        self._before_s = self._total_s()

    def used_s(self) -> float:
        now_s = self._total_s()
        used_s, self._before_s = now_s - self._before_s, now_s
        return max(0.0, used_s)

    def _total_s(self) -> float:
        me = process_table.entry(os.getpid())
        assert me is not None
        family = process_table.family([me.identity], mark=self._mark.encode())
        return sum(os.times()[:4]) + sum(_used_s(each.pid) for each in family)


def _used_s(pid: int) -> float:
    """Of the process and of its children that it waited for; 0 where it is gone."""
    try:
        line = pathlib.Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return sum(map(int, line[line.rindex(")") + 2 :].split()[_UTIME:_CSTIME])) / _TICKS


class ProcessorTime:
    def __init__(self) -> None:
        self._meter: Meter | None = None
        self._files: collections.Counter[str] = collections.Counter()
        self._tests: collections.Counter[str] = collections.Counter()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item) -> Iterator[None]:
        report = yield
        if report.when == "teardown" and self._meter is not None:
            report.user_properties.append((_NAME, self._meter.used_s()))
        return report

    def pytest_collection_finish(self) -> None:
        """Before it, each process has imported and collected: that is no test's."""
        self._meter = Meter()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        for name, value in report.user_properties:
            if name == _NAME:
                path = report.nodeid.split("::")[0]
                self._files[path] += value
                self._tests[path] += 1

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        terminalreporter.section("processor time")
        folders: collections.Counter[str] = collections.Counter()
        tests: collections.Counter[str] = collections.Counter()
        for path, used_s in self._files.items():
            folder = "/".join(path.split("/")[:2])
            folders[folder] += used_s
            tests[folder] += self._tests[path]
        for counts, number in ((folders, tests), (self._files, self._tests)):
            for path, used_s in counts.most_common(_SHOWN):
                terminalreporter.write_line(f"{used_s:8.1f} s {number[path]:5} tests  {path}")


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(ProcessorTime(), "fairlead-processor-time")
