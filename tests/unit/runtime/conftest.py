"""Real models for the loader's tests, made once in a run, in a process of their own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.support import made_once


@dataclass(frozen=True)
class Models:
    """Where the models are, and a file that none of them may read or change."""

    root: Path
    canary: Path


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    root = made_once.models(tmp_path_factory)
    return Models(root, root / made_once.CANARY_FILE)
