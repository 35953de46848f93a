"""Models that can be cut, made once in a run, in a process of their own."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support import made_once


@pytest.fixture(scope="session")
def cuttable(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the models."""
    return made_once.cuttable_models(tmp_path_factory)
