"""The parent's end of a candidate's process: starts it, asks, bounds how long an answer may take, and ends it."""

from __future__ import annotations

import json
import os
import pathlib
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from types import TracebackType
from typing import IO, Any, Protocol, Self, cast

from fairlead_cli.evaluation.errors import EvaluationError
from fairlead_runtime.errors import one_sentence
from fairlead_runtime.model import child_process

PIPE_BYTES = 64 * 1024
ANSWER_BYTES_MAX = 2 * 1024 * 1024
LOG_BYTES_SHOWN = 4096


CANDIDATE = "fairlead_cli.comparison.candidate"


class Request(Protocol):
    """What the process is started with: its log is in `folder`."""

    @property
    def folder(self) -> pathlib.Path: ...

    @property
    def threads(self) -> int: ...

    def model_dump_json(self) -> str: ...


class CandidateProcess:
    """A context manager; the process is gone when it ends. `module` is what it runs."""

    def __init__(self, name: str, request: Request, *, seconds: float, module: str = CANDIDATE) -> None:
        self._name, self._seconds = name, seconds
        self._log = request.folder / "log"
        environment = child_process.environment(OMP_NUM_THREADS=str(request.threads), TF_CPP_MIN_LOG_LEVEL="3")
        command = [sys.executable, "-m", module, request.model_dump_json()]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log
            )
        self._unread = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            cast(IO[bytes], pipe).close()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def code(self) -> int | None:
        """How it ended; None while it runs."""
        return self._process.poll()

    def ask(self, line: str) -> Mapping[str, Any]:
        """One answer to one line. Raises EvaluationError."""
        try:
            os.write(cast(IO[bytes], self._process.stdin).fileno(), f"{line}\n".encode())
        except BrokenPipeError:
            raise self._ended() from None
        return self.read()

    def read(self) -> Mapping[str, Any]:
        """The next answer. Raises EvaluationError where the candidate fails, ends, or takes too long."""
        answer: Mapping[str, Any] = json.loads(self._read_line())
        if "error" in answer:
            raise EvaluationError(f"{self._name}: {answer['error']}")
        return answer

    def _read_line(self) -> bytes:
        output = cast(IO[bytes], self._process.stdout).fileno()
        deadline_s = time.monotonic() + self._seconds
        while b"\n" not in self._unread:
            left_s = deadline_s - time.monotonic()
            if left_s <= 0 or not select.select([output], [], [], left_s)[0]:
                raise EvaluationError(f"{self._name}: a step took longer than {self._seconds:g} s (--timeout)")
            piece = os.read(output, PIPE_BYTES)
            if not piece:
                raise self._ended()
            self._unread += piece
            if len(self._unread) > ANSWER_BYTES_MAX:
                raise EvaluationError(f"{self._name}: its process gave more than {ANSWER_BYTES_MAX} bytes")
        line, _, self._unread = self._unread.partition(b"\n")
        return line

    def _ended(self) -> EvaluationError:
        code = self._process.wait()
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"code {code}"
        lines = [line for line in _end_of(self._log).splitlines() if line.strip()]
        last = f": {one_sentence(lines[-1])}" if lines else ""
        return EvaluationError(f"{self._name}: its process ended with {how}{last}")


def _end_of(path: pathlib.Path) -> str:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - LOG_BYTES_SHOWN))
        return file.read().decode(errors="replace")
