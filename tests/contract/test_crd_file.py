"""The files that users get are the ones that the code means."""

from __future__ import annotations

import pathlib

import pytest
import yaml
from tests.support import manifest_table

from fairlead_operator.api import crd, spec

ROOT = pathlib.Path(__file__).parents[2]


@pytest.mark.parametrize(("path", "text"), crd.files().items(), ids=str)
def test_each_crd_is_current_here_and_in_the_chart(path: pathlib.Path, text: str) -> None:
    assert (ROOT / path).read_text() == text, "run python -m fairlead_operator.api.crd"


@pytest.mark.parametrize("folder", crd.FOLDERS, ids=str)
def test_every_crd_file_is_generated_by_the_code(folder: pathlib.Path) -> None:
    known = {path for path in crd.files() if path.parent == folder}
    assert {folder / path.name for path in (ROOT / folder).glob("*.yaml")} == known


@pytest.mark.parametrize("path", manifest_table.SAMPLES, ids=lambda path: path.stem)
def test_a_sample_is_short_and_valid(path: pathlib.Path) -> None:
    assert len(path.read_text().splitlines()) <= 15
    spec.ModelDeploymentSpec.model_validate(yaml.safe_load(path.read_text())["spec"])


def test_there_are_samples() -> None:
    assert len(manifest_table.SAMPLES) >= 6
