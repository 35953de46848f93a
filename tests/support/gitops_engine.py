"""Argo CD's own Lua engine and kstatus, as a program that is built once and kept in our cache."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fairlead_cli.local import build, locks, paths, progress

MODULE = Path(__file__).parent / "gitops"
_SOURCES = ("go.mod", "go.sum", "main.go")


def obtain(reporter: progress.Reporter) -> Path:
    """The program, built where it isn't kept: some minutes with an empty cache of Go, seconds with a warm one."""
    digest = hashlib.sha256(b"".join((MODULE / name).read_bytes() for name in _SOURCES)).hexdigest()[:16]
    program = paths.cache_dir() / "bin" / f"gitops-{digest}" / "gitops"
    if not program.exists():
        with locks.hold(program.parent.parent / "gitops.lock", what="another test builds it", reporter=reporter):
            if not program.exists():
                reporter.step("building Argo CD's Lua engine and kstatus")
                _build(program)
    return program


def _build(program: Path) -> None:
    program.parent.mkdir(parents=True, exist_ok=True)
    fresh = program.with_suffix(".new")
    argv = [str(build.find_go(os.environ)), "build", "-buildvcs=false", "-ldflags=-s -w", "-o", str(fresh), "."]
    environment = {**os.environ, "CGO_ENABLED": "0"}
    done = subprocess.run(argv, cwd=MODULE, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    fresh.replace(program)


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
