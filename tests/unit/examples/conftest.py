"""The families as the training leaves them."""

from __future__ import annotations

import pathlib

import pytest
from tests.support import made_once

FAMILIES = ("dense", "cnn", "lstm", "gru", "attention")


def _train(out: pathlib.Path) -> None:
    from examples import families, train  # TensorFlow: for the process that trains
    from tests.support.small_families import small

    assert set(families.FAMILIES) == set(FAMILIES)
    for name in FAMILIES:
        train.train(train.Order(family=small(name), out=out, version="v7"))


@pytest.fixture(scope="package")
def trained(tmp_path_factory: pytest.TempPathFactory) -> dict[str, pathlib.Path]:
    """Each family trained for one epoch on little data, as the command does it, once in a run."""
    out = made_once.folder(tmp_path_factory, "small-families", _train)
    return {name: out / name / "v7" for name in FAMILIES}
