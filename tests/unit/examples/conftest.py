"""The families as the training leaves them."""

from __future__ import annotations

import pathlib

import pytest


@pytest.fixture(scope="package")
def trained(tmp_path_factory: pytest.TempPathFactory) -> dict[str, pathlib.Path]:
    """Each family trained for one epoch on little data, as the command does it."""
    from examples import families, train  # TensorFlow: for the tests that train
    from tests.support.small_families import small

    out = tmp_path_factory.mktemp("models")
    for name in families.FAMILIES:
        train.train(train.Order(family=small(name), out=out, version="v7"))
    return {name: out / name / "v7" for name in families.FAMILIES}
