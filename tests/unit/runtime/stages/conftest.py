"""Models that can be cut, made once, in a process of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

MAKER = Path(__file__).resolve().parents[3] / "support" / "make_cuttable_models.py"


@pytest.fixture(scope="session")
def cuttable(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the models."""
    folder = tmp_path_factory.mktemp("cuttable")
    make_models(folder)
    return folder


def make_models(folder: Path, *arguments: str) -> None:
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
    command = [sys.executable, str(MAKER), str(folder), *arguments]
    made = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert made.returncode == 0, made.stderr[-3000:]
