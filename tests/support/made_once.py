"""What all processes of a run share on the disk: the first that asks makes it, the others wait for it."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

CANARY, CANARY_FILE = "the canary sings", "canary.txt"
_SUPPORT = Path(__file__).resolve().parent


def of_the_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that all processes of the run share."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


def folder(tmp_path_factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """The folder of this name once ``make`` has filled it; nobody may change it."""
    found = of_the_run(tmp_path_factory) / name
    done = found.with_name(f"{name}.done")
    with found.with_name(f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            shutil.rmtree(found, ignore_errors=True)  # of one whose making failed
            found.mkdir()
            make(found)
            done.touch()
    return found


def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The models of ``make_models.py``, and beside them the file that none of them may read or change."""

    def make(made: Path) -> None:
        (made / CANARY_FILE).write_text(CANARY)
        run_maker("make_models", made, made / CANARY_FILE)

    return folder(tmp_path_factory, "small-models", make)


def cuttable_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The models of ``make_cuttable_models.py``."""
    return folder(tmp_path_factory, "cuttable-models", lambda made: run_maker("make_cuttable_models", made))


def run_maker(name: str, *arguments: object) -> None:
    """A program of this folder that makes models, in a process of its own."""
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
    command = [sys.executable, str(_SUPPORT / f"{name}.py"), *map(str, arguments)]
    made = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=800)
    assert made.returncode == 0, made.stderr[-3000:]
