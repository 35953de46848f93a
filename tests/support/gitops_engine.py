"""Argo CD's own Lua engine and kstatus, as a program that answers questions."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.support import go_programs

from fairlead_cli.local import progress


def obtain(reporter: progress.Reporter) -> Path:
    """The program."""
    return go_programs.obtain("gitops", reporter) / "gitops"


class Engine:
    """Answers many questions by one process each time."""

    def __init__(self, program: Path) -> None:
        self._program = program

    def ask(self, questions: Sequence[tuple[str, str, Mapping[str, Any]]]) -> list[Any]:
        """The answer to each (kind, script, object); a script that fails fails the test."""
        lines = [json.dumps({"kind": kind, "script": script, "object": found}) for kind, script, found in questions]
        done = subprocess.run(
            [str(self._program)], input="\n".join(lines), capture_output=True, text=True, check=True, timeout=120
        )
        answers = [json.loads(line) for line in done.stdout.splitlines()]
        failed = [each["error"] for each in answers if each["error"]]
        assert not failed, failed[:3]
        assert len(answers) == len(questions), "an answer for each question"
        return [each["value"] for each in answers]
