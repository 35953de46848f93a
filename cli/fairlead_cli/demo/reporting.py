"""Prints the local cluster's progress inside the current chapter of the demo."""

from __future__ import annotations

import contextlib

from fairlead_cli.demo import narration
from fairlead_cli.local import progress


class InChapter:
    """Steps are indented as the chapter's own; bars are as ``fairlead local up`` shows them."""

    def __init__(self, narrator: narration.Narrator) -> None:
        self._narrator = narrator
        self._bars = progress.RichReporter(narrator.console)

    def step(self, text: str) -> None:
        self._narrator.step(text)

    def bar(
        self, text: str, *, total: int | None, done: int = 0, unit: str
    ) -> contextlib.AbstractContextManager[progress.Advance]:
        return self._bars.bar(text, total=total, done=done, unit=unit)
