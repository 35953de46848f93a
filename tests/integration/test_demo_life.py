"""`fairlead demo --life` shows the whole life of a model on real parts, and leaves no process."""

from __future__ import annotations

import contextlib
import os
import pathlib
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from fairlead_cli.local import process_table

pytestmark = [pytest.mark.real, pytest.mark.timeout(1800)]
PICTURES = ["explanation-integrated-gradients.png", "explanation-occlusion.png"]


@contextlib.contextmanager
def started(folder: pathlib.Path) -> Iterator[subprocess.Popen[str]]:
    """The command as in a terminal: with a process group of its own, which Ctrl-C interrupts."""
    options = ["demo", "--life", "--name", "life", "--out", str(folder / "pictures")]
    with subprocess.Popen(
        [sys.executable, "-c", "from fairlead_cli.main import app; app()", *options],
        env={**os.environ, "FAIRLEAD_STATE": str(folder / "state"), "TMPDIR": str(folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        process_group=0,
    ) as running:
        try:
            yield running
        finally:
            if running.poll() is None:
                interrupt(running)


def interrupt(running: subprocess.Popen[str]) -> None:
    os.killpg(running.pid, signal.SIGINT)


def left_running(folder: pathlib.Path) -> set[int]:
    """All processes that were started for this run."""
    mark = f"FAIRLEAD_STATE={folder / 'state'}".encode()
    living = [each.identity.pid for each in process_table.entries() if not each.is_zombie]
    return {pid for pid in living if process_table.has_mark(pid, mark)}


@pytest.mark.nightly
def test_the_life_of_a_model_is_shown_whole(tmp_path: pathlib.Path) -> None:
    with started(tmp_path) as running:
        output, _ = running.communicate()
    assert running.returncode == 0, output
    assert "[10/10]" in output
    assert output.count(" 0 failed of ") == 2
    assert [path.name for path in sorted((tmp_path / "pictures").iterdir())] == PICTURES
    assert left_running(tmp_path) == set()
    assert [path.name for path in tmp_path.glob("fairlead-demo-*")] == []


def test_ctrl_c_ends_every_process(tmp_path: pathlib.Path) -> None:
    printed: list[str] = []
    with started(tmp_path) as running:
        for line in running.stdout or ():
            printed.append(line)
            # Kubernetes and Ray are starting, and the training is under way.
            if "etcd is ready" in line:
                assert len(left_running(tmp_path)) > 3
                interrupt(running)
    assert running.returncode == 130, "".join(printed)
    assert left_running(tmp_path) == set()
    assert list((tmp_path / "state").glob("life*/state.json")) == []
