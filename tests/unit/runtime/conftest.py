"""Real models for the loader's tests, made once, in a process of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

MAKER = Path(__file__).resolve().parents[2] / "support" / "make_models.py"
CANARY = "the canary sings"


@dataclass(frozen=True)
class Models:
    """Where the models are, and a file that none of them may read or change."""

    root: Path
    canary: Path


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    root = tmp_path_factory.mktemp("models")
    canary = root / "canary.txt"
    canary.write_text(CANARY)
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
    command = [sys.executable, str(MAKER), str(root), str(canary)]
    made = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200)
    assert made.returncode == 0, made.stderr[-3000:]
    return Models(root, canary)
