"""The counting client in a process of its own."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from pydantic import BaseModel

from fairlead_cli.load import report, settings


class LoadFailed(Exception):
    """The client's process ended without a report, or did not get as far as was waited for."""


class Line(BaseModel):
    """What the process writes, one JSON object a line: progress while it runs, the report at the end."""

    progress: report.Progress | None = None
    result: report.Report | None = None


class Background:
    """A run in a child process, which also ends when this one dies: its standard input closes, and that means stop."""

    def __init__(
        self, asked: settings.Settings, *, on_progress: Callable[[report.Progress], None] | None = None
    ) -> None:
        self._on_progress = on_progress
        self._changed = threading.Condition()
        self._progress = report.Progress(elapsed_s=0, requests=0, failed=0, revisions={})
        self._report: report.Report | None = None
        self._ended = False
        self._process = subprocess.Popen(
            [sys.executable, "-m", "fairlead_cli.load", "--from-stdin"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, name="load-progress", daemon=True)
        self._reader.start()
        self._write(asked.model_dump_json() + "\n")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close_input()
        try:
            self._process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join()
        if self._process.stdout is not None:
            self._process.stdout.close()

    @property
    def pid(self) -> int:
        return self._process.pid

    def progress(self) -> report.Progress:
        """The last that was heard, at most a quarter of a second old while the run goes."""
        with self._changed:
            return self._progress

    def wait_until(self, condition: Callable[[report.Progress], bool], *, timeout_s: float) -> report.Progress:
        """Blocks until the progress satisfies ``condition``; LoadFailed if that doesn't come in time."""
        with self._changed:
            self._changed.wait_for(lambda: condition(self._progress) or self._ended, timeout_s)
            if not condition(self._progress):
                why = "ended" if self._ended else f"is not there after {timeout_s} s"
                raise LoadFailed(f"the load {why}; {self._progress}")
            return self._progress

    def wait(self, *, timeout_s: float) -> report.Report:
        """The report of a run that ends by its own limit."""
        with self._changed:
            self._changed.wait_for(lambda: self._ended, timeout_s)
            if self._report is None:
                raise LoadFailed(f"no report after {timeout_s} s; {self._progress}")
            return self._report

    def stop(self, *, timeout_s: float = 60.0) -> report.Report:
        """Sends no further request, awaits those under way and gives the report."""
        self._close_input()
        return self.wait(timeout_s=timeout_s)

    def _write(self, text: str) -> None:
        if self._process.stdin is None:
            raise LoadFailed("the process has no standard input")
        self._process.stdin.write(text)
        self._process.stdin.flush()

    def _close_input(self) -> None:
        if self._process.stdin is not None and not self._process.stdin.closed:
            self._process.stdin.close()

    def _read(self) -> None:
        for text in self._process.stdout or ():
            line = Line.model_validate_json(text)
            with self._changed:
                self._progress = line.progress or self._progress
                self._report = line.result or self._report
                self._changed.notify_all()
            if line.progress is not None and self._on_progress is not None:
                self._on_progress(line.progress)
        with self._changed:
            self._ended = True
            self._changed.notify_all()


@contextmanager
def background(
    asked: settings.Settings, *, on_progress: Callable[[report.Progress], None] | None = None
) -> Iterator[Background]:
    """A run for a with-block: under way inside, its process gone after it. ``on_progress`` is called on a thread."""
    with Background(asked, on_progress=on_progress) as run:
        yield run
