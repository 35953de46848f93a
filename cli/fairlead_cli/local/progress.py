"""Progress as the person sees it: one line a step, bars for what can be counted."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Protocol

import rich.console
import rich.progress

Advance = Callable[[int], None]


class Reporter(Protocol):
    """Receives the steps and the progress of a command."""

    def step(self, text: str) -> None:
        """Tell that something is so now."""

    def bar(
        self, text: str, *, total: int | None, done: int = 0, unit: str
    ) -> contextlib.AbstractContextManager[Advance]:
        """Open a bar; the value is called with what was added since. `unit` is 'bytes' or a plural noun."""


class Silent:
    """For callers that want no output, such as tests."""

    def step(self, text: str) -> None:
        del text

    @contextlib.contextmanager
    def bar(self, text: str, *, total: int | None, done: int = 0, unit: str) -> Iterator[Advance]:
        del text, total, done, unit
        yield lambda _added: None


class RichReporter:
    """Steps and bars on a terminal; on a pipe a bar leaves its first and its last line only."""

    def __init__(self, console: rich.console.Console) -> None:
        self._console = console

    def step(self, text: str) -> None:
        self._console.print(text, highlight=False)

    @contextlib.contextmanager
    def bar(self, text: str, *, total: int | None, done: int = 0, unit: str) -> Iterator[Advance]:
        counted: tuple[rich.progress.ProgressColumn, ...] = (
            (rich.progress.DownloadColumn(), rich.progress.TransferSpeedColumn())
            if unit == "bytes"
            else (rich.progress.MofNCompleteColumn(), rich.progress.TextColumn(unit))
        )
        columns = (
            rich.progress.TextColumn("{task.description}"),
            rich.progress.BarColumn(),
            *counted,
            rich.progress.TimeElapsedColumn(),
        )
        if not self._console.is_terminal:
            self.step(f"{text} …")
        with rich.progress.Progress(*columns, console=self._console) as progress:
            task = progress.add_task(text, total=total, completed=done)
            yield lambda added: progress.advance(task, added)
