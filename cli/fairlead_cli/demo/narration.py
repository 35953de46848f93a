"""What the person reads: numbered chapters, what is waited for, and one line on what was just proved."""

from __future__ import annotations

import time

import rich.console


class DemoFailed(Exception):
    """A chapter did not show what it should; the message says what was seen instead."""


class Narrator:
    """Prints the story; also the local cluster's reporter, so that its steps stand inside the chapter."""

    def __init__(self, console: rich.console.Console, *, chapters: int) -> None:
        self._console = console
        self._chapters = chapters
        self._number = 0
        self._began = time.monotonic()
        self._chapter_began = self._began

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self._began

    @property
    def console(self) -> rich.console.Console:
        return self._console

    def chapter(self, title: str) -> None:
        self._number += 1
        self._chapter_began = time.monotonic()
        self._console.print(f"\n[bold cyan][{self._number}/{self._chapters}][/] [bold]{title}[/]", highlight=False)

    def step(self, text: str) -> None:
        """Something happened, or what is waited for."""
        self._console.print(f"      {text}", highlight=False, markup=False, style="dim")

    def proved(self, text: str) -> None:
        """The chapter's one line."""
        took_s = time.monotonic() - self._chapter_began
        self._console.print(f"   [green]✔[/] {text} [dim]({took_s:.1f} s)[/]", highlight=False)

    def show(self, text: str) -> None:
        """Output of a command, as it is."""
        for line in text.rstrip().splitlines():
            self._console.print(f"      {line}", highlight=False, markup=False, soft_wrap=True)
