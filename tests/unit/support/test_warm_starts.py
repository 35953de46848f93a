"""A program that is forked behaves as one that its command starts: output, exit code, signals, environment."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support import warm_starts
from tests.support.until import until


def example() -> None:
    """The program of this file: ends as its first argument says."""
    print("said", sys.argv[1:], os.environ.get("FAIRLEAD_EXAMPLE", ""), flush=True)
    match sys.argv[1]:
        case "exit":
            sys.exit(int(sys.argv[2]))
        case "words":
            sys.exit("in words")
        case "raise":
            raise ValueError("an error of its own")
        case "sleep":
            time.sleep(60)


@pytest.fixture
def program() -> Iterator[warm_starts.Program]:
    made = warm_starts.Program("tests.unit.support.test_warm_starts:example")
    yield made
    made.close()


def started(program: warm_starts.Program, out: Path, *arguments: str, **environment: str) -> warm_starts.Started:
    with out.open("wb") as file:
        given = {**os.environ, **environment} if environment else None
        return program.start(arguments, stdout=file.fileno(), stderr=file.fileno(), environment=given)


def test_it_ends_with_the_code_and_the_output_of_the_program(program: warm_starts.Program, tmp_path: Path) -> None:
    codes = {}
    for arguments in (("exit", "3"), ("exit", "0"), ("words",), ("raise",), ("return",)):
        codes[arguments[0] + arguments[-1]] = started(program, tmp_path / "out", *arguments).wait(30)
    assert codes == {"exit3": 3, "exit0": 0, "wordswords": 1, "raiseraise": 1, "returnreturn": 0}
    assert started(program, tmp_path / "raised", "raise", FAIRLEAD_EXAMPLE="given").wait(30) == 1
    text = (tmp_path / "raised").read_text()
    assert "said ['raise'] given" in text
    assert "ValueError: an error of its own" in text


def test_a_signal_ends_it_and_is_its_code(program: warm_starts.Program, tmp_path: Path) -> None:
    running = started(program, tmp_path / "out", "sleep")
    assert running.poll() is None
    with pytest.raises(subprocess.TimeoutExpired):
        running.wait(0.01)
    running.kill()
    assert (running.wait(100), running.poll()) == (-signal.SIGKILL, -signal.SIGKILL)
    running.terminate()


def test_a_process_with_thousands_of_descriptors_waits_for_an_end(program: warm_starts.Program, tmp_path: Path) -> None:
    with contextlib.ExitStack() as many:
        for _ in range(1100):
            many.callback(os.close, os.dup(0))
        assert started(program, tmp_path / "out", "exit", "3").wait(30) == 3


def test_all_end_with_the_process_that_forked_them(tmp_path: Path) -> None:
    program = warm_starts.Program("tests.unit.support.test_warm_starts:example")
    running = started(program, tmp_path / "out", "sleep")
    program.close()
    until(lambda: running.poll() == -signal.SIGKILL, "it has ended", deadline_s=200)
